"""Which prompts stand in the cache once (`kv_cache.Prompts`), and which rows continue each: the host's books.

Every shard has as many places for prompts; a prompt has rows of its own shard only. Of a prompt with more rows than a
place has, several copies stand. A prompt stays until its place is needed, so rows may come to it later. Prompts have
numbers here, equal ones the same.
"""

from collections.abc import Sequence
import dataclasses

import numpy as np


@dataclasses.dataclass
class _Entry:
  what: int | None = None
  rows: list[int] = dataclasses.field(default_factory=list)


class Entries:
  """Places of prompts, `width` rows to each."""

  def __init__(self, shards: int, width: int):
    self.width = width
    self._of: list[list[_Entry]] = [[] for _ in range(shards)]

  @property
  def each(self) -> int:
    """Places of each shard."""
    return len(self._of[0])

  def join(self, what: int, free: Sequence[list[int]]) -> int | None:
    """A row out of these free ones of each shard, which now continues a prompt that is there; None if it is not."""
    for entries, rows in zip(self._of, free, strict=True):
      for entry in entries:
        if rows and entry.what == what and len(entry.rows) < self.width:
          entry.rows.append(rows.pop(0))
          return entry.rows[-1]
    return None

  def open(self, what: int, shard: int, rows: Sequence[int]) -> list[tuple[int, int]]:
    """Places (shard, number) that the prompt now has for these rows; more of them where all were taken."""
    opened = []
    for at in range(0, len(rows), self.width):
      free = next((k for k, entry in enumerate(self._of[shard]) if not entry.rows), None)
      if free is None:
        free = self.each
        self.grow(self.each + 1)
      self._of[shard][free] = _Entry(what, list(rows[at : at + self.width]))
      opened.append((shard, free))
    return opened

  def grow(self, each: int) -> None:
    """At least so many places on each shard."""
    for entries in self._of:
      entries += [_Entry() for _ in range(each - len(entries))]

  def leave(self, row: int) -> None:
    """The row has ended."""
    for entry in (entry for entries in self._of for entry in entries):
      if row in entry.rows:
        entry.rows.remove(row)

  def number(self, place: tuple[int, int]) -> int:
    """The number of a place on all shards."""
    return place[0] * self.each + place[1]

  def tables(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """`members_GR` and `places_B` of `kv_cache.Prompts`, of so many rows."""
    members_GR = np.full((self.each * len(self._of), self.width), rows, np.int32)
    places_B = np.zeros(rows, np.int32)
    for number, entry in enumerate(entry for entries in self._of for entry in entries):
      members_GR[number, : len(entry.rows)] = entry.rows
      places_B[entry.rows] = number * self.width + np.arange(len(entry.rows))
    return members_GR, places_B

  def picked(self, rows: Sequence[int]) -> list[int]:
    """Keeps these rows alone, under their new numbers, and half of the places as often as they do; their numbers
    before. Of one shard."""
    (entries,) = self._of
    kept = sorted(range(len(entries)), key=lambda k: not entries[k].rows)
    many = sum(bool(entry.rows) for entry in entries)
    while len(kept) % 2 == 0 and len(kept) // 2 >= max(1, many):
      kept = kept[: len(kept) // 2]
    number = {row: i for i, row in enumerate(rows)}
    self._of = [[_Entry(entries[k].what, [number[row] for row in entries[k].rows]) for k in kept]]
    return kept
