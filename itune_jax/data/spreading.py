"""The shards of a source, each written by itself: by any process of any machine that sees the data and the cache.

What a shard holds hangs on the rows before it in two ways alone: where it begins (`count` says how many rows each file
has), and which of its rows have the id of an earlier one (`named`, then `twice`). All else is what one process does
too: reading, conversion and the writing of records are the same functions, so the bytes are the same.
"""

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import kept_faults
from itune_jax.data import converting
from itune_jax.data import cutting
from itune_jax.data import fields
from itune_jax.data import mixture as mixture_lib
from itune_jax.data import shards
from itune_jax.data.readers import readers
from itune_jax.data.readers import row_ids

Named = tuple[str, tuple[int, str]]  # file and digest of an id as text, then the number of the row and the id
Twice = Mapping[int, str]  # rows of a shard that are none, by their number in the source, and why


@dataclasses.dataclass(frozen=True)
class Piece:
  """Rows of one file: its number, how many are passed over, and how many are taken."""

  file: int
  skip: int
  count: int


@dataclasses.dataclass(frozen=True)
class Part:
  """A shard and the rows that it is made of."""

  shard: int
  pieces: tuple[Piece, ...]


@dataclasses.dataclass(frozen=True)
class Job:
  """All that a process must know to write a shard of a source.

  folder: of the cache that is being written. files: of data, in order; () of a source whose rows are picked from all of
  them, which counts as one file. refuses: whether a bad row ends the work.
  """

  folder: str
  source: mixture_lib.Source
  files: tuple[str, ...]
  convert: converting.Converter
  cut: shards.Cut
  refuses: bool

  def entries(self, file: int) -> Iterator[converting.Entry]:
    """The rows of a file."""
    return readers.raws_of(self.files, file) if self.files else iter(self.source.rows())

  def rows(self, part: Part) -> Iterator[tuple[int, int, converting.Entry]]:
    """The rows of a shard, each with its number in the source and that of its file."""
    numbers = itertools.count(part.shard * self.cut.shard)
    for piece in part.pieces:
      for entry in itertools.islice(self.entries(piece.file), piece.skip, piece.skip + piece.count):
        yield next(numbers), piece.file, entry


def count(job: Job, file: int) -> tuple[int, int]:
  """The number of a file, and how many rows it has. What goes wrong is kept for `finish`."""
  found = 0
  with _kept(job, 0):
    found = sum(1 for _ in job.entries(file))
  return file, found


def parts(counts: Mapping[int, int], rows: int) -> Iterator[Part]:
  """The shards of a source, of so many rows each. counts: the rows of each file."""
  shard, room, pieces = 0, rows, []
  for file in sorted(counts):
    skip = 0
    while skip < counts[file]:
      taken = min(room, counts[file] - skip)
      pieces.append(Piece(file, skip, taken))
      skip, room = skip + taken, room - taken
      if not room:
        yield Part(shard, tuple(pieces))
        shard, room, pieces = shard + 1, rows, []
  if pieces:
    yield Part(shard, tuple(pieces))


def named(job: Job, part: Part) -> Iterator[Named]:
  """The ids of the rows of a shard."""
  reading = job.convert.reading
  with _kept(job, part.shard + 1):
    for number, file, entry in job.rows(part):
      found = readers.rows_of(entry, reading.how, {}).named if isinstance(entry, readers.Raw) else ""
      if found:
        yield f"{file} {row_ids.digest(found)}", (number, found)


def twice(job: Job, rows: Iterable[tuple[int, str]]) -> Iterator[tuple[int, tuple[int, str]]]:
  """Of the rows of one id all but the first: the shard of each, its number, and why it is none."""
  for number, one in sorted(rows)[1:]:
    yield number // job.cut.shard, (number, row_ids.twice(one))


def write(job: Job, part: Part, none: Twice) -> int:
  """Writes a shard, unless it is there; returns how many rows it is made of. What goes wrong is kept for `finish`.

  none: see `twice`."""
  if shards.is_whole(job.folder, part.shard):
    return 0
  with_images = job.convert.renderer.images is not None
  store = shards.Store(job.folder, job.convert.schema, with_images, job.cut.shard, only=part.shard)
  entries = (entry for _, _, entry in job.rows(part))
  at = part.shard * job.cut.shard
  with _kept(job, part.shard + 1):
    try:
      for block in cutting.blocks(entries, 0, job.cut, cutting.Meter(None)):
        _add(job, store, block, [none.get(at + store.read + i, "") for i in range(len(block))])
      store.end()
    except BaseException:
      store.abandon()
      raise
  return store.read


def _kept(job: Job, piece: int) -> contextlib.AbstractContextManager[None]:
  return kept_faults.kept(os.path.join(job.folder, shards.STATES), piece)


def _fixed(entry: converting.Entry, why: str) -> converting.Entry:
  return entry._replace(value=fields.BadRow(why)) if why and isinstance(entry, readers.Raw) else entry


def _add(job: Job, store: shards.Store, block: Sequence[converting.Entry], none: Sequence[str]) -> None:
  done = job.convert(list(map(_fixed, block, none)))
  if done.named:
    store.twice(block, done.named)  # keeps the ids; rows that have one twice name none by now
  if job.refuses and done.tally.listed:
    raise refused(done.tally.listed[0])
  store.add(block, done)


def refused(bad: Mapping[str, object]) -> errors.InputError:
  """What a bad row raises that is refused."""
  return errors.InputError(f"{bad['file']}:{bad['line']}: {bad['reason']}")


def finish(job: Job) -> None:
  """Raises what went wrong first, in the order of the rows. What processes left aside that were killed is removed."""
  for name in files.names(job.folder):
    if name.endswith(shards.ASIDE):
      os.remove(os.path.join(job.folder, name))
  kept_faults.raise_first(os.path.join(job.folder, shards.STATES))
