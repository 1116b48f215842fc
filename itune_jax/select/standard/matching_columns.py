"""Columns of one source matched with those of another by their names and values, so that both have one schema.

The likeness of two columns is the mean of that of their names (Ratcliff & Obershelp's, over the words of the names) and
of their values, by which texts are told from each other: how many distinct values they share (Jaccard), or how alike
their types and lengths are, whichever is more. Columns are assigned so that the sum of likenesses is greatest (Kuhn
1955); a pair below the threshold is none, and a column whose second choice is as good is not guessed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import dataclasses
import difflib
import itertools
import math
import re
from typing import Any, Literal

import numpy as np

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import lazy
from itune_jax.select import input_rows
from itune_jax.select import select_protocol

optimize = lazy.module("scipy.optimize")

_WORD = re.compile(r"[a-z]+|[A-Z][a-z]*|\d+")
# Names that mean the same in instruction data, whatever their letters are.
SYNONYMS = (
  frozenset(("instruction", "prompt", "question", "query", "problem", "inputs")),
  frozenset(("output", "response", "completion", "answer", "solution", "targets")),
  frozenset(("input", "context")),
  frozenset(("id", "key", "uid", "uuid", "idx")),
  frozenset(("language", "lang", "locale")),
  frozenset(("source", "dataset", "origin")),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MatchColumns(select_protocol.Step):
  """Renames the columns of rows to those of another file that mean the same. The manifest has each pair with its
  likeness, and the columns that have no match.

  path: the file whose columns are taken. given: pairs (ours, theirs) that are not to be looked for. least: the likeness
  from which on two columns are one. lead: by how much the best match must be more like than the second. sample: so many
  rows of each side are looked at. unmatched: what becomes of a column without a match. refuse: whether the run is
  refused where a column of the other file has none.
  """

  path: str
  given: tuple[tuple[str, str], ...] = ()
  least: float = 0.6
  lead: float = 0.05
  sample: int = 1000
  unmatched: Literal["keep", "drop"] = "keep"
  refuse: bool = False

  def __post_init__(self):
    check.check_types(self)
    check.require(0 < self.least <= 1, f"MatchColumns.least = {self.least}; it is above 0 and at most 1")
    check.require(self.lead >= 0 and self.sample > 0, "MatchColumns: lead is 0 or more, sample counts from 1")
    for side, name in enumerate(("ours", "theirs")):
      names = [pair[side] for pair in self.given]
      check.require(len(set(names)) == len(names), f"MatchColumns.given: a column of {name} stands there twice")

  def files(self) -> tuple[str, ...]:
    """The other file, whose digest is part of what a selection is."""
    return (self.path,)

  def apply(
    self, rows: Iterable[select_protocol.Row], notes: select_protocol.Notes
  ) -> Iterator[select_protocol.Outcome]:
    """Looks at both sides first. Raises InputError for `given` columns that are not there, and as `refuse` says."""
    ours = Columns.of(itertools.islice(rows, self.sample))
    theirs = Columns.of(itertools.islice(self._others(), self.sample))
    found, unsure = matched(ours, theirs, self.given, self.least, self.lead)
    alike = {f"{a} → {b}": round(likeness(ours, theirs, a, b), 4) for a, b in found.items()}
    lost = [name for name in theirs.values if name not in found.values()]
    notes |= {"columns": alike, "unsure": unsure, "no_match": [n for n in ours.values if n not in found]}
    notes["theirs_without_match"] = lost
    if lost and self.refuse:
      raise errors.InputError(
        f"MatchColumns: no column is like {lost[0]!r} of {self.path}; name it in MatchColumns.given"
      )
    for row in rows:
      yield self._renamed(row, found)

  def _others(self) -> Iterator[select_protocol.Row]:
    for one in input_rows.rows(self.path):
      if one.row is None:
        raise errors.InputError(f"{one.file}:{one.place}: {one.problem}")
      yield one.row

  def _renamed(self, row: select_protocol.Row, found: Mapping[str, str]) -> select_protocol.Outcome:
    """The row under the other names. A name that is taken by a column which stays is a conflict, and counted."""
    marks = [f"{a} → {b}" for a, b in found.items() if a != b and a in row]
    made: dict[str, Any] = {}
    for name, value in row.items():
      new = found.get(name, name)
      if name not in found and (self.unmatched == "drop" or new in found.values()):
        marks.append(f"{name!r} left out")
        continue
      made[new] = value
    return select_protocol.Outcome(made, marks=tuple(marks))


@dataclasses.dataclass(frozen=True)
class Columns:
  """The values of columns, by name, in the order in which the columns first stand."""

  values: Mapping[str, Sequence[Any]]

  @classmethod
  def of(cls, rows: Iterable[select_protocol.Row]) -> "Columns":
    """Of rows; null is no value."""
    found: dict[str, list[Any]] = {}
    for row in rows:
      for name, value in row.items():
        found.setdefault(name, []).extend([] if value is None else [value])
    return cls(found)


def matched(
  ours: Columns, theirs: Columns, given: Sequence[tuple[str, str]], least: float, lead: float
) -> tuple[dict[str, str], list[str]]:
  """(theirs by ours, columns of ours whose match is unsure). Raises InputError for a given column that is not there."""
  for a, b in given:
    check.require(a in ours.values, f"MatchColumns.given: no row has the column {a!r}")
    check.require(b in theirs.values, f"MatchColumns.given: the other file has no column {b!r}")
  found = dict(given)
  left = [name for name in ours.values if name not in found]
  right = [name for name in theirs.values if name not in found.values()]
  if not left or not right:
    return found, []
  table = np.asarray([[likeness(ours, theirs, a, b) for b in right] for a in left])
  unsure = []
  for i, j in zip(*optimize.linear_sum_assignment(-table), strict=True):
    others = np.concatenate([np.delete(table[i], j), np.delete(table[:, j], i)])
    if table[i, j] < least:
      continue
    if len(others) and table[i, j] - others.max() < lead:
      unsure.append(left[i])
    else:
      found[left[i]] = right[j]
  return found, unsure


def likeness(ours: Columns, theirs: Columns, a: str, b: str) -> float:
  """Of two columns, between 0 and 1; 1 for one name of one type."""
  kinds = [_kind(columns.values[name]) for columns, name in ((ours, a), (theirs, b))]
  if "" not in kinds and kinds[0] != kinds[1]:
    return 0.0
  if a == b:
    return 1.0
  return (_of_names(a, b) + _of_values(ours.values[a], theirs.values[b])) / 2


def _of_names(a: str, b: str) -> float:
  words = [" ".join(_WORD.findall(name)).lower() or name.lower() for name in (a, b)]
  if any(words[0] in one and words[1] in one for one in SYNONYMS):
    return 1.0
  return difflib.SequenceMatcher(None, *words, autojunk=False).ratio()


def _of_values(first: Sequence[Any], second: Sequence[Any]) -> float:
  if not first or not second:
    return 0.0
  ones, twos = ({repr(value) for value in values} for values in (first, second))
  shared = len(ones & twos) / len(ones | twos)
  return max(shared, _of_shapes(first, second))


def _of_shapes(first: Sequence[Any], second: Sequence[Any]) -> float:
  """How alike lengths and the share of distinct values are."""
  sizes = [math.fsum(len(str(value)) for value in values) / len(values) for values in (first, second)]
  distinct = [len({repr(value) for value in values}) / len(values) for values in (first, second)]
  ratio = (1 + min(sizes)) / (1 + max(sizes))
  return ratio * (1 - abs(distinct[0] - distinct[1]))


def _kind(values: Sequence[Any]) -> str:
  """The type of a column's values, "" where it has none, "mixed" for several."""
  kinds = {"number" if isinstance(v, (int, float)) and not isinstance(v, bool) else type(v).__name__ for v in values}
  return next(iter(kinds), "") if len(kinds) < 2 else "mixed"
