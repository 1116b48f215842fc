"""The table of comparisons as text, Markdown, LaTeX, CSV and JSON."""

from collections.abc import Callable, Mapping
import csv
import io
import json
import math
from typing import Any

import rich.table
import rich.text

from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.run.comparison import evaluated
from itune_jax.run.comparison import outcomes

HEAD = ("benchmark", "metric", "runs", "items", "first", "second", "difference", "p", "cannot be seen")
STARS = "* p ≤ 0.05, ** p ≤ 0.01, *** p ≤ 0.001"


def number(value: float, percent: bool, signed: bool = False) -> str:
  """A figure as tables show it: a share in percent."""
  if not math.isfinite(value):
    return "–"
  sign = "+" if signed else ""
  return f"{100 * value:{sign}.1f}" if percent else f"{value:{sign}.4g}"


def bounds(figure: metrics_lib.Figure, percent: bool, signed: bool = False) -> str:
  """The interval, or that there is none."""
  if figure.low is None or figure.high is None:
    return "no interval"
  return f"[{number(figure.low, percent, signed)}, {number(figure.high, percent, signed)}]"


def sides(found: outcomes.Found) -> tuple[str, str]:
  """How tables call the two figures of a comparison: by their runs, where there are two in all."""
  first, *others = found.names
  return (first, others[0]) if len(others) == 1 else ("compared with", "run")


def items(row: outcomes.Comparison) -> str:
  """Over how many items the comparison is, of how many: "147 of 541"; a dash where no items were kept."""
  n = row.shared or min(row.one.n or row.two.n, row.two.n)
  if not n and not row.of:
    return "–"
  return f"{n:,}" if n == row.of else f"{n:,} of {row.of:,}"


def p_value(p: float | None) -> str:
  """As tables show it."""
  return "–" if p is None else "< 0.0001" if p < 0.0001 else f"{p:.4f}" if p < 0.01 else f"{p:.3f}"


def seen(row: outcomes.Comparison) -> str:
  """The sentence about what so many items can show."""
  unit = " points" if row.percent else ""
  if not math.isfinite(row.detectable) or not row.detectable:
    return "it is not known which difference could be seen"
  smallest = number(row.detectable, row.percent)
  n = row.shared or row.two.n
  if _is_beyond(row):
    return f"with these {n:,} items no difference can be seen"
  return f"with these {n:,} items a difference below {smallest}{unit} cannot be seen"


def _is_beyond(row: outcomes.Comparison) -> bool:
  """Whether only a difference would be found that two shares cannot have: more than all of the items."""
  return row.percent and row.detectable > 1


def cells(row: outcomes.Comparison) -> tuple[str, ...]:
  """The texts of a row, as `HEAD` names them."""
  whole = lambda figure: f"{number(figure.value, row.percent)} {bounds(figure, row.percent)}"
  difference = (
    f"{number(row.difference.value, row.percent, True)}{row.stars} {bounds(row.difference, row.percent, True)}"
  )
  smallest = "any" if _is_beyond(row) else number(row.detectable, row.percent) if row.detectable else "–"
  metric = f"{row.metric}{' (%)' if row.percent else ''}{' ↓' if row.better == 'lower' else ''}"
  runs = f"{row.second} − {row.first}"
  return (
    row.benchmark,
    metric,
    runs,
    items(row),
    whole(row.one),
    whole(row.two),
    difference,
    p_value(row.adjusted),
    smallest,
  )


def caption(found: outcomes.Found) -> str:
  """What the numbers of a table are."""
  return f"{correction(found)} A difference that cannot be seen is found in fewer than 80 of 100 such comparisons."


def correction(found: outcomes.Found) -> str:
  """How intervals and p-values were made."""
  tested = sum(row.adjusted is not None for row in found.rows)
  over = (
    f"over all {tested} comparisons of this table that are tested" if tested != 1 else "over the one that is tested"
  )
  shares = " Shares of answers that were cut off, are empty or had their thinking ended are shown; --metric tests them."
  derived = any(row.metric in evaluated.DERIVED and row.test == "none" for row in found.rows)
  return (
    f"Intervals are of 95 %, over clusters of items; p is corrected by Holm {over}; {STARS}.{shares if derived else ''}"
  )


def terminal(found: outcomes.Found) -> rich.table.Table:
  """For a person at the terminal: narrow, with intervals below figures. What cannot be seen is said below the table."""
  table = rich.table.Table(title=", ".join(found.names), caption=caption(found))
  for name in ("figure", "runs", "items", *sides(found), "difference", "p"):
    table.add_column(name, overflow="fold")
  for row in found.rows:
    benchmark, metric, *others, p, _ = cells(row)
    stacked = [text.replace(" [", "\n[").replace(" no interval", "\nno interval") for text in others]
    table.add_row(*(rich.text.Text(text) for text in (f"{benchmark}\n{metric}", *stacked, p)))
  return table


def markdown(found: outcomes.Found) -> str:
  """A table of pipes, with its caption and notes below."""
  line = (
    lambda texts: f"| {' | '.join(text.replace('|', chr(92) + '|').replace('*', chr(92) + '*') for text in texts)} |"
  )
  lines = [line(HEAD), "|" + "---|" * len(HEAD), *(line(cells(row)) for row in found.rows)]
  notes = [f"- {note}" for note in found.notes]
  return "\n".join([*lines, "", caption(found).replace("*", "\\*"), *(["", *notes] if notes else [])]) + "\n"


_LATEX = {
  **{c: f"\\{c}" for c in "&%$#_{}"},
  "\\": r"\textbackslash{}",
  "~": r"\textasciitilde{}",
  "^": r"\textasciicircum{}",
  "−": "$-$",
  "≤": r"$\le$",
  "↓": r"$\downarrow$",
  "<": "$<$",
  ">": "$>$",
  "–": "--",
  "*": r"$^{*}$",
}


def latex(found: outcomes.Found) -> str:
  """A `tabular` with the rules of booktabs, its caption and notes as comments above."""
  line = lambda texts: " & ".join(_latex(text) for text in texts) + r" \\"
  notes = [f"% {' '.join(note.split())}" for note in (caption(found), *found.notes)]
  rows = [line(cells(row)) for row in found.rows]
  head = [r"\begin{tabular}{lllrllllr}", r"\toprule", line(HEAD), r"\midrule"]
  return "\n".join([*notes, *head, *rows, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _latex(text: str) -> str:
  return "".join(_LATEX.get(c, c) for c in text)


def record(row: outcomes.Comparison) -> dict[str, Any]:
  """The numbers of a row under flat names, as CSV and JSON hold them; NaN is None."""
  finite = lambda value: None if value is None or not math.isfinite(value) else value
  found: dict[str, Any] = {name: vars(row)[name] for name in ("benchmark", "metric", "tag", "first", "second")}
  for name, figure in (("first", row.one), ("second", row.two), ("difference", row.difference)):
    parts = {"value": figure.value, "low": figure.low, "high": figure.high}
    found |= {f"{name}_{part}": finite(value) for part, value in parts.items()} | {f"{name}_n": figure.n}
  found |= {"shared": row.shared, "of": row.of, "p": row.p, "p_adjusted": row.adjusted, "stars": row.stars}
  return found | {
    "detectable": finite(row.detectable),
    "test": row.test,
    "aggregate": row.how,
    "better": row.better,
    "notes": "; ".join(row.notes),
  }


def as_csv(found: outcomes.Found) -> str:
  """The rows of the table, then those by tag, with a header."""
  out = io.StringIO(newline="")
  rows = [record(row) for row in (*found.rows, *found.by_tag)]
  writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
  writer.writeheader()
  writer.writerows(rows)
  return out.getvalue()


def as_json(found: outcomes.Found) -> str:
  """All of it as one object."""
  rows, by_tag = ([record(row) for row in some] for some in (found.rows, found.by_tag))
  whole = {"runs": found.names, "rows": rows, "by_tag": by_tag, "notes": found.notes}
  return json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


FORMATS: Mapping[str, Callable[[outcomes.Found], str]] = {
  "markdown": markdown,
  "latex": latex,
  "csv": as_csv,
  "json": as_json,
}
