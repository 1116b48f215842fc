"""Intervals of differences, one above the other, as one inline SVG that is as wide as its place."""

from collections.abc import Sequence
import html
import math

from itune_jax.run.comparison import layouts
from itune_jax.run.comparison import outcomes

_STEP = 44  # pixels a row: a line of text, and the interval below it
_EDGE = 4  # percent that stay free at both sides


def forest(rows: Sequence[outcomes.Comparison]) -> str:
  """Differences with their intervals around 0, of rows in one unit; "" where none has a value.

  Places are in percent of the width and text is in pixels, so it stays readable on a narrow screen.
  """
  known = [row for row in rows if math.isfinite(row.difference.value)]
  if not known:
    return ""
  most = max(abs(end) for row in known for end in _ends(row)) or 1.0
  place = lambda value: 50 + value / most * (50 - _EDGE)
  height = _STEP * len(known) + 28
  parts = [_axis(place, most, known[0].percent, height - 28)]
  parts += [_row(row, place, k * _STEP) for k, row in enumerate(known)]
  label = f"Differences of {len(known)} comparisons with 95 % intervals"
  return f'<svg class="forest" role="img" aria-label="{label}" width="100%" height="{height}">{"".join(parts)}</svg>'


def _ends(row: outcomes.Comparison) -> tuple[float, float]:
  value, low, high, _ = row.difference
  return (value if low is None else low, value if high is None else high)


def _axis(place, most: float, percent: bool, bottom: int) -> str:
  ticks = []
  for value in _ticks(most):
    at = f"{place(value):.2f}%"
    kind = "zero" if not value else "grid"
    ticks.append(f'<line class="{kind}" x1="{at}" x2="{at}" y1="0" y2="{bottom}"/>')
    text = layouts.number(value, percent, signed=bool(value))
    ticks.append(f'<text class="tick" x="{at}" y="{bottom + 18}">{text}</text>')
  return "".join(ticks)


def _ticks(most: float) -> list[float]:
  """Five round numbers at most, 0 in the middle."""
  scale = 10 ** math.floor(math.log10(most))
  step = next((scale * size for size in (5, 2, 1) if scale * size <= most), scale)
  return [-step, 0.0, step]


def _row(row: outcomes.Comparison, place, top: int) -> str:
  kind = "none" if row.improved is None or not row.stars else "good" if row.improved else "bad"
  low, high = _ends(row)
  y = top + 30
  tag = f" · {row.tag}" if row.tag else ""
  name = f"{row.benchmark}{tag} · {row.metric} · {row.second} − {row.first}"
  value = f"{layouts.number(row.difference.value, row.percent, True)}{row.stars}"
  title = f"{name}: {value} {layouts.bounds(row.difference, row.percent, True)}"
  line = (
    f'<line x1="{place(low):.2f}%" x2="{place(high):.2f}%" y1="{y}" y2="{y}"/>'
    if row.difference.low is not None
    else ""
  )
  return (
    f'<g class="{kind}"><title>{html.escape(title)}</title><text x="0" y="{top + 16}">{html.escape(name)}</text>'
    f'{line}<circle cx="{place(row.difference.value):.2f}%" cy="{y}" r="5"/></g>'
  )
