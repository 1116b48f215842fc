"""Differences between runs: each further run, and each published row, against the first run."""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any

from itune_jax.core import errors
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.grading.statistics import multiple
from itune_jax.run.comparison import aggregates
from itune_jax.run.comparison import evaluated
from itune_jax.run.comparison import matching
from itune_jax.run.comparison import on_items
from itune_jax.run.comparison import outcomes
from itune_jax.run.comparison import unpaired


@dataclasses.dataclass
class _Work:
  """What is found so far, in order."""

  asked: outcomes.Asked
  rows: list[outcomes.Comparison] = dataclasses.field(default_factory=list)
  by_tag: list[outcomes.Comparison] = dataclasses.field(default_factory=list)
  notes: list[str] = dataclasses.field(default_factory=list)
  matches: dict[tuple[str, str], matching.Match] = dataclasses.field(default_factory=dict)
  ways: dict[tuple[str, str], metrics_lib.Resampled] = dataclasses.field(default_factory=dict)


def compare(runs: Sequence[evaluated.Run], published: Sequence[evaluated.Row], asked: outcomes.Asked) -> outcomes.Found:
  """Every further run against the first, and every run against every published row, corrected by Holm over all of
  these; by tag corrected by Benjamini and Hochberg.

  Raises InputError where nothing can be compared, and for flags that name nothing.
  """
  _check_named(runs, asked)
  work = _Work(asked)
  for other in runs[1:]:
    for name in _benchmarks(runs[0], other, work):
      _compare(name, runs[0], other, work)
  for run in runs:
    work.rows += unpaired.against(run, published, asked, work.notes)
  notes = tuple(dict.fromkeys(work.notes))
  if not work.rows:
    said = "; ".join(notes) or "the files hold no figures"
    raise errors.InputError(f"{', '.join(run.name for run in runs)}: nothing to compare ({said})")
  return outcomes.Found(
    names=tuple(run.name for run in runs),
    rows=_adjusted(work.rows, multiple.holm),
    by_tag=_adjusted(work.by_tag, multiple.benjamini_hochberg),
    matches=work.matches,
    ways=work.ways,
    notes=notes,
  )


def _compare(name: str, first: evaluated.Run, other: evaluated.Run, work: _Work) -> None:
  """One benchmark of two runs."""
  names = (first.name, other.name)
  pair = matching.match(names, first.evaluations[name], other.evaluations[name])
  work.matches[name, other.name] = pair
  work.notes += [f"{name}, {' and '.join(names)}: {note}" for note in pair.notes]
  for metric in _metrics(pair, names, work):
    way = _way(pair, metric, other.name, work)
    better = work.asked.better(metric, pair.first, pair.second)
    own: dict[str, Any] = dict(benchmark=name, first=names[0], second=names[1], better=better)
    own |= dict(of=max(pair.first.of, pair.second.of), notes=pair.notes)
    if way is None or not pair.pairs:
      figures = [unpaired.recorded(one, metric) for one in (pair.first, pair.second)]
      work.rows.append(unpaired.row(*figures, metric=metric, how="as recorded", **own))
      continue
    row = on_items.row(pair, metric, way, list(pair.pairs), tested=_is_tested(metric, work.asked), **own)
    if row is None:
      work.notes.append(f"{name}, {metric}: no item has a value in both {' and '.join(names)}")
      continue
    work.rows.append(row)
    work.ways[name, metric] = way
    work.by_tag += on_items.tags(row, pair, way, work.notes)


def _is_tested(metric: str, asked: outcomes.Asked) -> bool:
  """Shares of answers that came to nothing would make all other tests weaker: they are tested where they are meant."""
  return metric not in evaluated.DERIVED or metric in asked.metrics


def _check_named(runs: Sequence[evaluated.Run], asked: outcomes.Asked) -> None:
  benchmarks = dict.fromkeys(name for run in runs for name in run.evaluations)
  metrics = dict.fromkeys(m for run in runs for one in run.evaluations.values() for m in one.metrics)
  flags = (
    ("benchmark", asked.benchmarks, benchmarks),
    ("metric", asked.metrics, metrics),
    ("aggregate", tuple(asked.given), metrics),
    ("lower", asked.lower, metrics),
  )
  for flag, names, there in flags:
    if missing := [name for name in names if name not in there]:
      raise errors.InputError(f"--{flag}={missing[0]}: no run has it; there are {', '.join(there)}")


def _benchmarks(first: evaluated.Run, other: evaluated.Run, work: _Work) -> list[str]:
  """Those that are asked for and that both have."""
  asked = lambda run: [name for name in run.evaluations if work.asked.names(name, "")]
  for name in asked(first):
    if name not in other.evaluations:
      work.notes.append(f"{name} is in {first.name} and not in {other.name}")
  for name in asked(other):
    if name not in first.evaluations:
      work.notes.append(f"{name} is in {other.name} and not in {first.name}")
  return [name for name in asked(first) if name in other.evaluations]


def _metrics(pair: matching.Match, names: tuple[str, str], work: _Work) -> list[str]:
  """Those that are asked for and that both have."""
  chosen = [[m for m in one.metrics if work.asked.names("", m)] for one in (pair.first, pair.second)]
  for who, mine, theirs in ((names[0], *chosen), (names[1], *chosen[::-1])):
    work.notes += [
      f"{pair.first.benchmark}: the metric {name} is in {who} alone" for name in mine if name not in theirs
    ]
  return [name for name in chosen[0] if name in chosen[1]]


def _way(pair: matching.Match, metric: str, other: str, work: _Work) -> metrics_lib.Resampled | None:
  """How the metric is made of values, if one way gives the figures of both runs."""
  first, second = (aggregates.find(one, metric, work.asked.given) for one in (pair.first, pair.second))
  if first is not None and first == second:
    return first
  if all(aggregates.known(one, metric) for one in (pair.first, pair.second)):
    work.notes.append(
      f"{pair.first.benchmark}, {metric}, {other}: no one way makes the recorded figures of the rows' values "
      f"(--aggregate={metric}=NAME says one): compared as recorded, and not item by item"
    )
  return None


def _adjusted(
  rows: Sequence[outcomes.Comparison], correct: Callable[[Sequence[float]], list[float]]
) -> tuple[outcomes.Comparison, ...]:
  """With p-values that count how many there are."""
  places = [k for k, row in enumerate(rows) if row.p is not None]
  adjusted = dict(zip(places, correct([row.p for row in rows if row.p is not None]), strict=True))
  return tuple(dataclasses.replace(row, adjusted=adjusted.get(k)) for k, row in enumerate(rows))
