"""The page of a comparison: one file without network, whose only script is its own."""

from collections.abc import Mapping, Sequence
import itertools
import os
from typing import Any

import jinja2
import markupsafe

from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.run.comparison import aggregates
from itune_jax.run.comparison import evaluated
from itune_jax.run.comparison import layouts
from itune_jax.run.comparison import matching
from itune_jax.run.comparison import outcomes
from itune_jax.run.report import forest
from itune_jax.run.report import page_data
from itune_jax.run.report import pareto
from itune_jax.run.report import run_tables


def page(found: outcomes.Found, most: int) -> str:
  """The page of a comparison. most: items of a benchmark that it holds, those that changed first."""
  loader = jinja2.FileSystemLoader(os.path.dirname(__file__))
  environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, loader=loader)
  script = environment.get_template("compare.js.j2").render()
  plots = [markupsafe.Markup(forest.forest(rows)) for rows in _by_unit(found.rows)]  # escapes its names itself
  text = environment.get_template("compare.html.j2").render(
    found=found,
    layouts=layouts,
    plots=[plot for plot in plots if plot],
    by_tag=_by_tag(found),
    axes=run_tables.axes(found),
    varied=run_tables.varied(found),
    contaminated=run_tables.contaminated(found),
    costs=run_tables.costs(found),
    pareto=[markupsafe.Markup(plot) for plot in pareto.plots(found)],  # they escape their names themselves
    data=page_data.embedded(data(found, most)),
    script=markupsafe.Markup(script),
    digest=page_data.digest(script),
  )
  return text.encode("utf-8", "backslashreplace").decode()  # half a surrogate pair, which JSON may hold, is no UTF-8


def data(found: outcomes.Found, most: int) -> dict[str, Any]:
  """What the viewer of items reads: benchmarks, their items, and what each run answered."""
  benchmarks = dict.fromkeys(name for name, _ in found.matches)
  shown = (_benchmark(found, name, most) for name in benchmarks)
  return {"runs": list(found.names), "benchmarks": [one for one in shown if one["items"]]}


def _benchmark(found: outcomes.Found, name: str, most: int) -> dict[str, Any]:
  matches = {other: match for (benchmark, other), match in found.matches.items() if benchmark == name}
  runs = [
    next(iter(matches.values())).first,
    *(matches[run].second if run in matches else None for run in found.names[1:]),
  ]
  ways = {metric: way for (benchmark, metric), way in found.ways.items() if benchmark == name}
  lower = [row.metric for row in found.rows if row.benchmark == name and row.better == "lower"]
  ids = dict.fromkeys(id for match in matches.values() for id in (*match.pairs, *match.only_first, *match.only_second))
  items = [_item(id, [_of(matches, run, k, id) for k, run in enumerate(found.names)], ways) for id in ids]
  changed = sum(_changed(item) for item in items)
  chosen = sorted(range(len(items)), key=lambda k: (not _changed(items[k]), k))[:most] if most < len(items) else None
  return {
    "name": name,
    "metrics": [{"name": metric, "lower": metric in lower} for metric in ways],
    "total": len(items),
    "changed": changed,
    "has": [run is not None for run in runs],
    "items": items if chosen is None else [items[k] for k in sorted(chosen)],
  }


def _of(matches: Mapping[str, matching.Match], run: str, place: int, id: str) -> evaluated.Item | None:
  """The item as one run answered it; the first run is in every match."""
  if place:
    match = matches.get(run)
    if match is None:
      return None
    return match.pairs[id][1] if id in match.pairs else match.second.items.get(id)
  for match in matches.values():
    if id in match.pairs:
      return match.pairs[id][0]
    if id in match.first.items:
      return match.first.items[id]
  return None


def _item(
  id: str, answers: Sequence[evaluated.Item | None], ways: Mapping[str, metrics_lib.Resampled]
) -> dict[str, Any]:
  any_of = next(item for item in answers if item is not None)
  return {
    "id": id,
    "tags": dict(any_of.tags),
    "prompt": any_of.prompt,
    "expected": any_of.expected,
    **({"harmful": True} if any(item is not None and item.harmful for item in answers) else {}),
    "runs": [None if item is None else _answer(item, any_of, ways) for item in answers],
  }


def _answer(item: evaluated.Item, first: evaluated.Item, ways: Mapping[str, metrics_lib.Resampled]) -> dict[str, Any]:
  scores = {metric: aggregates.score(way, item.values.get(metric)) for metric, way in ways.items()}
  own = {"answer": item.answer, "verdict": item.verdict, "scores": scores, "more": dict(item.more)}
  return own | ({"prompt": item.prompt} if item.prompt != first.prompt else {})


def _changed(item: Mapping[str, Any]) -> bool:
  """Whether runs disagree on it, or one of them lacks it."""
  answers = item["runs"]
  return any(a is None or b is None or a["scores"] != b["scores"] for a, b in itertools.pairwise(answers))


def _by_unit(rows: Sequence[outcomes.Comparison]) -> list[list[outcomes.Comparison]]:
  """Shares in one plot; of other figures each metric in its own."""
  units: dict[Any, list[outcomes.Comparison]] = {}
  for row in rows:
    units.setdefault("points" if row.percent else (row.benchmark, row.metric), []).append(row)
  return list(units.values())


def _by_tag(found: outcomes.Found) -> list[dict[str, Any]]:
  """The comparisons by tag, one table for each comparison of the whole."""
  tables: dict[tuple[str, ...], list[outcomes.Comparison]] = {}
  for row in found.by_tag:
    tables.setdefault((row.benchmark, row.metric, row.first, row.second), []).append(row)
  return [
    {"title": f"{benchmark} · {metric} · {second} − {first}", "rows": rows}
    for (benchmark, metric, first, second), rows in tables.items()
  ]
