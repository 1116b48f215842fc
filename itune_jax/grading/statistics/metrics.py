"""How the values of a benchmark's items become one figure with an interval: metrics as frozen values."""

import abc
from collections.abc import Sequence
import dataclasses
from typing import Any, NamedTuple

from itune_jax.core import contracts
from itune_jax.grading.statistics import bootstrap

# What a grade says of one item by one metric: a number, a pair such as (label, prediction), or None where the metric
# does not apply. It must be what JSON can hold, since rows are written; a pair comes back from there as a list.
Value = Any


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
  def __call__(self, values: Sequence[Value], clusters: Sequence[str]) -> Figure:
    """The figure of one value and cluster an item."""


@dataclasses.dataclass(frozen=True)
class Mean(Metric):
  """The mean, with a bootstrap interval over clusters; not a number where no item has a value."""

  better: contracts.Better = "higher"

  def __call__(self, values: Sequence[Value], clusters: Sequence[str]) -> Figure:
    """The figure of one value and cluster an item."""
    known = [(float(value), cluster) for value, cluster in zip(values, clusters, strict=True) if value is not None]
    if not known:
      return Figure(float("nan"), None, None, 0)
    return Figure(*bootstrap.interval(*zip(*known, strict=True)), len(known))
