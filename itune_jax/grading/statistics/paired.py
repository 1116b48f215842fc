"""Two runs on the same items: the bootstrap of their difference, and tests that exchange what the runs said."""

import dataclasses

import numpy as np
from scipy import special

from itune_jax.grading.statistics import bootstrap


@dataclasses.dataclass(frozen=True, eq=False)
class Difference(bootstrap.Statistic):
  """The second run's statistic minus the first's, over the same clusters.

  both: a statistic of 2 G clusters: those of the first run, then those of the second in the same order.
  """

  both: bootstrap.Statistic

  @property
  def clusters(self) -> int:
    """How many there are."""
    return self.both.clusters // 2

  @property
  def width(self) -> int:
    """A resample needs those of both runs."""
    return self.both.width

  def at(self, counts_BG: np.ndarray) -> np.ndarray:
    """The difference in samples: a drawn cluster is drawn in both runs."""
    none = np.zeros_like(counts_BG)
    return self.between(np.hstack([counts_BG, none]), np.hstack([none, counts_BG]))

  def between(self, first_BH: np.ndarray, second_BH: np.ndarray) -> np.ndarray:
    """The difference [B] of two samples [B, 2 G] of the clusters of both runs."""
    return self.both.at(second_BH) - self.both.at(first_BH)

  def without_each(self) -> np.ndarray:
    """The jackknife."""
    size, step = self.clusters, bootstrap.rows_of(self)
    starts = range(0, size, step)
    return np.concatenate([self.at(1.0 - np.eye(min(step, size - k), size, k)) for k in starts])

  def merged(self) -> tuple[bootstrap.Statistic, np.ndarray]:
    """Clusters with equal sums in both runs are one."""
    if not isinstance(self.both, bootstrap.Sums):
      return super().merged()
    first, second = np.split(self.both.table_GF, 2)
    rows, counts = np.unique(np.hstack([first, second]), axis=0, return_counts=True)
    return Difference(bootstrap.Sums(np.vstack(np.split(rows, 2, axis=1)), self.both.function)), counts


def mcnemar_exact(lost: int, won: int) -> float:
  """p of McNemar's test, exact (binomial, two-sided): `lost` items are right in the first run alone, `won` in the
  second alone. 1 where no item changed."""
  return min(1.0, 2 * float(special.bdtr(min(lost, won), lost + won, 0.5)))


def mcnemar_corrected(lost: int, won: int) -> float:
  """p of McNemar's test by chi-square with the correction of continuity (Edwards 1948); 1 where no item changed."""
  if not lost + won:
    return 1.0
  return float(special.chdtrc(1, (abs(lost - won) - 1) ** 2 / (lost + won)))


def sign_flip(
  differences_N: np.ndarray, groups_N: np.ndarray, *, seed: int = 0, resamples: int = bootstrap.RESAMPLES
) -> float:
  """p, two-sided, of the sum of differences when the sign of every *cluster's* sum is a coin's.

  All signs are tried where they are no more than `resamples`; else so many are drawn, and the observed one counts
  among them, so that p is never 0 (Phipson & Smyth 2010). Clusters of equal size of difference are flipped together:
  how many of them are positive is binomial.
  """
  sums_G = bootstrap.summed(np.asarray(differences_N, np.float64)[:, None], groups_N)[:, 0]
  sizes_U, alike_U = np.unique(np.abs(sums_G[sums_G != 0]), return_counts=True)
  changed = int(alike_U.sum())
  if not changed:
    return 1.0
  observed = abs(sums_G.sum()) - 1e-12 * np.abs(sums_G).sum()  # equal sums may differ by their rounding
  if changed < 63 and 2**changed <= resamples:
    signs = 1 - 2 * (np.arange(2**changed)[:, None] >> np.arange(changed) & 1)
    return float((np.abs(signs @ np.repeat(sizes_U, alike_U)) >= observed).mean())
  rng, hits, step = np.random.default_rng(seed), 0, max(1, (1 << 20) // len(sizes_U))
  for start in range(0, resamples, step):
    positive = rng.binomial(alike_U, 0.5, (min(step, resamples - start), len(sizes_U)))
    hits += int((np.abs(((2 * positive - alike_U) * sizes_U).sum(1)) >= observed).sum())
  return (hits + 1) / (resamples + 1)


def exchange(difference: Difference, *, seed: int = 0, resamples: int = bootstrap.RESAMPLES) -> float:
  """p, two-sided, of any statistic's difference when what the runs said on each *cluster* is exchanged by a coin: the
  permutation test of means that `sign_flip` is, for F1, correlations and ratios."""
  size, rng, hits, known = difference.clusters, np.random.default_rng(seed), 0, 0
  observed = abs(difference.value)
  for rows in bootstrap.pieces(difference, resamples):
    stays = rng.integers(0, 2, (rows, size), dtype=np.int8).astype(np.float64)
    first, second = np.hstack([stays, 1 - stays]), np.hstack([1 - stays, stays])
    found = np.abs(difference.between(first, second))
    known += int(np.isfinite(found).sum())
    hits += int((found >= observed - 1e-12).sum())
  return (hits + 1) / (known + 1)
