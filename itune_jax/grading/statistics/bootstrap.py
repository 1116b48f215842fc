"""The bootstrap over clusters of items: percentile and BCa intervals of any statistic, in bounded memory.

Items of one cluster (a passage, a template) are alike, so whole clusters are drawn with replacement. A statistic is a
function of how often each cluster was drawn. Resamples are made some at a time, each from the same stream of random
numbers, so that neither memory nor the cut into pieces changes a result.
"""

import abc
from collections.abc import Callable, Iterator, Sequence
import dataclasses
from typing import NamedTuple

import numpy as np
from scipy import special

RESAMPLES = 10_000
_CELLS = 1 << 20  # numbers of one piece of resamples: 8 MiB an array
_MULTINOMIAL = 8  # what drawing a count costs, in draws of a cluster
_UNDEFINED = 0.01  # share of resamples in which a statistic may be undefined

Interval = tuple[float, float] | None


class Statistic(abc.ABC):
  """A number of a sample of clusters, as a function of how often each of them was drawn."""

  @property
  @abc.abstractmethod
  def clusters(self) -> int:
    """How many there are, G."""

  @property
  def width(self) -> int:
    """Numbers that one resample needs at a time."""
    return self.clusters

  @abc.abstractmethod
  def at(self, counts_BG: np.ndarray) -> np.ndarray:
    """The statistic [B] of samples in which cluster g stands counts_BG[b, g] times; NaN where it is undefined."""

  @abc.abstractmethod
  def without_each(self) -> np.ndarray:
    """The statistic [G] of the sample without cluster g: the jackknife."""

  def merged(self) -> "tuple[Statistic, np.ndarray]":
    """The same with equal clusters as one, and how many each stands for; itself where it cannot tell."""
    return self, np.ones(self.clusters, np.int64)

  @property
  def value(self) -> float:
    """Of the sample as it is."""
    return float(self.at(np.ones((1, self.clusters)))[0])


@dataclasses.dataclass(frozen=True, eq=False)
class Sums(Statistic):
  """A function of sums over clusters: means, ratios, and whatever a confusion matrix gives.

  table_GF: F sums of each cluster. function: sums [B, F] to values [B].
  """

  table_GF: np.ndarray
  function: Callable[[np.ndarray], np.ndarray]

  @property
  def clusters(self) -> int:
    """How many there are."""
    return len(self.table_GF)

  @property
  def width(self) -> int:
    """A resample needs its counts, and its sums."""
    return max(self.table_GF.shape)

  def at(self, counts_BG: np.ndarray) -> np.ndarray:
    """The statistic of samples."""
    return self.function(_product(np.asarray(counts_BG, np.float64), self.table_GF))

  def without_each(self) -> np.ndarray:
    """The jackknife."""
    return self.function(self.table_GF.sum(0) - self.table_GF)

  def merged(self) -> tuple[Statistic, np.ndarray]:
    """Clusters with equal sums are one."""
    rows, counts = np.unique(self.table_GF, axis=0, return_counts=True)
    return Sums(rows, self.function), counts


@dataclasses.dataclass(frozen=True, eq=False)
class Weighted(Statistic):
  """A function of how often each item counts: what hangs on ranks, and so on no sums.

  groups_N: the cluster of each item, 0 … G-1. function: weights [B, N] to values [B].
  """

  groups_N: np.ndarray
  function: Callable[[np.ndarray], np.ndarray]

  @property
  def clusters(self) -> int:
    """How many there are."""
    return int(self.groups_N.max()) + 1

  @property
  def width(self) -> int:
    """A resample needs weights of all items."""
    return len(self.groups_N)

  def at(self, counts_BG: np.ndarray) -> np.ndarray:
    """The statistic of samples."""
    return self.function(np.asarray(counts_BG, np.float64)[:, self.groups_N])

  def without_each(self) -> np.ndarray:
    """The jackknife."""
    size, step = self.clusters, rows_of(self)
    starts = range(0, size, step)
    return np.concatenate([self.at(1.0 - np.eye(min(step, size - k), size, k)) for k in starts])


def rows_of(statistic: Statistic) -> int:
  """How many resamples are made at a time."""
  return max(1, _CELLS // statistic.width)


def pieces(statistic: Statistic, resamples: int, rows: int = 0) -> Iterator[int]:
  """The sizes of the pieces in which resamples are made. rows: most at a time, 0 for what memory allows."""
  step = rows or rows_of(statistic)
  return (min(step, resamples - start) for start in range(0, resamples, step))


def draws(statistic: Statistic, *, seed: int = 0, resamples: int = RESAMPLES, rows: int = 0) -> np.ndarray:
  """The statistic [resamples] of samples of as many clusters, drawn with replacement.

  Where many clusters are equal, how often each *kind* was drawn is drawn itself (multinomial): the same distribution in
  a fraction of the time.
  """
  rng, size = np.random.default_rng(seed), statistic.clusters
  kinds, alike = statistic.merged()
  if _MULTINOMIAL * kinds.clusters > size:
    found = [statistic.at(_counts(rng.integers(0, size, (n, size)))) for n in pieces(statistic, resamples, rows)]
  else:
    found = [kinds.at(rng.multinomial(size, alike / size, n)) for n in pieces(kinds, resamples, rows)]
  return np.concatenate(found)


class Spread(NamedTuple):
  """What resamples say of a statistic: its percentile interval, and its standard error."""

  interval: Interval
  error: float


def spread(statistic: Statistic, *, level: float = 0.95, seed: int = 0, resamples: int = RESAMPLES) -> Spread:
  """The percentile interval and the standard error, both widened for few clusters.

  The tails are those of a normal variable at Student's quantile times √(G / (G-1)): the "expanded percentile interval"
  of Hesterberg (2015, §5.3). The error is the standard deviation over resamples times that root.

  No interval for one cluster, where no resample differs (there is no spread to learn from: certainty is not what that
  shows), where all resamples are equal, and where the statistic is undefined in more than 1 % of them.
  """
  size = statistic.clusters
  if size < 2:
    return Spread(None, float("nan"))
  root = np.sqrt(size / (size - 1))
  tail = float(special.ndtr(-root * special.stdtrit(size - 1, (1 + level) / 2)))
  found = draws(statistic, seed=seed, resamples=resamples)
  known = found[np.isfinite(found)]
  return Spread(_quantiles(found, tail, 1 - tail), float(np.std(known) * root) if len(known) else float("nan"))


def percentile(statistic: Statistic, *, level: float = 0.95, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
  """The percentile interval, as `spread` has it."""
  return spread(statistic, level=level, seed=seed, resamples=resamples).interval


def bca(statistic: Statistic, *, level: float = 0.95, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
  """The bias-corrected and accelerated interval (Efron 1987), acceleration by the jackknife over clusters.

  None where `percentile` gives none, and where the jackknife has no spread.
  """
  if statistic.clusters < 2:
    return None
  found, value, left_out = draws(statistic, seed=seed, resamples=resamples), statistic.value, statistic.without_each()
  pull = left_out.mean() - left_out
  spread = np.sum(pull**2)
  below = ((found < value).mean() + (found <= value).mean()) / 2
  if not spread > 0 or not 0 < below < 1:
    return None
  acceleration = np.sum(pull**3) / (6 * spread**1.5)
  bias = special.ndtri(below)
  at = lambda z: float(special.ndtr(bias + (bias + z) / (1 - acceleration * (bias + z))))
  z = special.ndtri((1 + level) / 2)
  return _quantiles(found, at(-z), at(z))


def groups(clusters: Sequence[str]) -> np.ndarray:
  """The number of each item's cluster [N], in the order in which clusters first stand."""
  names = {name: i for i, name in enumerate(dict.fromkeys(clusters))}
  return np.fromiter((names[name] for name in clusters), np.int64, len(clusters))


def summed(features_NF: np.ndarray, groups_N: np.ndarray) -> np.ndarray:
  """Sums of the items' features by cluster [G, F]."""
  table_GF = np.zeros((int(groups_N.max()) + 1, features_NF.shape[1]))
  np.add.at(table_GF, groups_N, features_NF)
  return table_GF


def _counts(drawn_BG: np.ndarray) -> np.ndarray:
  rows, size = drawn_BG.shape
  places = drawn_BG + np.arange(rows)[:, None] * size
  return np.bincount(places.ravel(), minlength=rows * size).reshape(rows, size)


def _product(counts_BG: np.ndarray, table_GF: np.ndarray) -> np.ndarray:
  """counts · table, to the same bits however many rows there are. Sums of whole numbers are exact in any order; others
  are added row by row, since a matrix product may add in another order for another number of rows."""
  if np.array_equal(table_GF, np.rint(table_GF)) and np.abs(table_GF).sum() < 2**40:
    return counts_BG @ table_GF
  return np.stack([(counts_BG * column).sum(1) for column in np.ascontiguousarray(table_GF.T)], 1)


def _quantiles(found: np.ndarray, low: float, high: float) -> Interval:
  known = found[np.isfinite(found)]
  if len(known) < (1 - _UNDEFINED) * len(found):
    return None
  bounds = np.quantile(known, [low, high])
  # Resamples of equal values differ by the rounding of their sums alone.
  if known.max() - known.min() <= 1e-12 * max(1.0, float(np.abs(known).max())):
    return None
  return float(bounds[0]), float(bounds[1])
