"""Metrics of pairs: (label, prediction), (x, y) and (label, score), with bootstrap intervals over clusters."""

import abc
from collections.abc import Mapping, Sequence
import dataclasses
from typing import NamedTuple

import numpy as np

from itune_jax.core import errors
from itune_jax.grading.statistics import bootstrap
from itune_jax.grading.statistics import metrics


class Tallies(NamedTuple):
  """By class, each [B, K]: right predictions, labels, and predictions; given: whether the classes were named."""

  right: np.ndarray
  labels: np.ndarray
  predictions: np.ndarray
  given: bool


@dataclasses.dataclass(frozen=True)
class Classes(metrics.Resampled):
  """A metric of pairs (label, prediction), of any values that JSON holds; a prediction may be None or no class at all.

  labels: the classes that count; all that occur, as label or prediction, where it is empty (as scikit-learn has it).
  """

  labels: tuple[metrics.Value, ...] = ()

  @abc.abstractmethod
  def of(self, tallies: Tallies) -> np.ndarray:
    """The metric [B]; NaN where it is undefined."""

  def statistic(self, values: Sequence[metrics.Value], groups_N: np.ndarray) -> bootstrap.Statistic:
    """Three counts a class, by cluster."""
    pairs = [tuple(map(_hashable, metrics.pair(value))) for value in values]
    classes = [_hashable(label) for label in self.labels] or list(dict.fromkeys(one for pair in pairs for one in pair))
    places = {name: i for i, name in enumerate(classes)}
    size = len(classes)
    table_GF = np.zeros((int(groups_N.max()) + 1, 3 * size + 1))
    for group, (label, prediction) in zip(groups_N, pairs, strict=True):
      if label in places:
        table_GF[group, size + places[label]] += 1
        table_GF[group, places[label]] += label == prediction
      if prediction in places:
        table_GF[group, 2 * size + places[prediction]] += 1
      table_GF[group, 3 * size] += 1
    given = bool(self.labels)

    def function(sums_BF: np.ndarray) -> np.ndarray:
      right, labels, predictions = np.split(sums_BF[:, :-1], 3, axis=1)
      return self.of(Tallies(right, labels, predictions, given))

    return bootstrap.Sums(table_GF, function)


@dataclasses.dataclass(frozen=True)
class Accuracy(Classes):
  """Right predictions over labels."""

  def of(self, tallies: Tallies) -> np.ndarray:
    """The metric."""
    return _over(tallies.right.sum(1), tallies.labels.sum(1))


@dataclasses.dataclass(frozen=True)
class BalancedAccuracy(Classes):
  """The mean of recalls over the classes that are somebody's label."""

  def of(self, tallies: Tallies) -> np.ndarray:
    """The metric."""
    return _mean_where(_over(tallies.right, tallies.labels), tallies.labels > 0)


@dataclasses.dataclass(frozen=True)
class MacroF1(Classes):
  """The mean of F1 over classes: those that occur as label or prediction, or all of `labels` (0 for one that does not
  occur)."""

  def of(self, tallies: Tallies) -> np.ndarray:
    """The metric."""
    return _mean_where(_f1(tallies), tallies.given | (tallies.labels + tallies.predictions > 0))


@dataclasses.dataclass(frozen=True)
class WeightedF1(Classes):
  """The mean of F1 over classes, each as often as it is a label."""

  def of(self, tallies: Tallies) -> np.ndarray:
    """The metric."""
    return _over((np.nan_to_num(_f1(tallies)) * tallies.labels).sum(1), tallies.labels.sum(1))


@dataclasses.dataclass(frozen=True)
class Mcc(Classes):
  """Matthews' correlation, of two or more classes (Gorodkin 2004); 0 where labels or predictions are all one class."""

  def __post_init__(self):
    if self.labels:
      raise errors.InputError("Mcc.labels: Matthews' correlation is of all classes; leave it empty")

  def of(self, tallies: Tallies) -> np.ndarray:
    """The metric."""
    n, (right, labels, predictions, _) = tallies.labels.sum(1), tallies
    cross = n * right.sum(1) - (labels * predictions).sum(1)
    spread = (n**2 - (labels**2).sum(1)) * (n**2 - (predictions**2).sum(1))
    return np.divide(cross, np.sqrt(spread), out=np.zeros(len(n)), where=spread > 0)


@dataclasses.dataclass(frozen=True)
class Pearson(metrics.Resampled):
  """The correlation of pairs (x, y)."""

  def statistic(self, values: Sequence[metrics.Value], groups_N: np.ndarray) -> bootstrap.Statistic:
    """Moments about the means of all, by cluster: sums of squares of what is far from 0 would lose digits."""
    x, y = _numbers(values)
    x, y = x - x.mean(), y - y.mean()
    return bootstrap.Sums(
      bootstrap.summed(np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], 1), groups_N), _pearson
    )


@dataclasses.dataclass(frozen=True)
class Spearman(metrics.Resampled):
  """The correlation of the ranks of pairs (x, y); equal values have the mean of their ranks. Ranks are made anew in
  every resample."""

  def statistic(self, values: Sequence[metrics.Value], groups_N: np.ndarray) -> bootstrap.Statistic:
    """Weighted ranks."""
    places = [np.unique(side, return_inverse=True)[1] for side in _numbers(values)]

    def function(weights_BN: np.ndarray) -> np.ndarray:
      sides = [_ranks(weights_BN, at) for at in places]
      n = weights_BN.sum(1, keepdims=True)
      a, b = (side - (weights_BN * side).sum(1, keepdims=True) / n for side in sides)
      spread = np.sqrt((weights_BN * a * a).sum(1) * (weights_BN * b * b).sum(1))
      return _over((weights_BN * a * b).sum(1), np.where(spread > 1e-9, spread, 0))

    return bootstrap.Weighted(groups_N, function)


@dataclasses.dataclass(frozen=True)
class Auc(metrics.Resampled):
  """The area under the ROC curve of pairs (label, score), label 0 or 1: the chance that a right one's score is above a
  wrong one's, half where they are equal. Undefined where all labels are equal."""

  def statistic(self, values: Sequence[metrics.Value], groups_N: np.ndarray) -> bootstrap.Statistic:
    """Mann-Whitney's count by weighted ranks."""
    labels, scores = _numbers(values)
    if not np.isin(labels, (0, 1)).all():
      raise errors.InputError("a label is neither 0 nor 1: values of AUC are pairs (label, score)")
    at = np.unique(scores, return_inverse=True)[1]

    def function(weights_BN: np.ndarray) -> np.ndarray:
      positive_BN = weights_BN * labels
      positives, n = positive_BN.sum(1), weights_BN.sum(1)
      above = (positive_BN * _ranks(weights_BN, at)).sum(1) - positives * (positives + 1) / 2
      return _over(above, positives * (n - positives))

    return bootstrap.Weighted(groups_N, function)


# What a figure may be made by, by the names that files and flags use.
AGGREGATES: Mapping[str, metrics.Resampled] = {
  "mean": metrics.Mean(),
  "micro_mean": metrics.MicroMean(),
  "pass@1": metrics.PassAtK(),
  "accuracy": Accuracy(),
  "balanced_accuracy": BalancedAccuracy(),
  "macro_f1": MacroF1(),
  "weighted_f1": WeightedF1(),
  "mcc": Mcc(),
  "pearson": Pearson(),
  "spearman": Spearman(),
  "auc": Auc(),
}


def _numbers(values: Sequence[metrics.Value]) -> tuple[np.ndarray, np.ndarray]:
  x, y = zip(*(metrics.pair(value) for value in values), strict=True)
  return np.array([metrics.number(one) for one in x]), np.array([metrics.number(one) for one in y])


def _hashable(value):
  """1 and True are other classes than "1"; a list, which no key can be, is its text."""
  return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


def _over(above, below):
  return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below != 0)


def _mean_where(values_BK, where_BK):
  where_BK = np.broadcast_to(where_BK, values_BK.shape)
  return _over(np.where(where_BK, np.nan_to_num(values_BK), 0).sum(1), where_BK.sum(1))


def _f1(tallies: Tallies) -> np.ndarray:
  return _over(2 * tallies.right, tallies.labels + tallies.predictions)


def _pearson(sums_BF: np.ndarray) -> np.ndarray:
  n, x, y, xx, yy, xy = sums_BF.T
  spread = (n * xx - x * x) * (n * yy - y * y)
  floor = 1e-18 * np.maximum(n * n * xx * yy, 1e-300)
  return _over(n * xy - x * y, np.sqrt(np.where(spread > floor, spread, 0)))


def _ranks(weights_BN: np.ndarray, at_N: np.ndarray) -> np.ndarray:
  """Ranks [B, N] from 1 when item i stands weights[b, i] times; at_N: the place of its value among the sorted ones."""
  order = np.argsort(at_N, kind="stable")
  starts = np.flatnonzero(np.diff(at_N[order], prepend=-1))
  alike = np.add.reduceat(weights_BN[:, order], starts, axis=1)
  return (np.cumsum(alike, axis=1) - (alike - 1) / 2)[:, at_N]
