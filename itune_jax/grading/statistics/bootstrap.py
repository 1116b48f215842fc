"""Percentile bootstrap over clusters of items, paired where runs share items."""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 10_000


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
