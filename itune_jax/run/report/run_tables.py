"""Tables of a comparison's page about each run by itself: what its answers cost, figures without contaminated items,
and what other ways of asking do to figures."""

from collections.abc import Iterator
from typing import Any

from itune_jax.core import contracts
from itune_jax.run.comparison import evaluated
from itune_jax.run.comparison import layouts
from itune_jax.run.comparison import outcomes


def evaluations(found: outcomes.Found) -> Iterator[tuple[str, str, evaluated.Evaluation]]:
  """(run, benchmark, evaluation) of all that was matched, each once, by benchmark."""
  for benchmark in dict.fromkeys(name for name, _ in found.matches):
    of = {run: match for (name, run), match in found.matches.items() if name == benchmark}
    yield found.names[0], benchmark, next(iter(of.values())).first
    for run, match in of.items():
      yield run, benchmark, match.second


def contaminated(found: outcomes.Found) -> list[dict[str, Any]]:
  """A row for each metric of an evaluation that was held against training data: its share, and the metric over all
  items, without the contaminated ones and over them alone."""
  rows = []
  for run, benchmark, one in evaluations(found):
    share = one.figures.get((evaluated.SHARE, ""))
    if share is None:
      continue
    clean, dirty = (f"{evaluated.CONTAMINATED}={value}" for value in ("no", "yes"))
    for metric in dict.fromkeys(metric for metric, tag in one.figures if not tag and metric != evaluated.SHARE):
      cells = [_cell(one.figures.get((metric, tag))) for tag in ("", clean, dirty)]
      told = {"data": one.settings.get("contamination", ""), "looked_for": f"{share.n:,} of {share.of:,}"}
      rows.append(
        {"benchmark": benchmark, "run": run, "metric": metric, "share": _share(share), "cells": cells, **told}
      )
  return rows


def _share(one: contracts.Result) -> str:
  interval = "" if one.low is None or one.high is None else f" [{100 * one.low:.1f}, {100 * one.high:.1f}]"
  return f"{100 * one.value:.1f} %{interval}"


def _cell(one: contracts.Result | None) -> dict[str, str]:
  if one is None:
    return {"value": "–", "bounds": "no such item"}
  interval = "no interval" if one.low is None or one.high is None else f"[{one.low:.4g}, {one.high:.4g}]"
  return {"value": layouts.number(one.value, False), "bounds": f"{interval} of {one.n:,}"}


def costs(found: outcomes.Found) -> list[dict[str, str]]:
  """A row for each evaluation whose cost is known."""
  return [
    {
      "benchmark": benchmark,
      "run": run,
      "items": f"{one.cost.items:,}",
      "prompt": f"{one.cost.prompt / one.cost.items:,.1f}",
      "answer": f"{one.cost.answer / one.cost.items:,.1f}",
      "tokens": f"{one.cost.prompt + one.cost.answer:,}",
      "seconds": "–" if one.cost.seconds is None else f"{one.cost.seconds:,.1f}",
    }
    for run, benchmark, one in evaluations(found)
    if one.cost is not None
  ]


def varied(found: outcomes.Found) -> list[dict[str, str]]:
  """A row for each metric of an evaluation and each kind of variation, where a variation changed the figure."""
  rows = []
  for run, benchmark, one in evaluations(found):
    for line in one.varied:
      if not line.spread:
        continue
      numbers = {name: f"{getattr(line, name):.4g}" for name in ("base", "mean", "worst", "best", "spread")}
      p = "–" if line.p is None else layouts.p_value(line.p)
      kind = f"{line.kind} ({line.variants})"
      told = {"run": run, "benchmark": benchmark, "metric": line.metric, "kind": kind, "at_worst": line.at_worst}
      rows.append({**told, **numbers, "p": p})
  return rows


def axes(found: outcomes.Found) -> list[tuple[str, list[outcomes.Comparison]]]:
  """The comparisons by the axis of their benchmarks, in the order in which they come; one group where there is one."""
  known = {benchmark: one.axis for _, benchmark, one in evaluations(found)}
  groups: dict[str, list[outcomes.Comparison]] = {}
  for row in found.rows:
    groups.setdefault(known.get(row.benchmark) or "others", []).append(row)
  return list(groups.items())
