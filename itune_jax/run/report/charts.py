"""Figures over the steps of a run, as pictures inside a page."""

from collections.abc import Mapping, Sequence
import base64
import io
import itertools
from typing import Any

from matplotlib import figure as figure_lib

# Title, figure of metrics.jsonl, unit.
_CHARTS = (
  ("Loss", "loss", "nats a trained token"),
  ("Learning rate", "learning_rate", ""),
  ("Throughput", "trained_tokens_per_s", "trained tokens a second"),
)

_COLOURS = ("#2a6f97", "#c8553d", "#588157", "#7b2d8b", "#b08900", "#4a4e69")


def charts(metrics: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
  """A picture of each figure over the steps, none of a single step; and of each evaluator's loss over all its data."""
  steps = [line for line in metrics if "loss" in line]
  found = [_chart(steps, *chart) for chart in _CHARTS if len(steps) > 1]
  names = dict.fromkeys(name for line in metrics for name in line if name.endswith("/loss") and name.count("/") == 1)
  curves = {name: [line for line in metrics if name in line] for name in names}
  unit = "nats a trained token"
  found += [_chart(lines, name, name, unit) for name, lines in curves.items() if len(lines) > 1]
  return found + _mixture(metrics)


def _mixture(metrics: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
  """The rates of the sources of an adaptive mixture, and what they follow, each source a line."""
  found = []
  for figure, title, unit in (
    ("rate", "Rates of the sources", "share of what is drawn"),
    ("loss", "Held-out loss of the sources", "the objective's loss"),
    ("alignment", "Alignment of the sources", "cosine with the task's gradient"),
  ):
    begins, ends = "mixing/", f"/{figure}"
    names = dict.fromkeys(n for line in metrics for n in line if n.startswith(begins) and n.endswith(ends))
    lines = {name.removeprefix(begins).removesuffix(ends): name for name in names}
    steps = [line for line in metrics if any(name in line for name in names)]
    if len(steps) > 1:
      found.append(_chart(steps, title, "", unit, lines))
  return found


def _chart(
  steps: Sequence[Mapping[str, Any]], title: str, key: str, unit: str, lines: Mapping[str, str] | None = None
) -> dict[str, str]:
  """A line over steps as an inline SVG; or several, their figures by what they are called."""
  fig = figure_lib.Figure(figsize=(4.2, 2.6))
  axes = fig.add_subplot()
  colours, count, lowest = itertools.cycle(_COLOURS), 0, 0.0
  for name, figure in (lines or {"": key}).items():
    points = [(line["step"], line[figure]) for line in steps if figure in line]
    axes.plot(*zip(*points, strict=True), color=next(colours), linewidth=1.6, label=name)
    count, lowest = max(count, len(points)), min([lowest, *(value for _, value in points)])
  axes.set_xlabel("step")
  axes.set_ylabel(unit)
  axes.set_ylim(bottom=lowest)
  axes.spines[["top", "right"]].set_visible(False)
  if lines:
    axes.legend(frameon=False, fontsize="small")
  fig.tight_layout()
  out = io.BytesIO()
  fig.savefig(out, format="svg")
  return {
    "title": title,
    "src": "data:image/svg+xml;base64," + base64.b64encode(out.getvalue()).decode(),
    "alt": f"{title} over {count} steps",
  }
