"""`itune compare`: two or more evaluations on the same items, as a table and one page."""

import collections
import os
from collections.abc import Sequence
import sys
from typing import Any

from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import log
from itune_jax.run import command
from itune_jax.run import console
from itune_jax.run.comparison import aggregates
from itune_jax.run.comparison import comparing
from itune_jax.run.comparison import evaluated
from itune_jax.run.comparison import harness_files
from itune_jax.run.comparison import layouts
from itune_jax.run.comparison import outcomes
from itune_jax.run.comparison import own_folders
from itune_jax.run.comparison import published_rows
from itune_jax.run.comparison import seeds
from itune_jax.run.report import compare_page


def from_flags(args: command.Args) -> dict[str, Any] | None:
  """Runs the command; returns the page's path and what was found, or prints the table alone with --format.

  Raises InputError for runs that cannot be read, share no item, or hold nothing to compare.
  """
  published = [row for path in args.against for row in published_rows.read(path)]
  asked = outcomes.Asked(
    benchmarks=tuple(args.benchmark),
    metrics=tuple(args.metric),
    given=aggregates.parsed(args.aggregate),
    lower=tuple(args.lower),
  )
  found = comparing.compare(runs_of(args.runs), published, asked)
  write(found, args.out, args.items)
  if args.format:
    sys.stdout.write(layouts.FORMATS[args.format](found))
    return None
  show(found)
  told = [row for row in found.rows if row.stars]
  return {"page": args.out, "comparisons": len(found.rows), "told_apart": len(told), "notes": len(found.notes)}


def write(found: outcomes.Found, out: str, items: int) -> None:
  """Writes the page of a comparison, with so many items of each benchmark."""
  files.write_text(out, compare_page.page(found, items))
  for note in found.notes:
    log.info(f"note: {note}")
  log.info(f"wrote {out}")


def show(found: outcomes.Found) -> None:
  """Prints its table."""
  console.show(layouts.terminal(found), *_sentences(found.rows))


def runs_of(given: Sequence[str]) -> list[evaluated.Run]:
  """The runs of the command line. Raises InputError for a name that stands twice, and where nothing was evaluated."""
  return [
    seeds.together(name, [evaluated.Run(name=name, path=path, evaluations=read(path)) for path in paths])
    for name, paths in named(given)
  ]


def named(given: Sequence[str]) -> list[tuple[str, list[str]]]:
  """The names and paths of runs, each `RUN`, `NAME=RUN` or `NAME=RUN,RUN`. Raises InputError for a name of two."""
  parts = [_named(one) for one in given]
  names = _distinct([name for name, _ in parts], [paths for _, paths in parts])
  return [(name, paths) for name, (_, paths) in zip(names, parts, strict=True)]


def read(path: str) -> dict[str, evaluated.Evaluation]:
  """The evaluations of a path, by benchmark. Raises InputError saying what is there instead."""
  if not files.exists(path):
    raise errors.InputError(f"{path}: there is no such run")
  if harness_files.is_one(path):
    return harness_files.read([path])
  if own_folders.is_one(path):
    return own_folders.read(path)
  folders = own_folders.labels(path)
  if len(folders) > 1:
    raise errors.InputError(f"{path}: holds several evaluations; name one of {', '.join(folders)}")
  if folders:
    return own_folders.read(folders[0])
  samples = harness_files.found_in(path)
  if not samples:
    raise errors.InputError(
      f"{path}: holds no evaluation: neither NAME.json and NAME.jsonl of itune eval, nor samples_*.jsonl of lm-eval"
    )
  return harness_files.read(samples)


def _named(given: str) -> tuple[str, list[str]]:
  name, equals, rest = given.partition("=")
  if not equals or os.sep in name or files.exists(given):
    name, rest = "", given
  paths = [rest] if files.exists(rest) else rest.split(",")
  if not all(paths):
    raise errors.InputError(f"{given}: write it as RUN, NAME=RUN, or NAME=RUN,RUN for several seeds")
  return name, paths


def _distinct(names: Sequence[str], paths: Sequence[Sequence[str]]) -> list[str]:
  """Names that differ: as given, or the shortest ends of paths that tell runs apart."""
  parts = [os.path.normpath(one[0]).split(os.sep) for one in paths]
  shown = list(names)
  for depth in range(1, max(map(len, parts)) + 1):
    shown = [name or "/".join(part[-depth:]) for name, part in zip(names, parts, strict=True)]
    if len(set(shown)) == len(shown):
      return shown
  twice = collections.Counter(shown).most_common(1)[0][0]
  raise errors.InputError(f"{twice}: two runs are called so; name them as NAME=RUN")


def _sentences(rows: Sequence[outcomes.Comparison]) -> list[str]:
  return [f"{row.benchmark}, {row.metric}, {row.second} − {row.first}: {layouts.seen(row)}." for row in rows]
