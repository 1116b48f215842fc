"""Figures of judged items whose values are more than a number: labels of several games, or worths with lengths."""

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.grading import length_controlled
from itune_jax.grading.statistics import bootstrap
from itune_jax.grading.statistics import metrics
from itune_jax.grading.statistics import pair_metrics


@dataclasses.dataclass(frozen=True)
class Kappa(pair_metrics.Classes):
  """Cohen's κ: agreement beyond what chance would give (Cohen 1960). An item's value is a list of pairs (gold label,
  the judge's): one for each time that it was judged."""

  def of(self, tallies: pair_metrics.Tallies) -> np.ndarray:
    """The metric; undefined where chance alone agrees always."""
    n = tallies.labels.sum(1)
    agreed = tallies.right.sum(1) / np.maximum(n, 1)
    chance = (tallies.labels * tallies.predictions).sum(1) / np.maximum(n, 1) ** 2
    return np.divide(agreed - chance, 1 - chance, out=np.full(len(n), np.nan), where=chance < 1)

  def statistic(self, values: Sequence[metrics.Value], groups_N: np.ndarray) -> bootstrap.Statistic:
    """Counts by class, of all pairs."""
    pairs = [pair for value in values for pair in value]
    return super().statistic(pairs, np.repeat(groups_N, [len(value) for value in values]))


@dataclasses.dataclass(frozen=True)
class LengthControlled(metrics.Metric):
  """The length-controlled win rate of pairs (worth, difference of lengths), by AlpacaEval's formula without
  difficulties; not a number where it cannot be fitted (few items, equal lengths, one side won all). The interval is the
  normal one of AlpacaEval's standard error."""

  better: contracts.Better = "higher"

  def __call__(self, values: Sequence[metrics.Value], clusters: Sequence[str]) -> metrics.Figure:
    """The figure of one pair (worth, length of the baseline's answer less that of ours) an item."""
    known = np.asarray([metrics.pair(value) for value in values if value is not None], np.float64).reshape(-1, 2)
    try:
      found = length_controlled.control("length_controlled_minimal", known[:, 0], known[:, 1])
    except errors.InputError:
      return metrics.Figure(math.nan, None, None, len(known))
    value, error = found.value / 100, 1.96 * found.standard_error / 100
    return metrics.Figure(value, value - error, value + error, len(known))
