"""Agreement of judges: Krippendorff's α for any number of them and missing verdicts, Cohen's κ for two.

Values are [judges, items]; None or NaN is a verdict that is missing.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from itune_jax.core import errors

Level = Literal["nominal", "ordinal", "interval", "ratio"]
Weights = Literal["", "linear", "quadratic"]


def krippendorff(verdicts: Sequence[Sequence[Any]], level: Level = "nominal") -> float:
  """α = 1 - observed / expected disagreement over the coincidences of verdicts of one item (Krippendorff 2011).

  Items with one verdict at most say nothing, and count for nothing. Not a number where all verdicts are one value.

  Raises InputError where no item has two verdicts, and for verdicts that are no numbers unless they are nominal.
  """
  rows = [[_known(one) for one in row] for row in verdicts]
  if len({len(row) for row in rows}) != 1:
    raise errors.InputError("each judge must have a place for each item")
  units = [[one for one in unit if one is not None] for unit in zip(*rows, strict=True)]
  units = [unit for unit in units if len(unit) > 1]
  if not units:
    raise errors.InputError("no item has verdicts of two judges: there is no agreement to measure")
  values = _values(units, level)
  places = {value: i for i, value in enumerate(values)}
  coincidences = np.zeros((len(values), len(values)))
  for unit in units:
    counts = np.bincount([places[one] for one in unit], minlength=len(values)).astype(float)
    coincidences += (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)
  totals = coincidences.sum(1)
  distances = _distances(values, totals, level)
  expected = (np.outer(totals, totals) - np.diag(totals)) / (totals.sum() - 1)
  below = (expected * distances).sum()
  return float(1 - (coincidences * distances).sum() / below) if below > 0 else float("nan")


def cohen(first: Sequence[Any], second: Sequence[Any], weights: Weights = "") -> float:
  """κ of two judges, items with both verdicts (Cohen 1960); weighted by the distance of classes in their order
  (Cohen 1968). Not a number where chance alone agrees always. Raises InputError where they share no item."""
  pairs = [
    (a, b) for a, b in zip(map(_known, first), map(_known, second), strict=True) if a is not None and b is not None
  ]
  if not pairs:
    raise errors.InputError("the two judges share no item")
  classes = sorted({one for pair in pairs for one in pair}, key=lambda one: (isinstance(one, str), one))
  places = {name: i for i, name in enumerate(classes)}
  table = np.zeros((len(classes), len(classes)))
  for a, b in pairs:
    table[places[a], places[b]] += 1
  apart = np.abs(np.subtract.outer(np.arange(len(classes)), np.arange(len(classes)))).astype(float)
  costs = {"": (apart > 0).astype(float), "linear": apart, "quadratic": apart**2}[weights]
  chance = np.outer(table.sum(1), table.sum(0)) / len(pairs)
  below = (costs * chance).sum()
  return float(1 - (costs * table).sum() / below) if below > 0 else float("nan")


def _known(value: Any) -> Any:
  """A verdict; None for one that is missing. A numpy number is Python's."""
  found = value.item() if isinstance(value, np.generic) else value
  return None if found is None or (isinstance(found, float) and np.isnan(found)) else found


def _values(units: Sequence[Sequence[Any]], level: Level) -> list[Any]:
  values = list(dict.fromkeys(one for unit in units for one in unit))
  if level == "nominal":
    return values
  if not all(isinstance(one, (int, float)) for one in values):
    raise errors.InputError(f"verdicts must be numbers for the level {level}")
  return sorted(values)


def _distances(values: Sequence[Any], totals: np.ndarray, level: Level) -> np.ndarray:
  if level == "nominal":
    return 1.0 - np.eye(len(values))
  if level == "ordinal":
    middle = np.cumsum(totals) - totals / 2
    return np.subtract.outer(middle, middle) ** 2
  x = np.asarray(values, np.float64)
  apart, whole = np.subtract.outer(x, x), np.add.outer(x, x)
  if level == "interval":
    return apart**2
  return np.divide(apart, whole, out=np.zeros_like(apart), where=whole != 0) ** 2
