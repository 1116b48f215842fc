"""Figures of items whose values are more than a number: with a weight, a length, or somebody else's label."""

from collections.abc import Sequence
import dataclasses
import math
from typing import Any

import numpy as np

from itune_jax.core import contracts
from itune_jax.grading import length_controlled
from itune_jax.grading import stats
from itune_jax.grading.judging import reliability


@dataclasses.dataclass(frozen=True)
class WeightedMean(stats.Metric):
  """Σ w·v / Σ w of values [v, w], whole weights, with a bootstrap interval over clusters."""

  better: contracts.Better = "higher"

  def __call__(self, values: Sequence[Any], clusters: Sequence[str]) -> stats.Figure:
    """The figure of one [value, weight] and cluster an item."""
    known = [(v[0], int(v[1]), cluster) for v, cluster in zip(values, clusters, strict=True) if v is not None]
    many = [(float(value), cluster) for value, weight, cluster in known for _ in range(weight)]
    if not many:
      return stats.Figure(math.nan, None, None, 0)
    return stats.Figure(*stats.interval(*zip(*many, strict=True)), len(known))


@dataclasses.dataclass(frozen=True)
class Correlation(stats.Metric):
  """Pearson's r of values [worth, length]; not a number where either does not vary."""

  better: contracts.Better = "lower"

  def __call__(self, values: Sequence[Any], clusters: Sequence[str]) -> stats.Figure:
    """The figure of one [worth, length] and cluster an item."""
    known = [value for value in values if value is not None]
    r = reliability.correlation([one[0] for one in known], [one[1] for one in known])
    return stats.Figure(r, None, None, len(known))


@dataclasses.dataclass(frozen=True)
class Kappa(stats.Metric):
  """Cohen's κ of values [[ours, gold], …]: all labels that an item was given, in order."""

  better: contracts.Better = "higher"

  def __call__(self, values: Sequence[Any], clusters: Sequence[str]) -> stats.Figure:
    """The figure of one list of pairs and cluster an item."""
    known = [value for value in values if value is not None]
    pairs = [pair for value in known for pair in value]
    kappa = reliability.kappa([str(one[0]) for one in pairs], [str(one[1]) for one in pairs])
    return stats.Figure(kappa, None, None, len(known))


@dataclasses.dataclass(frozen=True)
class LengthControlled(stats.Metric):
  """The length-controlled win rate of values [worth, difference of lengths], by AlpacaEval's formula without
  difficulties; not a number where it cannot be fitted (few items, equal lengths)."""

  better: contracts.Better = "higher"

  def __call__(self, values: Sequence[Any], clusters: Sequence[str]) -> stats.Figure:
    """The figure of one [worth, their length less ours] and cluster an item, with a normal interval."""
    known = np.asarray([value for value in values if value is not None], np.float64).reshape(-1, 2)
    if len(known) < length_controlled.FOLDS or np.std(known[:, 1]) == 0:
      return stats.Figure(math.nan, None, None, len(known))
    found = length_controlled.control("length_controlled_minimal", known[:, 0], known[:, 1])
    value, error = found.value / 100, 1.96 * found.standard_error / 100
    return stats.Figure(value, value - error, value + error, len(known))
