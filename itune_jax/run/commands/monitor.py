"""`itune monitor`: one page of control charts over a log, and the rows worth labelling."""

import math
import os
from typing import Any

import jinja2

from itune_jax.core import check
from itune_jax.core import files
from itune_jax.core import jsontext
from itune_jax.core import log
from itune_jax.grading.statistics import control_charts
from itune_jax.run import command
from itune_jax.run.monitor import watching

_W, _H, _PAD = 640, 150, 8


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs the command. Raises InputError for a log that cannot be read or is too short, and for a page that is there."""
  page = os.path.join(args.out, "monitor.html")
  check.require(args.overwrite or not files.exists(page), f"{page}: is there already; give --overwrite")
  entries, dropped = watching.read(args.logs, args.time, args.score)
  charts, starts, odd = watching.watch(entries, args.window, args.baseline, args.label)
  signals = [
    f"{chart.name}, window {k + 1} (rows {starts[k] + 1:,} to {starts[k] + args.window:,}): {one.signal}"
    for chart in charts
    for k, one in enumerate(chart.points)
    if one.signal and k >= chart.baseline
  ]
  rest = len(entries) % args.window
  notes = [f"{n:,} rows left out: {why}" for why, n in dropped.items()]
  notes += [f"the last {rest:,} rows are no whole window yet, and are not judged"] if rest else []
  notes += watching.uncharted(charts)
  rows = [one.example.to_json() | {"why": why} for one, why in odd]
  files.write_text(os.path.join(args.out, "label.jsonl"), "".join(jsontext.dumps(row) + "\n" for row in rows))
  files.write_json(
    os.path.join(args.out, "monitor.json"),
    {"rows": len(entries), "window": args.window, "signals": signals, "notes": notes, "charts": _stored(charts)},
  )
  files.write_text(page, _page(charts, signals, notes, len(entries), args))
  for line in [*notes, *signals]:
    log.info(line)
  return {"page": page, "rows": len(entries), "windows": len(starts), "signals": len(signals), "to_label": len(rows)}


def _stored(charts) -> list[dict[str, Any]]:
  told = lambda one: {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in one._asdict().items()}
  return [{**chart._asdict(), "points": [told(one) for one in chart.points]} for chart in charts]


def _page(charts, signals, notes, rows: int, args: command.Args) -> str:
  loader = jinja2.FileSystemLoader(os.path.join(os.path.dirname(os.path.dirname(__file__)), "monitor"))
  environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, loader=loader)
  drawn = [(chart, _lines(chart)) for chart in charts]
  size = {"W": _W, "H": _H}
  return environment.get_template("monitor.html.j2").render(
    charts=drawn, signals=signals, notes=notes, rows=rows, args=args, **size
  )


def _lines(chart: control_charts.Chart) -> dict[str, Any]:
  """Places of a chart on its picture: the line, the limits, and the windows that stand out."""
  known = [x for one in chart.points for x in (one.value, one.low, one.high) if not math.isnan(x)]
  low, high = min(known), max(known)
  at_x = lambda k: _PAD + k * (_W - 2 * _PAD) / max(1, len(chart.points) - 1)
  at_y = lambda y: _H - _PAD - (y - low) / ((high - low) or 1) * (_H - 2 * _PAD)
  path = lambda values: " ".join(f"{at_x(k):.1f},{at_y(y):.1f}" for k, y in values if not math.isnan(y))
  points = list(enumerate(chart.points))
  return {
    "value": path([(k, one.value) for k, one in points]),
    "low": path([(k, one.low) for k, one in points]),
    "high": path([(k, one.high) for k, one in points]),
    "centre": at_y(chart.centre),
    "edge": at_x(chart.baseline - 0.5),
    "marks": [(at_x(k), at_y(one.value), k + 1, one.signal) for k, one in points if one.signal],
    "from": f"{low:.4g}",
    "to": f"{high:.4g}",
  }
