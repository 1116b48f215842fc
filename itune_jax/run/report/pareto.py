"""What a figure costs: runs as points of tokens an item and figure, and the front of those that no other run beats."""

from collections.abc import Iterator, Sequence
import html
import math
from typing import NamedTuple

from itune_jax.run.comparison import outcomes
from itune_jax.run.report import run_tables

_HEIGHT, _TOP, _BOTTOM = 220, 24, 30  # pixels: of the picture, and of its free edges
_LEFT, _RIGHT = 8, 86  # percent of the width


class Point(NamedTuple):
  """A run: what an item cost it, and its figure."""

  run: str
  cost: float
  value: float


def front(points: Sequence[Point], higher: bool = True) -> list[Point]:
  """The points that no other is as cheap and as good as, and better in one of the two; the cheapest first."""
  good = lambda one: one.value if higher else -one.value
  beats = lambda a, b: a.cost <= b.cost and good(a) >= good(b) and (a.cost, good(a)) != (b.cost, good(b))
  return sorted((one for one in points if not any(beats(other, one) for other in points)), key=lambda one: one.cost)


def plots(found: outcomes.Found) -> Iterator[str]:
  """An inline SVG for the first metric of each benchmark of which the costs of two runs are known."""
  costs = {(run, name): one.cost for run, name, one in run_tables.evaluations(found) if one.cost is not None}
  for benchmark in dict.fromkeys(row.benchmark for row in found.rows):
    rows = [row for row in found.rows if row.benchmark == benchmark and (row.second, benchmark) in costs]
    rows = [row for row in rows if row.metric == rows[0].metric]
    values = {row.first: row.one.value for row in rows} | {row.second: row.two.value for row in rows}
    points = [
      Point(run, costs[run, benchmark].tokens, value)
      for run, value in values.items()
      if (run, benchmark) in costs and math.isfinite(value)
    ]
    if len(points) > 1:
      yield _plot(f"{benchmark} · {rows[0].metric}", points, rows[0].better == "higher")


def _plot(title: str, points: Sequence[Point], higher: bool) -> str:
  costs, values = [one.cost for one in points], [one.value for one in points]
  x = _scale(min(costs), max(costs), _LEFT, _RIGHT)
  y = _scale(min(values), max(values), _HEIGHT - _BOTTOM - 12, _TOP + 12)
  best = front(points, higher)
  parts = [f'<text x="0" y="14">{html.escape(title)}{"" if higher else " ↓"}</text>']
  bottom = _HEIGHT - _BOTTOM
  parts.append(f'<line class="zero" x1="{_LEFT - 4}%" x2="98%" y1="{bottom}" y2="{bottom}"/>')
  for a, b in zip(best, best[1:], strict=False):
    parts.append(f'<line x1="{x(a.cost)}%" x2="{x(b.cost)}%" y1="{y(a.value)}" y2="{y(b.value)}"/>')
  for one in points:
    kind = "good" if one in best else "none"
    name = f"{one.run}: {one.value:.4g} for {one.cost:,.1f} tokens an item"
    text = f'<text x="{x(one.cost) + 1:.2f}%" y="{y(one.value) - 6}">{html.escape(one.run)} {one.value:.4g}</text>'
    dot = f'<circle cx="{x(one.cost)}%" cy="{y(one.value)}" r="5"/>'
    parts.append(f'<g class="{kind}"><title>{html.escape(name)}</title>{text}{dot}</g>')
  for value in dict.fromkeys((min(costs), max(costs))):
    parts.append(f'<text class="tick" x="{x(value)}%" y="{bottom + 18}">{value:,.1f} tokens</text>')
  label = f"{html.escape(title, quote=True)}: figures of {len(points)} runs over the tokens of an item"
  return (
    f'<svg class="forest pareto" role="img" aria-label="{label}" width="100%" height="{_HEIGHT}">{"".join(parts)}</svg>'
  )


def _scale(low: float, high: float, start: float, end: float):
  """A place of each value between two ends; the middle where all are equal."""
  if high == low:
    return lambda value: (start + end) / 2
  return lambda value: round(start + (value - low) / (high - low) * (end - start), 2)
