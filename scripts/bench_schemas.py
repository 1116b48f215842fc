"""What the readers make of real data: a table in Markdown of sets, files, schemas, rows, and drops with their reasons.

`python scripts/bench_schemas.py $ITUNE_DATA` reads every data file below a folder, one set a folder. Files are read as
their rows tell; files of preferences and trees also by the formats that are told by name alone. It fails where a row is
left out without a reason.
"""

import argparse
import collections
from collections.abc import Iterator
import os
import sys

from itune_jax.core import errors
from itune_jax.data.readers import containers
from itune_jax.data.readers import readers

BY_NAME = ("preference", "chosen", "oasst_all", "oasst_pairs")
LISTED = 3  # reasons that a line of the table shows
SHARE = 0.5  # of the rows that must be read for a file to be one of this format


def main() -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("folder", help="a folder of sets, each a folder of files")
  parser.add_argument("--all", action="store_true", help="also sets that hold no instruction or preference data")
  args = parser.parse_args()
  print("| set | files | read as | rows | examples | left out, and why |")
  print("|---|---|---|---|---|---|")
  unnamed = 0
  for name in sorted(os.listdir(args.folder)):
    lines, others = [], 0
    for files, found in _set(os.path.join(args.folder, name)):
      for format, count in found.items():
        unnamed += count.reasons[""]
        if count.examples >= SHARE * count.rows > 0:
          lines.append(_line(name, files, format, count))
        elif format == "auto":
          others += 1
          if args.all:
            lines.append(_line(name, files, "none", count))
    print("\n".join(lines) + "\n" if lines else "", end="")
  print(f"\nRows that were left out without a reason: {unnamed}")
  sys.exit(bool(unnamed))


class Count:
  """What was read of the files of one kind, as one format."""

  def __init__(self):
    self.rows = self.examples = 0
    self.schemas: collections.Counter[str] = collections.Counter()
    self.reasons: collections.Counter[str] = collections.Counter()


def _set(folder: str) -> Iterator[tuple[str, dict[str, Count]]]:
  """(files, counts by format) of the files of a set; files of one schema are one line."""
  groups: dict[str, tuple[list[str], dict[str, Count]]] = {}
  for at, _, names in sorted(os.walk(folder)):
    for name in sorted(names):
      if containers.of(name) is None:
        continue
      found = {format: _read(os.path.join(at, name), format) for format in ("auto", *BY_NAME)}
      told = "+".join(found["auto"].schemas) or "none of " + "+".join(f for f in BY_NAME if found[f].examples)
      files, counts = groups.setdefault(told, ([], {format: Count() for format in found}))
      files.append(os.path.relpath(os.path.join(at, name), folder))
      for format, count in found.items():
        counts[format].rows += count.rows
        counts[format].examples += count.examples
        counts[format].schemas += count.schemas
        counts[format].reasons += count.reasons
  for files, counts in groups.values():
    yield (files[0] if len(files) == 1 else f"{len(files)} files, as {files[0]}"), counts


def _read(path: str, format: str) -> Count:
  count = Count()
  try:
    for row in readers.read(path, format):
      count.rows += 1
      count.examples += row.example is not None
      if row.example is not None:
        count.schemas[row.schema] += 1
      else:
        count.reasons[row.problem] += 1
  except errors.InputError as e:
    count.rows += 1
    count.reasons[str(e).removeprefix(f"{path}: ")] += 1
  return count


def _line(name: str, files: str, format: str, count: Count) -> str:
  schema = ", ".join(f"`{one}`" for one in count.schemas) if format == "auto" else f"`{format}`"
  reasons = "; ".join(f"{n} × {reason}" for reason, n in count.reasons.most_common(LISTED)) or "none"
  reasons = reasons.replace("|", "\\|")
  return f"| {name} | {files} | {schema} | {count.rows} | {count.examples} | {reasons} |"


if __name__ == "__main__":
  main()
