"""Rows on disk, read one at a time or by number: no step of preparation holds a file in memory."""

from collections.abc import Iterator, Sequence
import json
import mmap
from typing import Any, NamedTuple, overload

import numpy as np

Row = dict[str, Any]


class Range(NamedTuple):
  """Neighbouring rows of a file: the number of the range and of its first row, and where their bytes begin and end."""

  number: int
  first: int
  start: int
  end: int


def read(path: str, range_: Range) -> Iterator[Row]:
  """The rows of a range."""
  with open(path, "rb") as f:
    f.seek(range_.start)
    while f.tell() < range_.end:
      yield json.loads(f.readline())


class Rows(Sequence[Row]):
  """The rows of a file of JSON lines that this room wrote, in their order; each look reads the disk.

  Iterating gives a stream, again at every call; `rows[i]` is one row, `rows[a:b]` a list.
  """

  def __init__(self, path: str):
    self.path = path
    self._starts: np.ndarray | None = None
    self._bytes: mmap.mmap | None = None

  def __iter__(self) -> Iterator[Row]:
    with open(self.path, "rb") as f:
      for line in f:
        yield json.loads(line)

  def __len__(self) -> int:
    return len(self._offsets()) - 1

  @overload
  def __getitem__(self, index: int) -> Row: ...

  @overload
  def __getitem__(self, index: slice) -> list[Row]: ...

  def __getitem__(self, index: int | slice) -> Row | list[Row]:
    if isinstance(index, slice):
      return [self[i] for i in range(*index.indices(len(self)))]
    starts = self._offsets()
    at = index if index >= 0 else len(self) + index
    if not 0 <= at < len(self):
      raise IndexError(index)
    if self._bytes is None:
      with open(self.path, "rb") as f:
        self._bytes = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
    return json.loads(self._bytes[int(starts[at]) : int(starts[at + 1])])

  def ranges(self, size: int) -> list[Range]:
    """All rows, so many to a range."""
    starts, count = self._offsets(), len(self)
    firsts = range(0, count, size)
    return [Range(n, i, int(starts[i]), int(starts[min(i + size, count)])) for n, i in enumerate(firsts)]

  def _offsets(self) -> np.ndarray:
    """Where each row begins, and where the last one ends."""
    if self._starts is None:
      with open(self.path, "rb") as f:
        lengths = np.fromiter((len(line) for line in f), np.int64)
      self._starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return self._starts
