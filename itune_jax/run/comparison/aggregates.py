"""How the values of a metric become its figure: known by name, found by what the run recorded, or said by a flag."""

from collections.abc import Mapping, Sequence
import math
import re
from typing import Any

import numpy as np

from itune_jax.core import errors
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.grading.statistics import pair_metrics
from itune_jax.run.comparison import evaluated

_KNOWN = {"inst_level_strict_acc": "micro_mean", "inst_level_loose_acc": "micro_mean"}
_CLOSE = 1e-6


def parsed(flags: Sequence[str]) -> dict[str, metrics_lib.Resampled]:
  """Of `METRIC=NAME`. Raises InputError for what is none, or names no way of making figures."""
  found = {}
  for flag in flags:
    metric, equals, name = flag.rpartition("=")
    if not equals or not metric or name not in pair_metrics.AGGREGATES:
      known = ", ".join(pair_metrics.AGGREGATES)
      raise errors.InputError(f"--aggregate={flag}: write it as METRIC=NAME; names are {known}")
    found[metric] = pair_metrics.AGGREGATES[name]
  return found


def find(
  evaluation: evaluated.Evaluation, metric: str, given: Mapping[str, metrics_lib.Resampled]
) -> metrics_lib.Resampled | None:
  """How this metric of an evaluation is made of its items' values, so that the figure which the run recorded comes out
  again; None where no way is known, or none gives that figure."""
  values = known(evaluation, metric)
  if not values:
    return None
  recorded = evaluation.figures.get((metric, ""))
  target = None if recorded is None else recorded.value
  if metric in given:
    chosen = given[metric]
    if target is not None and not _gives(chosen, values, target):
      raise errors.InputError(
        f"--aggregate={metric}={name_of(chosen)}: makes {_value(chosen, values):.6g} of the rows of "
        f"{evaluation.where}; the figure recorded with them is {target:.6g}"
      )
    return chosen
  options = _options(evaluation, metric, values)
  if target is None:
    return options[0] if len(options) == 1 and math.isfinite(_value(options[0], values)) else None
  return next((one for one in options if _gives(one, values, target)), None)


def name_of(metric: metrics_lib.Resampled) -> str:
  """What flags and tables call a way of making figures."""
  if isinstance(metric, metrics_lib.PassAtK):
    return f"pass@{metric.k}"
  known = (name for name, one in pair_metrics.AGGREGATES.items() if type(one) is type(metric))
  return next(known, type(metric).__name__)


def figure(evaluation: evaluated.Evaluation, metric: str, way: metrics_lib.Resampled) -> metrics_lib.Figure:
  """The figure over all items of an evaluation."""
  items = evaluation.items.values()
  return way([item.values.get(metric) for item in items], [item.cluster or item.id for item in items])


def known(evaluation: evaluated.Evaluation, metric: str) -> list[Any]:
  """The values of a metric that are there."""
  values = (item.values.get(metric) for item in evaluation.items.values())
  return [value for value in values if value is not None]


def score(metric: metrics_lib.Resampled, value: Any) -> float | None:
  """The figure of one item alone; of classes whether it is right. None where one item has none (a correlation)."""
  if value is None:
    return None
  if isinstance(metric, pair_metrics.Classes):
    return float(value[0] == value[1])
  found = metrics_lib.number(value) if isinstance(metric, metrics_lib.Mean) else _value(metric, [value])
  return found if math.isfinite(found) else None


def _options(evaluation: evaluated.Evaluation, metric: str, values: Sequence[Any]) -> list[metrics_lib.Resampled]:
  """The benchmark's own; the one that the metric's name or its values speak for; all that can be made of pairs where
  nothing does."""
  table = pair_metrics.AGGREGATES
  if metric in evaluation.ways:
    own = evaluation.ways[metric]
    return [own] if isinstance(own, metrics_lib.Resampled) else []
  if all(not isinstance(value, (list, tuple)) for value in values):
    return [table["mean"]]
  name = metric.split(",")[0].lower().replace("-", "_")
  if passes := re.fullmatch(r"pass@([1-9]\d*)", name):
    return [metrics_lib.PassAtK(k=int(passes[1]))]
  if name in table or name in _KNOWN:
    return [table[_KNOWN.get(name, name)]]
  return [one for one in table.values() if one != table["mean"]]


def _gives(metric: metrics_lib.Resampled, values: Sequence[Any], target: float) -> bool:
  found = _value(metric, values)
  return math.isclose(found, target, rel_tol=_CLOSE, abs_tol=_CLOSE) or (found != found and target != target)


def _value(metric: metrics_lib.Resampled, values: Sequence[Any]) -> float:
  """The figure; NaN where it cannot be made of these values."""
  try:
    return metric.statistic(values, np.arange(len(values))).value
  except errors.InputError:
    return math.nan
