"""Figures over the steps of a run, as pictures inside a page."""

from collections.abc import Mapping, Sequence
import base64
import io
from typing import Any

from matplotlib import figure as figure_lib

# Title, figure of metrics.jsonl, unit.
_CHARTS = (
  ("Loss", "loss", "nats a trained token"),
  ("Learning rate", "learning_rate", ""),
  ("Throughput", "trained_tokens_per_s", "trained tokens a second"),
)


def charts(metrics: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
  """A picture of each figure over the steps, none of a single step; and of each evaluator's loss over all its data."""
  steps = [line for line in metrics if "loss" in line]
  found = [_chart(steps, *chart) for chart in _CHARTS if len(steps) > 1]
  names = dict.fromkeys(name for line in metrics for name in line if name.endswith("/loss") and name.count("/") == 1)
  curves = {name: [line for line in metrics if name in line] for name in names}
  unit = "nats a trained token"
  return found + [_chart(lines, name, name, unit) for name, lines in curves.items() if len(lines) > 1]


def _chart(steps: Sequence[Mapping[str, Any]], title: str, key: str, unit: str) -> dict[str, str]:
  """A line over steps as an inline SVG."""
  fig = figure_lib.Figure(figsize=(4.2, 2.6))
  axes = fig.add_subplot()
  points = [(line["step"], line[key]) for line in steps if key in line]
  axes.plot(*zip(*points, strict=True), color="#2a6f97", linewidth=1.6)
  axes.set_xlabel("step")
  axes.set_ylabel(unit)
  axes.set_ylim(bottom=0)
  axes.spines[["top", "right"]].set_visible(False)
  fig.tight_layout()
  out = io.BytesIO()
  fig.savefig(out, format="svg")
  return {
    "title": title,
    "src": "data:image/svg+xml;base64," + base64.b64encode(out.getvalue()).decode(),
    "alt": f"{title} over {len(points)} steps",
  }
