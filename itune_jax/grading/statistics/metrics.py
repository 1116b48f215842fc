"""How the values of a benchmark's items become one figure with an interval: metrics as frozen values.

Metrics of pairs (macro-F1, correlations) are in `pair_metrics`; `AGGREGATES` of that module names all of them.
"""

import abc
from collections.abc import Mapping, Sequence
import dataclasses
import math
import sys
from typing import Any, NamedTuple

import numpy as np

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.grading.statistics import bootstrap
from itune_jax.grading.statistics import paired
from itune_jax.grading.statistics import proportions

# What a grade says of one item by one metric: a number, a pair such as (label, prediction), or None where the metric
# does not apply. It must be what JSON can hold, since rows are written; a pair comes back from there as a list.
Value = Any


class Figure(NamedTuple):
  """A figure with its interval, where it has one, and of how many values it was made."""

  value: float
  low: float | None
  high: float | None
  n: int


class Metric(abc.ABC):
  """How the values of items become one figure: a frozen value. None stands for an item to which the metric does not
  apply: it is left out, and shows in the number of items."""

  better: contracts.Better

  @abc.abstractmethod
  def __call__(self, values: Sequence[Value], clusters: Sequence[str]) -> Figure:
    """The figure of one value and cluster an item."""


class Paired(NamedTuple):
  """What two runs on the same items differ by: the second minus the first, its standard error, the p of `test`.
  degrees: of freedom of the error; infinitely many where items alone leave it open."""

  figure: Figure
  error: float
  p: float | None
  test: str
  degrees: float = math.inf


@dataclasses.dataclass(frozen=True)
class Resampled(Metric):
  """A metric with a bootstrap interval over clusters: it says how it is made of values, and has the rest from here.

  better: which way it is better.
  """

  better: contracts.Better = "higher"

  @abc.abstractmethod
  def statistic(self, values: Sequence[Value], groups_N: np.ndarray) -> bootstrap.Statistic:
    """The metric of values, none of them None, whose clusters are numbered by `groups_N`. Raises InputError for a value
    that it cannot be made of."""

  def __call__(self, values: Sequence[Value], clusters: Sequence[str]) -> Figure:
    """The figure of one value and cluster an item; not a number where no item has a value, and no interval where the
    values show no spread."""
    known = [(value, name) for value, name in zip(values, clusters, strict=True) if value is not None]
    if not known:
      return Figure(float("nan"), None, None, 0)
    chosen, names = zip(*known, strict=True)
    groups_N = bootstrap.groups(names)
    statistic = self.statistic(chosen, groups_N)
    low, high = self._interval(statistic, chosen, groups_N) or (None, None)
    return Figure(statistic.value, low, high, len(chosen))

  def _interval(
    self, statistic: bootstrap.Statistic, values: Sequence[Value], groups_N: np.ndarray
  ) -> bootstrap.Interval:
    del values, groups_N
    return bootstrap.percentile(statistic)

  def paired(self, first: Sequence[Value], second: Sequence[Value], clusters: Sequence[str]) -> Paired:
    """The second run's figure minus the first's on the same items: those of which both have a value.

    Raises ValueError when there is none.
    """
    known = [trio for trio in zip(first, second, clusters, strict=True) if trio[0] is not None and trio[1] is not None]
    if not known:
      raise ValueError("the two runs share no item")
    one, two, names = zip(*known, strict=True)
    return self._paired(one, two, bootstrap.groups(names))

  def _paired(self, first: Sequence[Value], second: Sequence[Value], groups_N: np.ndarray) -> Paired:
    size = int(groups_N.max()) + 1
    difference = paired.Difference(self.statistic([*first, *second], np.concatenate([groups_N, groups_N + size])))
    interval, error = bootstrap.spread(difference)
    low, high = interval or (None, None)
    figure = Figure(difference.value, low, high, len(first))
    return Paired(figure, error, paired.exchange(difference), "permutation")


@dataclasses.dataclass(frozen=True)
class Mean(Resampled):
  """The mean. A plain share (values 0 and 1, each item by itself) has Wilson's interval instead of the bootstrap's; a
  share of which all outcomes are equal has Wilson's of as many items as there are clusters."""

  def statistic(self, values: Sequence[Value], groups_N: np.ndarray) -> bootstrap.Statistic:
    """Sum and number of items by cluster."""
    numbers = np.array([number(value) for value in values])
    return bootstrap.Sums(bootstrap.summed(np.stack([numbers, np.ones_like(numbers)], 1), groups_N), ratio)

  def _interval(
    self, statistic: bootstrap.Statistic, values: Sequence[Value], groups_N: np.ndarray
  ) -> bootstrap.Interval:
    if shares(values):
      if statistic.clusters == len(values):
        return proportions.wilson(sum(map(float, values)), len(values))
      if len(set(map(float, values))) == 1:
        return proportions.wilson(float(values[0]) * statistic.clusters, statistic.clusters)
    return bootstrap.percentile(statistic)

  def _paired(self, first: Sequence[Value], second: Sequence[Value], groups_N: np.ndarray) -> Paired:
    """By the differences of items: Tango's interval and McNemar's test for plain shares, the bootstrap and flipped
    signs of clusters for all others."""
    changes = np.array([number(b) - number(a) for a, b in zip(first, second, strict=True)])
    statistic = self.statistic(list(changes), groups_N)
    (found, error), size = bootstrap.spread(statistic), statistic.clusters
    both_shares, won, lost = shares([*first, *second]), int((changes > 0).sum()), int((changes < 0).sum())
    is_plain = both_shares and size == len(changes)
    if is_plain:
      found = proportions.tango(won, lost, size)
    elif both_shares and len(set(changes)) == 1:  # nothing to draw: as many items as there are clusters, all alike
      found = proportions.tango(size * bool(won), size * bool(lost), size)
    if both_shares and len(set(changes)) == 1:
      error = math.sqrt(proportions.wilson(0, size)[1] / size)
    figure = Figure(statistic.value, *(found or (None, None)), len(changes))
    if is_plain:
      return Paired(figure, error, paired.mcnemar_exact(lost, won), "McNemar")
    return Paired(figure, error, paired.sign_flip(changes, groups_N), "sign flip")


@dataclasses.dataclass(frozen=True)
class MicroMean(Resampled):
  """Σ sums / Σ weights of items' pairs (sum, weight): errors over words, log-probability over bytes."""

  def statistic(self, values: Sequence[Value], groups_N: np.ndarray) -> bootstrap.Statistic:
    """Sums and weights by cluster."""
    features = np.array([[number(part) for part in pair(value)] for value in values])
    if not (features[:, 1] >= 0).all():
      raise errors.InputError("a weight is below 0: values of this metric are pairs (sum, weight)")
    return bootstrap.Sums(bootstrap.summed(features, groups_N), ratio)


@dataclasses.dataclass(frozen=True)
class PassAtK(Resampled):
  """pass@k, unbiased (Chen et al. 2021): the mean of 1 - C(n - c, k) / C(n, k) over items with c of n samples right.

  k: how many samples one may pick from. A value is a pair (n, c). Intervals and tests are those of the mean: of one
  sample an item it is a plain share.
  """

  k: int = 1

  def __post_init__(self):
    check.check_types(self)
    check.require(self.k > 0, f"PassAtK.k = {self.k}: it counts samples, from 1")

  def statistic(self, values: Sequence[Value], groups_N: np.ndarray) -> bootstrap.Statistic:
    """The estimates of items, as a mean."""
    return Mean(self.better).statistic(self._estimates(values), groups_N)

  def _interval(
    self, statistic: bootstrap.Statistic, values: Sequence[Value], groups_N: np.ndarray
  ) -> bootstrap.Interval:
    return Mean(self.better)._interval(statistic, self._estimates(values), groups_N)

  def _paired(self, first: Sequence[Value], second: Sequence[Value], groups_N: np.ndarray) -> Paired:
    return Mean(self.better)._paired(self._estimates(first), self._estimates(second), groups_N)

  def _estimates(self, values: Sequence[Value]) -> list[float]:
    return [self.estimate(*pair(value)) for value in values]

  def estimate(self, samples: int, right: int) -> float:
    """Of one item. Raises InputError for counts that cannot be."""
    counts = all(isinstance(one, int) and not isinstance(one, bool) for one in (samples, right))
    if not counts or not 0 <= right <= samples or samples < self.k:
      raise errors.InputError(
        f"pass@{self.k} of {right!r} right of {samples!r} samples cannot be: draw at least {self.k}"
      )
    return 1.0 - math.comb(samples - right, self.k) / math.comb(samples, self.k)


def number(value: Value) -> float:
  """A value as a number. Raises InputError for what is none."""
  if isinstance(value, (bool, int, float, np.number, np.bool_)) and abs(value) <= sys.float_info.max:
    return float(value)
  raise errors.InputError(f"{_short(value)} is no finite number, as this metric needs of each item")


def pair(value: Value) -> Sequence[Value]:
  """A value as a pair. Raises InputError for what is none."""
  if isinstance(value, (tuple, list)) and len(value) == 2:
    return value
  raise errors.InputError(f"{_short(value)} is no pair, as this metric needs of each item")


def shares(values: Sequence[Value]) -> bool:
  """Whether all values are 0 or 1."""
  return all(isinstance(value, (bool, int, float, np.number, np.bool_)) and value in (0, 1) for value in values)


def ratio(sums_BF: np.ndarray) -> np.ndarray:
  """The first sum over the second; NaN where that is 0."""
  above, below = sums_BF[:, 0], sums_BF[:, 1]
  return np.divide(above, below, out=np.full(len(above), np.nan), where=below != 0)


def named(metrics: Mapping[str, Metric], name: str) -> Metric:
  """The metric of a table. Raises InputError naming those that there are."""
  if name not in metrics:
    raise errors.InputError(f"no metric is called {name!r}; they are {', '.join(metrics)}")
  return metrics[name]


def _short(value: Value) -> str:
  text = repr(value)
  return text if len(text) <= 60 else text[:60] + "…"
