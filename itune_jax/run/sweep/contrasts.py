"""What a factor did: differences of runs that are equal in all else, over items and seeds.

A main effect of level a of a factor is the mean, over all settings of the other factors, of (the run at a) - (the run
at the first level). An interaction of two factors is a difference of such differences. Both are linear in the runs,
item by item. Their error has two parts (as `itune compare` has): what sampling items leaves open, from clusters of
items, and what seeds vary, with Student's distribution and the degrees of freedom of both (Satterthwaite 1946).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import dataclasses
import itertools
import math

import numpy as np

from itune_jax.grading.statistics import bootstrap
from itune_jax.grading.statistics import multiple
from itune_jax.grading.statistics import power
from itune_jax.grading.statistics import variance
from itune_jax.run.sweep import space as space_lib

Setting = tuple[tuple[str, space_lib.Value], ...]  # a point, sorted by name
RunKey = tuple[Setting, int]  # and the seed


@dataclasses.dataclass(frozen=True)
class Measure:
  """One figure of all runs.

  name: as tables call it. better: which way it counts, "" where nobody knows. values: by (setting, seed) the value of
  each item, or of the run alone under the one item "". clusters: of the items. weights: of the items in the mean, such
  as the tokens of a loss, the same in all runs; 1 where none is said.
  """

  name: str
  better: str
  values: Mapping[RunKey, Mapping[str, float]]
  clusters: Mapping[str, str]
  weights: Mapping[str, float] = dataclasses.field(default_factory=dict)

  @property
  def by_item(self) -> bool:
    """Whether runs are compared item by item."""
    return any(item for item in self.clusters)

  def mean(self, setting: Setting, seed: int) -> float:
    """The figure of a run."""
    values = self.values[setting, seed]
    return float(np.average(list(values.values()), weights=self.weights_of(values)))

  def weights_of(self, items: Iterable[str]) -> np.ndarray:
    """The weights of these items."""
    return np.array([self.weights.get(item, 1.0) for item in items])


@dataclasses.dataclass(frozen=True)
class Effect:
  """A contrast of runs.

  what: "main" or "pair". factors, levels, first: of the factors, which level is compared with which. value: the
  difference. error, degrees: its standard error and degrees of freedom; nan where one seed and no items leave none.
  p, adjusted: two-sided, and by Holm over all effects of the measure. settings: over how many settings of the other
  factors it is the mean. seeds, items: over how many. left_out: settings of which a run is missing.
  """

  measure: str
  what: str
  factors: tuple[str, ...]
  levels: tuple[space_lib.Value, ...]
  first: tuple[space_lib.Value, ...]
  value: float
  error: float
  degrees: float
  settings: int
  seeds: int
  items: int
  left_out: int
  adjusted: float = math.nan

  @property
  def known(self) -> bool:
    """Whether there is an error."""
    return self.error > 0

  @property
  def p(self) -> float:
    """Two-sided; nan without an error."""
    return variance.p_value(self.value, self.error, self.degrees) if self.known else math.nan

  @property
  def interval(self) -> tuple[float, float]:
    """Of 95 %; nan without an error."""
    half = variance.quantile(self.degrees) * self.error if self.known else math.nan
    return self.value - half, self.value + half

  @property
  def detectable(self) -> float:
    """The smallest difference that such a sweep finds in 80 of 100 cases."""
    return power.detectable(self.error, self.degrees) if self.known else math.nan


def effects(measure: Measure, factors: Mapping[str, Sequence[space_lib.Value]], pairs: bool = True) -> list[Effect]:
  """All main effects and, with `pairs`, all interactions of two factors, with p by Holm over all of them."""
  found = list(_main(measure, factors))
  if pairs:
    found += _pairs(measure, factors)
  tested = [k for k, one in enumerate(found) if one.known]
  for k, p in zip(tested, multiple.holm([found[k].p for k in tested]), strict=True):
    found[k] = dataclasses.replace(found[k], adjusted=p)
  return found


def _main(measure: Measure, factors: Mapping[str, Sequence[space_lib.Value]]) -> Iterator[Effect]:
  for name, levels in factors.items():
    for level in levels[1:]:
      weights = {((name, level),): 1.0, ((name, levels[0]),): -1.0}
      yield from _contrast(measure, "main", (name,), (level,), (levels[0],), weights)


def _pairs(measure: Measure, factors: Mapping[str, Sequence[space_lib.Value]]) -> Iterator[Effect]:
  for (one, a), (other, b) in itertools.combinations(factors.items(), 2):
    for x, y in itertools.product(a[1:], b[1:]):
      both = lambda level, of_other, one=one, other=other: _setting([(one, level)], [(other, of_other)])
      weights = {both(x, y): 1.0, both(x, b[0]): -1.0, both(a[0], y): -1.0, both(a[0], b[0]): 1.0}
      yield from _contrast(measure, "pair", (one, other), (x, y), (a[0], b[0]), weights)


def _contrast(measure, what, factors, levels, first, weights: Mapping[Setting, float]) -> Iterator[Effect]:
  """One effect, where any setting of the other factors has all the runs that it needs."""
  others = dict.fromkeys(
    tuple(part for part in setting if part[0] not in factors)
    for setting, _ in measure.values
    if tuple(part for part in setting if part[0] in factors) in weights
  )
  seeds = sorted({seed for _, seed in measure.values})
  # A run may be missing. What is compared has every seed, so that no seed weighs more in one run than in another.
  whole = [
    rest for rest in others if all((_setting(rest, own), seed) in measure.values for own in weights for seed in seeds)
  ]
  if not whole:
    return
  by_seed = []
  for seed in seeds:
    runs = [
      (weight / len(whole), measure.values[_setting(rest, own), seed])
      for rest in whole
      for own, weight in weights.items()
    ]
    by_seed.append(runs)
  items = [item for item in measure.clusters if all(item in values for runs in by_seed for _, values in runs)]
  if not items:
    return
  table_SN = np.array([[sum(weight * values[item] for weight, values in runs) for item in items] for runs in by_seed])
  clusters = [measure.clusters[item] for item in items]
  value, error, degrees = _estimate(table_SN, measure.weights_of(items), clusters, measure.by_item)
  counts = (len(whole), len(seeds), len(items) if measure.by_item else 0, len(others) - len(whole))
  yield Effect(measure.name, what, tuple(factors), tuple(levels), tuple(first), value, error, degrees, *counts)


def _setting(rest: Iterable[tuple[str, space_lib.Value]], own: Iterable[tuple[str, space_lib.Value]]) -> Setting:
  """Values by factor, in the order of the factors' names: that of the settings of a measure."""
  return tuple(sorted([*rest, *own]))


def _estimate(
  table_SN: np.ndarray, weights_N: np.ndarray, clusters: Sequence[str], by_item: bool
) -> tuple[float, float, float]:
  """(mean, standard error, degrees of freedom) of differences by seed and item; nan where nothing tells the error."""
  means_S = np.average(table_SN, axis=1, weights=weights_N)
  seeds, value = len(means_S), float(means_S.mean())
  parts = []
  if by_item and len(set(clusters)) > 1:
    parts.append(_of_items(table_SN.mean(0), weights_N, clusters))
  if seeds > 1:
    parts.append((float(np.var(means_S, ddof=1)) / seeds, seeds - 1))
  if not any(part > 0 for part, _ in parts):
    return value, math.nan, math.nan
  return value, *variance.combined(parts)


def _of_items(values_N: np.ndarray, weights_N: np.ndarray, clusters: Sequence[str]) -> tuple[float, int]:
  """(variance of a weighted mean over clusters of items with G / (G - 1), degrees of freedom) (Liang & Zeger 1986)."""
  groups_N = bootstrap.groups(clusters)
  sums_G = np.bincount(groups_N, weights_N * (values_N - np.average(values_N, weights=weights_N)))
  count = len(sums_G)
  return count / (count - 1) * float((sums_G**2).sum()) / weights_N.sum() ** 2, count - 1
