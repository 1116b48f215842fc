"""A sweep as a table in Markdown, LaTeX and CSV, for the terminal, and as a page with pictures."""

import base64
from collections.abc import Sequence
import csv
import io
import math
import os
from typing import Literal

import jinja2
from matplotlib import figure as figure_lib
import rich.table
import rich.text

from itune_jax.run.comparison import layouts
from itune_jax.run.sweep import cells as cells_lib
from itune_jax.run.sweep import contrasts
from itune_jax.run.sweep import summary as summary_lib

_COST_NAMES = {
  "trainable_parameters": "trained",
  "trained_tokens_per_s": "tokens/s",
  "peak_gib": "GiB",
  "seconds": "seconds",
}
EFFECT_HEAD = ("effect", "compared with", "measure", "difference", "95 %", "p", "cannot be seen")


def point_head(found: summary_lib.Summary) -> tuple[str, ...]:
  """The columns of the table of points."""
  costs = [_COST_NAMES[name] for name in _costs(found)]
  return (*(cells_lib.short(name) for name in found.space.factors), "seeds", found.chosen, *costs, "unbeaten")


def point_cells(found: summary_lib.Summary, row: summary_lib.Row) -> tuple[str, ...]:
  """The texts of a point."""
  values = [cells_lib.shown(row.point[name]) if name in row.point else "–" for name in found.space.factors]
  costs = [_number(row.figures.get(name, math.nan)) for name in _costs(found)]
  return (*values, str(row.seeds), _number(row.figures[found.chosen]), *costs, "yes" if row.best else "")


def _costs(found: summary_lib.Summary) -> list[str]:
  """The costs that any point has: one that another lacks is a dash there."""
  return [name for name in summary_lib.COSTS if any(name in row.figures for row in found.rows)]


def told(found: summary_lib.Summary) -> list[contrasts.Effect]:
  """The effects of the chosen measure, main effects first, then those that are told apart best."""
  order = lambda one: (one.what != "main", one.adjusted if one.known else 2.0)
  return sorted(found.effects.get(found.chosen, ()), key=order)


def effect_cells(one: contrasts.Effect) -> tuple[str, ...]:
  """The texts of an effect."""
  low, high = one.interval
  bounds = f"[{_number(low, True)}, {_number(high, True)}]" if one.known else "no interval"
  pairs = lambda levels: " × ".join(
    f"{cells_lib.short(name)} {cells_lib.shown(level)}" for name, level in zip(one.factors, levels, strict=True)
  )
  p = layouts.p_value(one.adjusted if one.known else None)
  seen = _number(one.detectable) if one.known else "–"
  stars = "*" * sum(one.known and one.adjusted <= limit for limit in (0.05, 0.01, 0.001))
  return (pairs(one.levels), pairs(one.first), one.measure, f"{_number(one.value, True)}{stars}", bounds, p, seen)


def caption(found: summary_lib.Summary) -> str:
  """How the numbers were made."""
  count = sum(one.known for one in found.effects.get(found.chosen, ()))
  return (
    "An effect is the mean difference of runs that are equal in all else; × is an interaction, a difference of such "
    f"differences. Intervals are of 95 % over items and seeds; p is corrected by Holm over the {count} effects of "
    "this measure (* p ≤ 0.05, ** p ≤ 0.01, *** p ≤ 0.001). A difference that cannot be seen is found in fewer than "
    "80 of 100 such sweeps. Unbeaten: no other point is better in one of measure, trained parameters, tokens/s and "
    "memory, and no worse in the others."
  )


def markdown(found: summary_lib.Summary) -> str:
  """Points, effects, best rates and notes."""
  parts = [f"# {found.space.question or os.path.basename(found.space.path)}", *(f"- {note}" for note in found.notes)]
  parts += ["", _pipes(point_head(found), [point_cells(found, row) for row in found.rows])] if found.rows else []
  parts += ["", _pipes(EFFECT_HEAD, [effect_cells(one) for one in told(found)]), "", caption(found).replace("*", "\\*")]
  if found.envelopes:
    head, rows = envelope_table(found)
    parts += ["", _pipes(head, rows)]
  return "\n".join(parts) + "\n"


def envelope_table(found: summary_lib.Summary) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
  """The best level of each number by other factors."""
  rows = [
    (
      f"{cells_lib.short(one.by)} {cells_lib.shown(one.level)}",
      f"{cells_lib.short(one.factor)} {cells_lib.shown(one.best)}",
      _number(one.value),
      "at the edge: try further" if one.edge else "",
    )
    for one in found.envelopes
  ]
  return ("for", "best", found.chosen, "note"), rows


def latex(found: summary_lib.Summary) -> str:
  """The effects as a `tabular` with the rules of booktabs."""
  line = lambda texts: " & ".join(layouts._latex(text) for text in texts) + r" \\"
  notes = [f"% {' '.join(note.split())}" for note in (caption(found), *found.notes)]
  rows = [line(effect_cells(one)) for one in told(found)]
  begin = rf"\begin{{tabular}}{{{'l' * 3}{'r' * 4}}}"
  return (
    "\n".join([*notes, begin, r"\toprule", line(EFFECT_HEAD), r"\midrule", *rows, r"\bottomrule", r"\end{tabular}"])
    + "\n"
  )


def csv_text(found: summary_lib.Summary) -> str:
  """A row a point, numbers unrounded."""
  out = io.StringIO()
  names = [found.chosen, *_costs(found)]
  writer = csv.writer(out, lineterminator="\n")
  writer.writerow([*found.space.factors, "seeds", *names, "runs"])
  for row in found.rows:
    values = [row.point.get(name, "") for name in found.space.factors]
    writer.writerow([*values, row.seeds, *(row.figures.get(name, "") for name in names), " ".join(row.folders)])
  return out.getvalue()


def terminal(found: summary_lib.Summary) -> list[rich.table.Table]:
  """For a person at the terminal: points, and main effects."""
  points = rich.table.Table(title=found.space.question or "points")
  effects = rich.table.Table(title=f"effects on {found.chosen}", caption=caption(found))
  for table, head, rows in (
    (points, point_head(found), [point_cells(found, row) for row in found.rows]),
    (effects, EFFECT_HEAD, [effect_cells(one) for one in told(found)]),
  ):
    for name in head:
      table.add_column(name, overflow="fold")
    for row in rows:
      table.add_row(*map(rich.text.Text, row))
  return [points, effects]


def page(found: summary_lib.Summary) -> str:
  """One static page: no scripts, no network."""
  loader = jinja2.FileSystemLoader(os.path.dirname(__file__))
  environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, loader=loader)
  return environment.get_template("sweep.html.j2").render(
    found=found,
    points=(point_head(found), [point_cells(found, row) for row in found.rows] if found.rows else []),
    effects=(EFFECT_HEAD, [effect_cells(one) for one in told(found)]),
    envelopes=envelope_table(found),
    caption=caption(found),
    pictures=_pictures(found),
  )


def _pictures(found: summary_lib.Summary) -> list[dict[str, str]]:
  pictures = [_pareto(found, name) for name in ("trainable_parameters", "trained_tokens_per_s", "peak_gib")]
  pictures += [_curves(found, factor) for factor in dict.fromkeys((one.factor, one.by) for one in found.envelopes)]
  return [one for one in pictures if one is not None]


def _pareto(found: summary_lib.Summary, cost: str) -> dict[str, str] | None:
  """The measure against a cost; points that no other beats are filled."""
  rows = [row for row in found.rows if math.isfinite(row.figures.get(cost, math.nan))]
  if len({row.figures[cost] for row in rows}) < 2:
    return None
  figure = figure_lib.Figure(figsize=(5.2, 3.4), layout="constrained")
  axis = figure.add_subplot()
  for row in rows:
    face = "#2a6f97" if row.best else "none"
    axis.scatter(row.figures[cost], row.figures[found.chosen], facecolors=face, edgecolors="#2a6f97")
    axis.annotate(
      summary_lib.title(row.point),
      (row.figures[cost], row.figures[found.chosen]),
      fontsize=7,
      xytext=(4, 3),
      textcoords="offset points",
    )
  axis.set(xlabel=_COST_NAMES[cost], ylabel=found.chosen, xscale=_scale([row.figures[cost] for row in rows]))
  axis.spines[["top", "right"]].set_visible(False)
  axis.margins(0.2, 0.15)
  return _svg(figure, f"{found.chosen} against {_COST_NAMES[cost]}")


def _scale(values: Sequence[float]) -> Literal["linear", "log"]:
  """A log axis where values lie further apart than a factor of 5: below that its marks say little."""
  return "log" if min(values) > 0 and max(values) / min(values) > 5 else "linear"


def _curves(found: summary_lib.Summary, pair: tuple[str, str]) -> dict[str, str]:
  factor, by = pair
  figure = figure_lib.Figure(figsize=(5.2, 3.4), layout="constrained")
  axis = figure.add_subplot()
  for one in found.envelopes:
    if (one.factor, one.by) == pair:
      x, y = zip(*one.curve, strict=True)
      axis.plot(x, y, marker="o", label=f"{cells_lib.short(by)} {cells_lib.shown(one.level)}")
  spread = [float(x) for one in found.envelopes if (one.factor, one.by) == pair for x, _ in one.curve]  # pyright: ignore[reportArgumentType]
  axis.set(xlabel=cells_lib.short(factor), ylabel=found.chosen)
  axis.set_xscale(_scale(spread))
  axis.legend(fontsize=8)
  axis.spines[["top", "right"]].set_visible(False)
  return _svg(figure, f"{found.chosen} over {cells_lib.short(factor)}")


def _svg(figure: figure_lib.Figure, title: str) -> dict[str, str]:
  out = io.BytesIO()
  figure.savefig(out, format="svg", metadata={"Date": None})
  return {"title": title, "src": "data:image/svg+xml;base64," + base64.b64encode(out.getvalue()).decode()}


def _pipes(head, rows) -> str:
  line = (
    lambda texts: f"| {' | '.join(text.replace('|', chr(92) + '|').replace('*', chr(92) + '*') for text in texts)} |"
  )
  return "\n".join([line(head), "|" + "---|" * len(head), *map(line, rows)])


def _number(value: float, signed: bool = False) -> str:
  if not math.isfinite(value):
    return "–"
  if abs(value) >= 1000:
    return f"{value:{'+' if signed else ''},.0f}"
  return f"{value:{'+' if signed else ''}.4g}"
