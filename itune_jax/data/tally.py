"""Counts of a source, by reason: of blocks of its rows, which add up to those of the whole in the order of the rows."""

import collections
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from itune_jax.core import jsontext
from itune_jax.core import pack
from itune_jax.data import example as example_lib
from itune_jax.data.readers import readers

LISTED_PROBLEMS = 1000
SHOWN = 2000  # characters of an example in a manifest


class Tally:
  """What became of rows. reasons: why rows were dropped; listed: the first of them."""

  def __init__(self):
    self._count: collections.Counter[str] = collections.Counter()
    self.reasons: collections.Counter[str] = collections.Counter()
    self.listed: list[dict[str, Any]] = []
    self._unread: collections.Counter[str] = collections.Counter()
    self._schemas: collections.Counter[str] = collections.Counter()
    self._first: dict[str, dict[str, Any]] = {}  # a kept row of each schema

  @property
  def rows(self) -> int:
    """How many rows there were."""
    return self._count["rows"]

  def drop(self, row: readers.Row, reason: str) -> None:
    """Books a row that is left out."""
    self._count["rows"] += 1
    self._count["dropped"] += 1
    self.reasons[reason] += 1
    if len(self.listed) < LISTED_PROBLEMS:
      self.listed.append({"file": row.file, "line": row.line, "reason": reason})

  def keep(self, row: readers.Row, cut: bool, shown: Callable[[example_lib.Example], str]) -> None:
    """Books a row that is an example. cut: whether something of it was cut. shown: its text as the model reads it."""
    assert row.example is not None
    self._count["rows"] += 1
    self._count["kept"] += 1
    self._count["cut"] += cut
    self._unread.update(list(dict.fromkeys(map(jsontext.line, row.example.unread))))
    self._schemas[row.schema] += 1
    if row.schema not in self._first:
      text = shown(row.example)
      text = text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
      self._first[row.schema] = {"file": row.file, "line": row.line, "example": text}

  def store(self, example: pack.Item | pack.Group, positions: int, truncated: bool) -> None:
    """Books one stored example, or one group."""
    items = example.items if isinstance(example, pack.Group) else (example,)
    self._count["stored"] += 1
    self._count["tokens"] += positions
    self._count["trained_tokens"] += sum(int(np.count_nonzero(item.weights[1:])) for item in items)
    self._count["truncated"] += truncated
    for value in (item.columns.get("label") for item in items):
      if value is not None:
        self._count["wanted"] += int((np.asarray(value) > 0).sum())
        self._count["unwanted"] += int((np.asarray(value) < 0).sum())

  def add(self, later: "Tally") -> None:
    """Adds the counts of rows behind these."""
    self._count.update(later._count)
    self.reasons.update(later.reasons)
    self.listed += later.listed[: LISTED_PROBLEMS - len(self.listed)]
    self._unread.update(later._unread)
    self._schemas.update(later._schemas)
    self._first = {**later._first, **self._first}

  def state(self) -> dict[str, Any]:
    """All of it, for a file of JSON; `of` makes a tally of it again."""
    counts = (self._count, self.reasons, self._unread, self._schemas)
    return {"counts": [dict(one) for one in counts], "listed": self.listed, "first": self._first}

  @classmethod
  def of(cls, state: Mapping[str, Any]) -> "Tally":
    """The tally that gave this state."""
    found = cls()
    found._count, found.reasons, found._unread, found._schemas = map(collections.Counter, state["counts"])
    found.listed, found._first = list(state["listed"]), dict(state["first"])
    return found

  def schemas(self) -> list[dict[str, Any]]:
    """What rows were read as, how many, and one of each as the model reads it."""
    return [{"schema": name, "rows": n, **self._first[name]} for name, n in self._schemas.most_common()]

  def notes(self, source: str, max_length: int) -> list[str]:
    """What a person should know of the rows that were kept: how many were cut, and keys that nothing reads."""
    cut, kept, found = self._count["cut"], self._count["kept"], []
    if cut:
      share = f"{cut} of {kept} rows ({100 * cut / kept:.1f} %) were cut at {max_length} tokens"
      found.append(f"{source}: {share}; to keep them whole raise --gin.chat.Rendering.max_length")
    if self._unread:
      found.append(f"{source}: nothing reads {readers.unread_said(self._unread)}")
    return found

  def to_json(self) -> dict[str, Any]:
    """What goes into the manifest."""
    names = ("rows", "kept", "dropped", "stored", "truncated", "tokens", "trained_tokens")
    return {
      **{name: self._count[name] for name in names},
      "dropped_by_reason": dict(self.reasons),
      "dropped_rows": self.listed,
      "unread_keys": dict(self._unread.most_common()),
      "labels": {name: self._count[name] for name in ("wanted", "unwanted")},
    }


@dataclasses.dataclass
class Done:
  """What a block of rows became.

  records: as they are stored, in order; images: pixels of each, or None for a model of text. figures: of each record
  its positions, those with repeated prompts, members, the first id with weight, and the number of images. examples: how
  many rows are examples, kept or not. named: the id of each row as its file has it (`readers.Read`), [] of rows that
  were read elsewhere. error: what ended the work on the block."""

  tally: Tally = dataclasses.field(default_factory=Tally)
  records: list[bytes] = dataclasses.field(default_factory=list)
  images: list[bytes] | None = None
  figures: list[tuple[int, int, int, int, int]] = dataclasses.field(default_factory=list)
  examples: int = 0
  named: list[str] = dataclasses.field(default_factory=list)
  error: Exception | None = None
