"""Differences of figures that share no items: as recorded, and published ones."""

from collections.abc import Iterator, Sequence
import math
from typing import Any

from scipy import special

from itune_jax.core import errors
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.grading.statistics import proportions
from itune_jax.run.comparison import aggregates
from itune_jax.run.comparison import evaluated
from itune_jax.run.comparison import outcomes

_Z = float(special.ndtri(0.975))


def recorded(one: evaluated.Evaluation, metric: str) -> metrics_lib.Figure:
  """The figure that a run wrote down; not a number where it did not."""
  found = one.figures.get((metric, ""))
  if found is None:
    return metrics_lib.Figure(math.nan, None, None, 0)
  return metrics_lib.Figure(found.value, found.low, found.high, found.n)


def row(one: metrics_lib.Figure, two: metrics_lib.Figure, *, known: bool = True, **own: Any) -> outcomes.Comparison:
  """The second minus the first by the intervals of both, as if their items were others: wider than a paired difference
  would be. known: whether the first's own error counts; False for one that has none to tell."""
  parts = [_error(two), *([_error(one)] if known else [])]
  error = math.sqrt(sum(part * part for part in parts))
  value = two.value - one.value
  is_tested = math.isfinite(error) and error > 0 and math.isfinite(value)
  bounds = (value - _Z * error, value + _Z * error) if is_tested else (None, None)
  return outcomes.Comparison(
    one=one,
    two=two,
    difference=metrics_lib.Figure(value, *bounds, two.n),
    error=error,
    p=2 * float(special.ndtr(-abs(value) / error)) if is_tested else None,
    test="unpaired z" if is_tested else "none",
    percent=all(0 <= figure.value <= 1 for figure in (one, two) if math.isfinite(figure.value)),
    **own,
  )


def against(
  run: evaluated.Run, published: Sequence[evaluated.Row], asked: outcomes.Asked, notes: list[str]
) -> Iterator[outcomes.Comparison]:
  """A run minus the published rows of its benchmarks and metrics.

  Raises InputError for a value in percent where the run's is a share.
  """
  for given in published:
    one = run.evaluations.get(given.benchmark)
    if not asked.names(given.benchmark, given.metric):
      continue
    if one is None or given.metric not in one.metrics:
      notes.append(f"{given.name}: {given.benchmark}, {given.metric} is no figure of {run.name}")
      continue
    yield _against(run, one, given, asked, notes)


def _against(
  run: evaluated.Run, one: evaluated.Evaluation, given: evaluated.Row, asked: outcomes.Asked, notes: list[str]
) -> outcomes.Comparison:
  way = aggregates.find(one, given.metric, asked.given)
  mine = recorded(one, given.metric) if way is None else aggregates.figure(one, given.metric, way)
  if 0 <= mine.value <= 1 < abs(given.value):
    raise errors.InputError(
      f"{given.name}: {given.benchmark}, {given.metric} = {given.value:g}, and {run.name} has {mine.value:.4g}: write "
      f"a share as {given.value / 100:g} or {given.value:g}%"
    )
  said = [f"{given.name} is a published figure: other items, prompts and settings may be behind it"]
  has_error = bool(given.n) and 0 <= given.value <= 1
  bounds = proportions.wilson(given.value * given.n, given.n) if has_error else (None, None)
  if not has_error:
    said.append(f"{given.name} tells no number of items: its own error is left out of the interval")
  notes += said
  return row(
    metrics_lib.Figure(given.value, *bounds, given.n),
    mine,
    known=has_error,
    of=one.of,
    how="as recorded" if way is None else aggregates.name_of(way),
    notes=(*one.notes, *said),
    benchmark=given.benchmark,
    metric=given.metric,
    first=given.name,
    second=run.name,
    better=asked.better(given.metric, one),
  )


def _error(figure: metrics_lib.Figure) -> float:
  return math.nan if figure.low is None or figure.high is None else (figure.high - figure.low) / (2 * _Z)
