"""What a sweep found: effects of its factors, the best rate of each method, and which runs no other beats."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import math
import os
from typing import Any, NamedTuple

import numpy as np

from itune_jax.core import check
from itune_jax.core import files
from itune_jax.core import jsontext
from itune_jax.core import nearest
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.grading.statistics import pair_metrics
from itune_jax.run import results
from itune_jax.run.comparison import aggregates
from itune_jax.run.comparison import own_folders
from itune_jax.run.sweep import cells as cells_lib
from itune_jax.run.sweep import contrasts
from itune_jax.run.sweep import running
from itune_jax.run.sweep import space as space_lib

# What a run costs: (figure, which way is better).
COSTS = {"trainable_parameters": "lower", "trained_tokens_per_s": "higher", "peak_gib": "lower", "seconds": "lower"}
_MANY = 8  # levels from which a number is no factor but a range: its effect is a trend


class Row(NamedTuple):
  """A point of the sweep: the means over its seeds. best: whether no other point is better in the measure and no worse
  in any cost."""

  point: space_lib.Point
  seeds: int
  figures: Mapping[str, float]
  folders: tuple[str, ...]
  best: bool = False


class Envelope(NamedTuple):
  """A number's best level for each setting of another factor: `rate` by `peft`. edge: whether it lies at an end of what
  was tried, so that a better one may lie outside."""

  factor: str
  by: str
  level: space_lib.Value
  best: space_lib.Value
  value: float
  curve: tuple[tuple[space_lib.Value, float], ...]
  edge: bool


class Trend(NamedTuple):
  """Spearman's rank correlation of a number with a measure over points, where it has too many levels for effects."""

  factor: str
  correlation: float
  low: float | None
  high: float | None
  points: int


@dataclasses.dataclass(frozen=True)
class Summary:
  """All that is told of a sweep. measures: by name; effects of each; chosen: the measure that tables are sorted by."""

  space: space_lib.Space
  measures: Mapping[str, contrasts.Measure]
  effects: Mapping[str, Sequence[contrasts.Effect]]
  rows: Sequence[Row]
  envelopes: Sequence[Envelope]
  trends: Sequence[Trend]
  chosen: str
  failed: Mapping[str, str]
  notes: Sequence[str]


def of(space: space_lib.Space, done: Sequence[running.Done], failed: Mapping[str, str]) -> Summary:
  """The summary of finished runs. Raises InputError where the measure that the sweep names is in none of them."""
  measures = _measures(done)
  chosen = _chosen(space, measures)
  factors = {name: levels for name, levels in space.factors.items() if len(levels) > 1 and not _is_range(levels)}
  effects = {name: contrasts.effects(one, factors) for name, one in measures.items() if name not in COSTS}
  rows = _rows(done, measures[chosen]) if chosen else []
  notes = list(_notes(space, done, measures, chosen, failed))
  envelopes = list(_envelopes(space, rows, measures[chosen])) if chosen else []
  trends = list(_trends(space, rows, chosen)) if chosen else []
  return Summary(space, measures, effects, rows, envelopes, trends, chosen, failed, notes)


def _measures(done: Sequence[running.Done]) -> dict[str, contrasts.Measure]:
  """Figures of items where runs were evaluated item by item and the figure is their mean; else those of runs."""
  found: dict[str, dict[contrasts.RunKey, _OfRun]] = {}
  for one in done:
    for name, own in _of_run(one).items():
      found.setdefault(name, {})[_key(one)] = own
  return {name: _measure(name, runs) for name, runs in found.items()}


class _OfRun(NamedTuple):
  """A figure of a run: its value, which way it is better, and value, weight and cluster of each item if it has any."""

  value: float
  better: str
  items: Mapping[str, tuple[float, float, str]]


def _measure(name: str, runs: Mapping[contrasts.RunKey, _OfRun]) -> contrasts.Measure:
  """The figure of all runs: item by item where all have items that weigh the same in each."""
  better = next((one.better for one in runs.values() if one.better), "")
  items: dict[str, tuple[float, str]] = {}
  alike = True
  for one in runs.values():
    alike = alike and bool(one.items)
    for id, (_, weight, cluster) in one.items.items():
      alike = alike and items.setdefault(id, (weight, cluster))[0] == weight
  if not alike:
    return contrasts.Measure(name, better, {key: {"": one.value} for key, one in runs.items()}, {"": ""})
  values = {key: {id: value for id, (value, _, _) in one.items.items()} for key, one in runs.items()}
  clusters = {id: cluster for id, (_, cluster) in items.items()}
  return contrasts.Measure(name, better, values, clusters, {id: weight for id, (weight, _) in items.items()})


def _of_run(done: running.Done) -> dict[str, _OfRun]:
  found: dict[str, _OfRun] = {}
  for label in results.labels(done.folder)[-1:]:
    for evaluation in own_folders.read(os.path.join(done.folder, "evals", label)).values():
      for metric in evaluation.metrics:
        way, name = aggregates.find(evaluation, metric, {}), f"{evaluation.benchmark}/{metric}"
        items = _items(evaluation, metric, way)
        if items:
          value = float(np.average([one[0] for one in items.values()], weights=[one[1] for one in items.values()]))
          found[name] = _OfRun(value, evaluation.better.get(metric) or _better(name), items)
  for name, value in done.figures.items():
    if name not in found and math.isfinite(value) and (name in COSTS or "/" in name or name == "loss"):
      found[name] = _OfRun(value, _better(name), {})
  return found


def _better(name: str) -> str:
  return COSTS.get(name, "lower" if name.endswith("loss") else "")


def _items(evaluation, metric: str, way: metrics_lib.Resampled | None) -> dict[str, tuple[float, float, str]]:
  """Value, weight and cluster of the items of a figure that is a mean of theirs; none of any other figure."""
  found: dict[str, tuple[float, float, str]] = {}
  for id, item in evaluation.items.items():
    value = item.values.get(metric)
    if value is None:
      continue
    if isinstance(way, metrics_lib.Mean):
      found[id] = float(value), 1.0, item.cluster or id
    elif isinstance(way, metrics_lib.MicroMean) and value[1] > 0:
      found[id] = value[0] / value[1], float(value[1]), item.cluster or id
  return found


def _chosen(space: space_lib.Space, measures: Mapping[str, contrasts.Measure]) -> str:
  """The measure of the file, or the first of items, or a held-out loss, or the loss of training."""
  if not measures:
    return ""
  if space.metric:
    check.require(
      space.metric in measures,
      f"{space.path}: no run has the metric {space.metric}{nearest.meant(space.metric, measures)}; they have "
      f"{', '.join(sorted(measures))}",
    )
    return space.metric
  by_item = [name for name, one in measures.items() if one.by_item]
  losses = sorted(name for name in measures if name.endswith("/loss"))
  return [*by_item, *losses, *measures][0]


def _rows(done: Sequence[running.Done], measure: contrasts.Measure) -> list[Row]:
  by_point: dict[contrasts.Setting, list[running.Done]] = {}
  for one in done:
    by_point.setdefault(tuple(sorted(one.cell.point.items())), []).append(one)
  rows = []
  for runs in by_point.values():
    own = {measure.name: _mean(measure, runs)}
    costs_of = {name: [run.figures[name] for run in runs if name in run.figures] for name in COSTS}
    costs = {name: np.mean(values) for name, values in costs_of.items() if values}
    figures = {name: float(value) for name, value in {**own, **costs}.items()}
    rows.append(Row(runs[0].cell.point, len(runs), figures, tuple(run.folder for run in runs)))
  known = lambda row: math.isfinite(row.figures[measure.name])
  rows = [row._replace(best=known(row) and not any(_beats(other, row, measure) for other in rows)) for row in rows]
  sign = 1 if measure.better == "lower" else -1
  return sorted(rows, key=lambda row: (math.isnan(row.figures[measure.name]), sign * row.figures[measure.name]))


def _mean(measure: contrasts.Measure, runs: Sequence[running.Done]) -> float:
  """Over the runs of a point that have the measure; no number where one of them has one that is no number: a run that
  diverged makes its point no better."""
  known = [measure.mean(*_key(run)) for run in runs if _key(run) in measure.values]
  diverged = any(not math.isfinite(run.figures.get(measure.name, 0.0)) for run in runs)
  return math.nan if diverged or not known else float(np.mean(known))


def _key(run: running.Done) -> tuple[contrasts.Setting, int]:
  return tuple(sorted(run.cell.point.items())), run.cell.seed


def _beats(other: Row, row: Row, measure: contrasts.Measure) -> bool:
  """Whether a point is no worse in the measure, in trained parameters, speed and memory, and better in one of them."""
  ways = {measure.name: measure.better or "higher", **COSTS}
  pairs = [
    (a, b) if ways[name] == "higher" else (-a, -b)
    for name in row.figures
    if name in ways and name != "seconds" and math.isfinite(a := other.figures.get(name, math.nan))
    for b in [row.figures[name]]
  ]
  return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def _is_range(levels: Sequence[space_lib.Value]) -> bool:
  return len(levels) > _MANY and all(isinstance(one, (int, float)) for one in levels)


def _envelopes(space: space_lib.Space, rows: Sequence[Row], measure: contrasts.Measure) -> Iterator[Envelope]:
  """For each number with three levels or more, such as a learning rate, its best level by each other factor."""
  numbers = [k for k, levels in space.factors.items() if len(levels) > 2 and _are_numbers(levels)]
  pick = min if measure.better == "lower" else max
  for name in numbers:
    for by in [k for k, levels in space.factors.items() if k != name and len(levels) > 1 and not _is_range(levels)]:
      for level in space.factors[by]:
        curve = _curve(rows, name, by, level, measure.name)
        if len(curve) > 1:
          best, value = pick(curve, key=lambda point: point[1])
          yield Envelope(name, by, level, best, value, curve, best in (curve[0][0], curve[-1][0]))


def _curve(rows: Sequence[Row], name: str, by: str, level: space_lib.Value, figure: str):
  """(level, the mean over all other settings) of one factor, rising."""
  mine: dict[Any, list[float]] = {}
  for row in rows:
    if row.point.get(by) == level and math.isfinite(row.figures[figure]):
      mine.setdefault(row.point[name], []).append(row.figures[figure])
  return tuple((x, float(np.mean(values))) for x, values in sorted(mine.items()))


def _are_numbers(levels: Sequence[space_lib.Value]) -> bool:
  return all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in levels)


def _trends(space: space_lib.Space, rows: Sequence[Row], chosen: str) -> Iterator[Trend]:
  for name, levels in space.factors.items():
    known = [row for row in rows if name in row.point and math.isfinite(row.figures[chosen])]
    if _is_range(levels) and len(known) > 3:
      values = [(float(row.point[name]), row.figures[chosen]) for row in known]  # pyright: ignore[reportArgumentType]
      figure = pair_metrics.Spearman()(values, [str(k) for k in range(len(values))])
      yield Trend(name, figure.value, figure.low, figure.high, figure.n)


def _notes(space, done, measures, chosen, failed) -> Iterator[str]:
  """What a reader must know before the figures."""
  for title, why in failed.items():
    yield f"{title} failed: {why}"
  yield from _without_number(done, measures, chosen)
  if len(space.seeds) == 1:
    yield "one seed: intervals are over items alone, and say nothing of what another seed would give"
  elif len(space.seeds) < 3:
    yield "2 seeds: what seeds vary is known from one difference, and intervals are wide for it"
  if space.halving:
    yield "halving: a point that was stopped counts with the steps that it reached"
  if chosen and not measures[chosen].by_item:
    yield f"{chosen} is one figure a run: its intervals are over seeds alone"
  twice = len(done) - len({one.folder for one in done})
  if twice:
    yield f"{twice} of the runs are equal to another one, and were done once"


def _without_number(done, measures, chosen) -> Iterator[str]:
  """Runs whose figures are no numbers, and those that lack the measure that tables are sorted by."""
  said = lambda runs: f"{runs[0].cell.title}{f' and {len(runs) - 1} more' if len(runs) > 1 else ''}"
  for name in dict.fromkeys(name for one in done for name in one.figures):
    if runs := [one for one in done if not math.isfinite(one.figures.get(name, 0.0))]:
      yield f"{name} is no number in {len(runs)} of {len(done)} runs, which have no part in its figures: {said(runs)}"
  if chosen and (
    runs := [one for one in done if chosen not in one.figures and _key(one) not in measures[chosen].values]
  ):
    yield f"{len(runs)} of {len(done)} runs have no {chosen}: {said(runs)}"


def stored(found: Summary) -> dict[str, Any]:
  """The summary as JSON holds it."""
  told = {
    "question": found.space.question,
    "file": found.space.path,
    "chosen": found.chosen,
    "notes": list(found.notes),
    "failed": dict(found.failed),
    "points": [
      {**row._asdict(), "point": dict(row.point), "runs": [_link(folder) for folder in row.folders]}
      for row in found.rows
    ],
    "effects": [_effect(one) for many in found.effects.values() for one in many],
    "envelopes": [one._asdict() for one in found.envelopes],
    "trends": [one._asdict() for one in found.trends],
  }
  return jsontext.finite(told)


def _effect(one: contrasts.Effect) -> dict[str, Any]:
  low, high = one.interval
  own = dataclasses.asdict(one) | {"p": one.p, "low": low, "high": high, "detectable": one.detectable}
  return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in own.items()}


def _link(folder: str) -> dict[str, Any]:
  """Where a figure comes from: the run, its commit, and the digest of its values."""
  info = files.read_json(os.path.join(folder, "run.json"))
  return {"folder": folder, "commit": info.get("commit", ""), "data": os.path.join(folder, "data.json")}


def title(point: space_lib.Point) -> str:
  """A point as tables call it."""
  return ", ".join(f"{cells_lib.short(name)} {cells_lib.shown(value)}" for name, value in point.items())
