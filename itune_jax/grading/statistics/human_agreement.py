"""How far scores of texts agree with what people say of them, as papers on faithfulness measure it.

FRANK: partial correlations, which leave out what differs from system to system. AggreFact: balanced accuracy with a
threshold that is chosen on one part of the rows and held to another. SummEdits: the mean of domains' balanced
accuracies.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any

import numpy as np

from itune_jax.core import errors
from itune_jax.grading.statistics import bootstrap
from itune_jax.grading.statistics import metrics
from itune_jax.grading.statistics import pair_metrics

_PERCENTS = np.arange(0, 100, 0.2)


def residuals(values: Sequence[float], groups: Sequence[Any]) -> np.ndarray:
  """Values less the mean of their group: what least squares on the groups' indicators leaves."""
  x = np.asarray(values, np.float64)
  names = {name: i for i, name in enumerate(dict.fromkeys(groups))}
  at = np.array([names[name] for name in groups], np.int64)
  return x - (np.bincount(at, x) / np.bincount(at))[at]


def best_threshold(labels: Sequence[float], scores: Sequence[float]) -> float:
  """The threshold with the greatest balanced accuracy (a score above it says 1), among percentiles of the scores in
  steps of 0.2; the last of equal ones, as SummaC and AggreFact choose it. Raises InputError where labels are all one.
  """
  y, s = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
  if not (y == 1).any() or not (y == 0).any():
    raise errors.InputError("a threshold is chosen on rows of both labels, and these have one")
  thresholds = np.percentile(s, _PERCENTS)
  said = s[None, :] > thresholds[:, None]
  balanced = (said[:, y == 1].mean(1) + (~said[:, y == 0]).mean(1)) / 2
  return float(thresholds[len(balanced) - 1 - int(np.argmax(balanced[::-1]))])


@dataclasses.dataclass(frozen=True)
class PartialPearson(pair_metrics.Pearson):
  """Pearson's correlation of triples (x, y, group) of which the groups' means are taken off (FRANK, Pagnoni et al.
  2021; the group is the system that wrote the text). Resamples keep the means of all rows."""

  def statistic(self, values: Sequence[metrics.Value], groups_N: np.ndarray) -> bootstrap.Statistic:
    """Of residuals."""
    return super().statistic(_partial(values), groups_N)


@dataclasses.dataclass(frozen=True)
class PartialSpearman(pair_metrics.Spearman):
  """Spearman's of the same."""

  def statistic(self, values: Sequence[metrics.Value], groups_N: np.ndarray) -> bootstrap.Statistic:
    """Of residuals."""
    return super().statistic(_partial(values), groups_N)


def _partial(values: Sequence[metrics.Value]) -> list[tuple[float, float]]:
  x, y, names = zip(*values, strict=True)
  sides = ([metrics.number(one) for one in side] for side in (x, y))
  # Rounded: what is equal within a group would differ by the rounding of the mean, and ranks would see it.
  left, right = (np.round(residuals(side, names), 12) for side in sides)
  return list(zip(left.tolist(), right.tolist(), strict=True))


@dataclasses.dataclass(frozen=True)
class TunedBalancedAccuracy(metrics.Resampled):
  """Balanced accuracy of triples (part, label, score) in the part `test`, with the threshold chosen in the part `val`
  (AggreFact, Tang et al. 2023). Not a number without rows of both labels in both parts. Resamples keep the threshold.
  """

  def statistic(self, values: Sequence[metrics.Value], groups_N: np.ndarray) -> bootstrap.Statistic:
    """Counts of the part that is tested, by cluster."""
    val = [(label, score) for part, label, score in values if part == "val"]
    if {label for label, _ in val} != {0, 1}:
      return bootstrap.Sums(np.zeros((int(groups_N.max()) + 1, 1)), lambda sums: np.full(len(sums), np.nan))
    threshold = best_threshold(*zip(*val, strict=True))
    return bootstrap.Sums(
      bootstrap.summed(np.array([_counted(part, label, score, threshold) for part, label, score in values]), groups_N),
      _balanced,
    )


def _counted(part: str, label: float, score: float, threshold: float) -> list[float]:
  """[right ones, ones, right zeros, zeros] of a row."""
  if part != "test":
    return [0.0] * 4
  said = score > threshold
  return [float(label == 1 and said), float(label == 1), float(label == 0 and not said), float(label == 0)]


def _balanced(sums_BF: np.ndarray) -> np.ndarray:
  parts = [
    np.divide(sums_BF[:, k], sums_BF[:, k + 1], out=np.full(len(sums_BF), np.nan), where=sums_BF[:, k + 1] > 0)
    for k in range(0, sums_BF.shape[1], 2)
  ]
  return sum(parts[1:], parts[0]) / len(parts)


@dataclasses.dataclass(frozen=True)
class MeanBalancedAccuracy(metrics.Resampled):
  """The mean over groups of the balanced accuracy of triples (group, label, prediction), labels 0 and 1 (SummEdits,
  Laban et al. 2023). A prediction that is neither is wrong."""

  def statistic(self, values: Sequence[metrics.Value], groups_N: np.ndarray) -> bootstrap.Statistic:
    """Four counts of each group, by cluster."""
    names = {name: 4 * i for i, name in enumerate(dict.fromkeys(one[0] for one in values))}
    table = np.zeros((len(values), 4 * len(names)))
    for row, (name, label, said) in zip(table, values, strict=True):
      at = names[name] + (0 if label == 1 else 2)
      row[at : at + 2] = float(said == label), 1.0
    return bootstrap.Sums(bootstrap.summed(table, groups_N), _balanced)
