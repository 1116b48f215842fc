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
class Alpha(metrics.Resampled):
  """Krippendorff's α of several voices, at the level of intervals (Krippendorff 2011): 1 - observed over expected
  squared differences. An item's value is a list of readings, each the list of the votes on it; None is a vote that is
  missing, and a reading with fewer than two says nothing."""

  def statistic(self, values: Sequence[metrics.Value], groups_N: np.ndarray) -> bootstrap.Statistic:
    """Of the votes by cluster: their number, sum and squares, and the squared differences within a reading."""
    table_NF = np.asarray([np.sum([_votes(votes) for votes in value], axis=0) for value in values], np.float64)

    def function(sums_BF: np.ndarray) -> np.ndarray:
      n, total, squares, within = sums_BF.T
      expected = 2 * (n * squares - total**2) / np.maximum(n - 1, 1)  # n times the mean over pairs of all votes
      # Of equal votes rounding alone is left of what is expected.
      some = expected > 1e-12 * np.maximum(squares, 1)
      return 1 - np.divide(within, expected, out=np.full(len(n), np.nan), where=some)

    return bootstrap.Sums(bootstrap.summed(table_NF, groups_N), function)


def _votes(votes: Sequence[float | None]) -> list[float]:
  """Number, sum, squares, and squared differences of all ordered pairs over one less than the number."""
  known = np.asarray([one for one in votes if one is not None], np.float64)
  if len(known) < 2:
    return [0.0, 0.0, 0.0, 0.0]
  apart = np.square(np.subtract.outer(known, known)).sum() / (len(known) - 1)
  return [len(known), known.sum(), np.square(known).sum(), apart]


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
