"""Intervals that respect how items were made: percentile bootstrap over clusters, paired where runs share items."""

import abc
from collections.abc import Sequence
import dataclasses
from typing import NamedTuple

import numpy as np

from itune_jax.core import contracts

RESAMPLES = 10_000


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
  def __call__(self, values: Sequence[float | None], clusters: Sequence[str]) -> Figure:
    """The figure of one value and cluster an item."""


@dataclasses.dataclass(frozen=True)
class Mean(Metric):
  """The mean, with a bootstrap interval over clusters; not a number where no item has a value."""

  better: contracts.Better = "higher"

  def __call__(self, values: Sequence[float | None], clusters: Sequence[str]) -> Figure:
    """The figure of one value and cluster an item."""
    known = [(float(value), cluster) for value, cluster in zip(values, clusters, strict=True) if value is not None]
    if not known:
      return Figure(float("nan"), None, None, 0)
    return Figure(*interval(*zip(*known, strict=True)), len(known))


def interval(
  values: Sequence[float], clusters: Sequence[str], *, level: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
  """(mean, low, high) of the mean. Whole clusters are drawn with replacement (items of one template are alike)."""
  sums, counts = _by_cluster(values, clusters)
  draws = np.random.default_rng(seed).integers(0, len(sums), (RESAMPLES, len(sums)))
  means = sums[draws].sum(1) / counts[draws].sum(1)
  low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
  return float(sums.sum() / counts.sum()), float(low), float(high)


def paired_interval(
  before: dict[str, float], after: dict[str, float], clusters: dict[str, str], *, level: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
  """(mean, low, high) of after - before over the items both have. Raises ValueError when they share none."""
  shared = sorted(before.keys() & after.keys())
  if not shared:
    raise ValueError("the two runs share no item")
  return interval([after[i] - before[i] for i in shared], [clusters[i] for i in shared], level=level, seed=seed)


def _by_cluster(values, clusters):
  names = {name: i for i, name in enumerate(dict.fromkeys(clusters))}
  sums, counts = np.zeros(len(names)), np.zeros(len(names))
  for value, cluster in zip(values, clusters, strict=True):
    sums[names[cluster]] += value
    counts[names[cluster]] += 1
  return sums, counts
