"""The page "What was measured, and how", from the registry of benchmarks: docs/guides/benchmarks.md.

python scripts/benchmarks_page.py          writes it; tests/docs/test_benchmarks_page.py keeps it current
"""

import argparse
import itertools
import pathlib

from itune_jax.core import files
from itune_jax.evals import official
from itune_jax.evals.benchmarks import registry

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "guides" / "benchmarks.md"
HEAD = """# What was measured, and how

All published benchmarks by axis. This page is made of the registry by `python scripts/benchmarks_page.py`, and a test
keeps it current. `itune eval --list` prints the same with where files are had.

- *Items*: how many there are officially; "any" where files say.
- *Figure*: what a benchmark is known by; tables have the others beside it.
- *Judged by*: rules are a program of the project; a judge is a model that `--judge` names, which every table says;
  tests are programs run in the [sandbox](sandbox.md).
- *Equal to*: what the scores were compared with, and on how many answers. These comparisons are tests
  (`python -m pytest -m parity`).
- *Format only*: no official file was at hand. The format and what stands under *equal to* were compared; no figure is
  claimed.
"""
COLUMNS = ("name", "items", "figure", "judged by", "equal to", "licence", "source")


def judge(one: official.Published) -> str:
  """Who says whether an answer is right."""
  if one.judged:
    return "a judge"
  return "tests" if one.metric.startswith("pass@") else "rules"


def row(one: official.Published) -> str:
  """A line of the table."""
  name = f"`{one.name}`{', format only' if one.format_only else ''}<br>{one.title or one.name}"
  items = f"{one.count:,}" if one.count else "any"
  cells = (name, items, f"`{one.metric}`", judge(one), one.parity or "not compared", one.licence, one.source)
  return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def page() -> str:
  """The whole page."""
  parts = [HEAD]
  for axis, ones in itertools.groupby(registry.table(), key=lambda one: one.axis):
    head = "| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS)
    parts.append("\n".join([f"## {axis.capitalize()}", "", head, *map(row, ones)]) + "\n")
  return "\n".join(parts)


if __name__ == "__main__":
  argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
  files.write_text(str(PAGE), page())
  print(f"{PAGE}: {len(registry.ROWS)} benchmarks")
