"""Rows of a source in blocks, which is what they are converted in; and how far a source was read."""

import os
from collections.abc import Iterator

from itune_jax.core import files
from itune_jax.data import converting
from itune_jax.data import mixture as mixture_lib
from itune_jax.data import shards
from itune_jax.data.readers import readers
from itune_jax.data.readers import streams

_BLOCK_CHARS = 4 << 20  # of the text of a block of rows


class Meter:
  """How many rows were read, and about how many there are: as many more as bytes are left."""

  def __init__(self, source: mixture_lib.Source | None):
    """source: whose files' sizes tell; None where nothing does."""
    self.read, self._file = 0, ""
    self._before: dict[str, int] = {}  # bytes in front of each file
    self._through: dict[str, int] = {}  # and through its end
    self._bytes = 0
    for file in readers.files(source.path) if source is not None and source.path != streams.STDIN else ():
      self._before[file] = self._bytes
      self._bytes += 0 if files.is_remote(file) else os.path.getsize(file)
      self._through[file] = self._bytes

  def pass_by(self, number: int, entry: converting.Entry) -> None:
    """So many rows were read, this one last."""
    self.read, self._file = number, entry.file

  def total(self) -> float | None:
    """About how many there are."""
    at = streams.position(self._file)
    passed = self._through.get(self._file, 0) if at is None else self._before.get(self._file, 0) + at
    return self.read * self._bytes / passed if self._bytes and passed else None


def blocks(
  entries: Iterator[converting.Entry], start: int, cut: shards.Cut, meter: Meter
) -> Iterator[list[converting.Entry]]:
  """The rows behind the first `start`, in blocks of which none reaches over the end of a shard."""
  block: list[converting.Entry] = []
  size = 0
  for number, entry in enumerate(entries, 1):
    if number <= start:
      continue
    block.append(entry)
    size += len(entry.value) if isinstance(entry, readers.Raw) and isinstance(entry.value, str) else 0
    if len(block) >= cut.block or size > _BLOCK_CHARS or number % cut.shard == 0:
      meter.pass_by(number, entry)
      yield block
      block, size = [], 0
  if block:
    yield block
