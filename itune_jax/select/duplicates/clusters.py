"""Clusters of rows that say the same, and the one that stays."""

import abc
from collections.abc import Iterable, Iterator, Sequence
import dataclasses
import hashlib
from typing import Literal, NamedTuple

import numpy as np

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.select import row_texts
from itune_jax.select import select_protocol
from itune_jax.select import stages

Rule = Literal["first", "longest", "score", "source"]


class Roots:
  """Disjoint sets of numbers, joined one pair at a time; the root of a set is its smallest number (Tarjan 1975)."""

  def __init__(self):
    self._parent: list[int] = []

  def add(self) -> int:
    """A new number, in a set of its own."""
    self._parent.append(len(self._parent))
    return len(self._parent) - 1

  def root(self, i: int) -> int:
    """The root of a number's set."""
    parent = self._parent
    while parent[i] != i:
      parent[i] = parent[parent[i]]
      i = parent[i]
    return i

  def join(self, i: int, j: int) -> None:
    """Puts the sets of two numbers together."""
    low, high = sorted((self.root(i), self.root(j)))
    self._parent[high] = low

  def all(self) -> np.ndarray:
    """The root of each number [N]."""
    return np.asarray([self.root(i) for i in range(len(self._parent))], np.int64)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Duplicates(select_protocol.Step):
  """Keeps one row of each cluster, or names the cluster of each; they are in the manifest. Subclasses say what a
  cluster is.

  field: the text that is compared: a key, or "@prompt", "@answer", "@all". keep: which row stays: the first, the one
  whose text is longest, the one whose `scores` have the highest number, or the one of the first source; the first among
  equals. score: its name, for "score". sources: names of data sets in the order in which they are preferred, for
  "source"; others come behind them. column: a new key, under which each row gets a name of its cluster and stays: by it
  a split (Source.held_out_by = "column:…") has no near-duplicates on both sides.
  """

  field: str = row_texts.ALL
  keep: Rule = "first"
  score: str = ""
  sources: tuple[str, ...] = ()
  column: str = ""

  def __post_init__(self):
    check.check_types(self)
    name = type(self).__name__
    check.require(
      not self.column or self.keep == "first", f"{name}: with a column all rows stay, and keep = {self.keep!r} chooses"
    )
    check.require(
      bool(self.score) == (self.keep == "score"), f"{name}: keep = 'score' and the name of a score go together"
    )
    check.require(
      bool(self.sources) == (self.keep == "source"), f"{name}: keep = 'source' and sources in their order go together"
    )

  def looks(self, texts: Iterable[str]) -> Iterator["Look"] | None:
    """What is to be known of each text to find clusters without looking at all others in order; None of a step that
    cannot."""
    del texts
    return None

  def alike(self, a: bytes, b: bytes) -> bool:
    """Whether two texts are of one cluster that share a key, by their shapes."""
    del a, b
    return True

  def said(self, empty: int, pairs: int) -> select_protocol.Notes:
    """Notes on texts that were looked at by `looks`: those without a word, and pairs that share a key."""
    del pairs
    return {"without_text": empty}

  @abc.abstractmethod
  def roots(self, texts: Iterable[str], notes: select_protocol.Notes) -> np.ndarray:
    """For each text a number of its cluster [N] int64, which is that of one of its rows."""

  def reason(self) -> str:
    """Why a row is left out."""
    return "duplicate"

  def apply(
    self, rows: Iterable[select_protocol.Row], notes: select_protocol.Notes
  ) -> Iterator[select_protocol.Outcome]:
    """One row of each cluster goes on."""
    seen = self.seeing(rows)
    roots = self.roots(seen.texts(), notes)
    seen.present.require()
    yield from self.chosen(rows, roots, np.asarray(seen.worths), notes)

  def seeing(self, rows: Iterable[select_protocol.Row]) -> "Seeing":
    """The texts of rows."""
    return Seeing(self, rows)

  def chosen(
    self, rows: Iterable[select_protocol.Row], roots: np.ndarray, worths: np.ndarray, notes: select_protocol.Notes
  ) -> Iterator[select_protocol.Outcome]:
    """One row of each cluster goes on. roots, worths: of each row [N]."""
    kept = _kept(roots, worths)
    notes["clusters"] = _clusters(roots, kept, "alike" if self.column else "dropped")
    if self.column:
      yield from self._named(rows, roots)
      return
    for i, row in enumerate(rows):
      yield select_protocol.Outcome(row) if kept[roots[i]] == i else select_protocol.dropped(self.reason())

  def _named(self, rows: Iterable[select_protocol.Row], roots: np.ndarray) -> Iterator[select_protocol.Outcome]:
    """All rows, each with the name of its cluster: a hash of the text of its first row."""
    names: dict[int, str] = {}
    for root, row in zip(roots.tolist(), rows, strict=True):
      if self.column in row:
        raise errors.InputError(f"{type(self).__name__}.column = {self.column!r}: a row has this key already")
      text = row_texts.get(row, self.field) if root not in names else ""
      name = names.setdefault(root, hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16])
      yield select_protocol.Outcome({**row, self.column: name})

  def worth(self, row: select_protocol.Row, text: str) -> float:
    """How much a row is wanted in its cluster."""
    if self.keep == "longest":
      return len(text)
    if self.keep == "score":
      scores = row.get("scores")
      value = scores.get(self.score) if isinstance(scores, dict) else None
      if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise errors.InputError(
          f"{type(self).__name__}: a row has no number `scores.{self.score}`; score the rows first"
        )
      return value
    if self.keep == "source":
      given = row.get("source")
      name = given.get("dataset", "") if isinstance(given, dict) else given
      return -self.sources.index(name) if name in self.sources else -len(self.sources)
    return 0.0


class Look(NamedTuple):
  """What is known of a text. same: texts of one such name are one cluster, b"" for one that is like no other. keys: two
  texts that share one may be alike. shape: what `Duplicates.alike` then goes by."""

  same: bytes
  keys: Sequence[bytes] = ()
  shape: bytes = b""


class Seeing:
  """Texts of rows as a step takes them, and what they are worth.

  worths: of those that were taken. present: whether any was there."""

  def __init__(self, step: Duplicates, rows: Iterable[select_protocol.Row]):
    self._step, self._rows, self.worths = step, rows, []
    self.present = row_texts.Present(type(step).__name__, step.field)

  def texts(self) -> Iterator[str]:
    """The text of each row."""
    for row in self._rows:
      text = self.present.text(row)
      self.worths.append(self._step.worth(row, text))
      yield text


def joined(count: int, edges: Iterable[tuple[int, int]]) -> np.ndarray:
  """The cluster of each of so many rows [N], of pairs that are of one."""
  roots = Roots()
  for _ in range(count):
    roots.add()
  for i, j in edges:
    roots.join(i, j)
  return roots.all()


def _kept(roots: np.ndarray, best: np.ndarray) -> np.ndarray:
  """At the place of each root the row that stays: of most worth, the first among equals."""
  order = np.lexsort((np.arange(len(roots)), -best, roots)) if len(roots) else np.zeros(0, np.int64)
  found = np.full(len(roots), -1, np.int64)
  first = np.flatnonzero(np.diff(roots[order], prepend=-1))
  found[roots[order][first]] = order[first]
  return found


def _clusters(roots: np.ndarray, kept: np.ndarray, others: str) -> list[dict[str, object]]:
  """Clusters of more than one row: who stays, and the others under this name."""
  order = np.argsort(roots, kind="stable")
  starts = np.flatnonzero(np.diff(roots[order], prepend=-1))
  found = []
  for a, b in zip(starts, [*starts[1:], len(roots)], strict=True):
    if b - a > 1:
      members = order[a:b].tolist()
      stays = int(kept[roots[members[0]]])
      found.append({"kept": stages.At(stays), others: [stages.At(i) for i in members if i != stays]})
  return found
