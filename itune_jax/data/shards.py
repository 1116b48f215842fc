"""The records of a source while they are written: shard by shard, so that what is written stays written.

A shard holds what `rows` raw rows of the source became. Beside its records stand its counts (`shards/00003.json`) and
its figures (`shards/00003.npz`), which appear when it is whole. So a preparation that was killed goes on behind the
last whole shard, and the cache of a file that has grown begins with the shards of the cache before: by the same rule
the bytes are those of a cache that is written at one go.
"""

import array
import dataclasses
import json
import os
import shutil
import socket
from collections.abc import Sequence
from typing import Any

import numpy as np
from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]

from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.data import records
from itune_jax.data import tally as tally_lib
from itune_jax.data.readers import readers
from itune_jax.data.readers import row_ids

_OPTIONS = "group_size:1"
_FIGURES = ("lengths", "repeated_lengths", "members", "starts", "image_counts")
STATES = "shards"
ASIDE = ".aside"  # ends the name of a file that is not whole


class Store:
  """Takes what blocks of rows became, in order.

  tally: of all so far; read: how many raw rows they were; examples: how many of these are examples."""

  def __init__(self, folder: str, schema: records.Schema, with_images: bool, rows: int, only: int | None = None):
    """folder: where the shards stand; whole ones that are there count as written. rows: raw rows of a shard. only: the
    shard that is written by itself, while others write those beside it."""
    self._folder, self._schema, self._rows = folder, schema, rows
    self._names = ("rows", "images") if with_images else ("rows",)
    # A runner may give one shard to two processes: each has files of its own until it is whole.
    self._aside = "" if only is None else f".{socket.gethostname()}-{os.getpid()}{ASIDE}"
    self._writers: dict[str, Any] = {}
    self._figures = [array.array("i") for _ in _FIGURES]
    self._ids = row_ids.Ids()
    self.tally, self.read, self.examples, self._shard = tally_lib.Tally(), 0, 0, only or 0
    if only is None:
      self._require_cut()
    while only is None and os.path.exists(self._state(self._shard, "json")):
      self._take_up(self._load(self._shard))
      self._shard += 1
    self._begin()

  def _require_cut(self) -> None:
    """Begins anew where shards of another size were begun."""
    first = self._state(0, "json")
    if os.path.exists(first) and files.read_object(first)["of"] != self._rows:
      shutil.rmtree(self._folder)
    os.makedirs(os.path.join(self._folder, STATES), exist_ok=True)

  def _state(self, shard: int, ending: str, folder: str = "") -> str:
    return os.path.join(folder or self._folder, STATES, f"{shard:05}.{ending}")

  def _load(self, shard: int, folder: str = "") -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with np.load(self._state(shard, "npz", folder)) as found:
      return files.read_object(self._state(shard, "json", folder)), dict(found)

  def _take_up(self, loaded: tuple[dict[str, Any], dict[str, np.ndarray]]) -> None:
    """Adds the counts and figures of a shard."""
    state, figures = loaded
    self.tally.add(tally_lib.Tally.of(state["tally"]))
    self.read += state["read"]
    self.examples += state["examples"]
    for mine, name in zip(self._figures, _FIGURES, strict=True):
      mine.frombytes(figures[name].astype(np.int32).tobytes())
    before = self._ids.digests() if state["file"] == self._ids.file else np.zeros(0, np.uint64)
    self._ids = row_ids.Ids(state["file"], np.concatenate([before, figures["ids"]]))

  def _begin(self) -> None:
    """A shard from here on."""
    self._own, self._own_read, self._own_examples = tally_lib.Tally(), 0, 0
    self._from, self._new_ids = len(self._figures[0]), array.array("Q")
    self._ends_whole = True

  def twice(self, block: Sequence[Any], named: Sequence[str]) -> dict[int, str]:
    """Rows of a block that are none since an earlier one of the file has their id, and why."""
    found = {}
    for i, (raw, one) in enumerate(zip(block, named, strict=True)):
      if raw.file != self._ids.file:
        self._new_ids = array.array("Q")
      why = self._ids.twice(raw.file, one)
      if why:
        found[i] = why
      elif one:
        self._new_ids.append(row_ids.digest(one))
    return found

  def add(self, block: Sequence[Any], done: tally_lib.Done) -> None:
    """Writes what a block became. Raises what its conversion raised."""
    for record in done.records:
      self._writer("rows").write(record)
    for pixels in done.images or ():
      self._writer("images").write(pixels)
    for mine, values in zip(self._figures, zip(*done.figures, strict=True), strict=False):
      mine.extend(values)
    self.tally.add(done.tally)
    self._own.add(done.tally)
    self.read, self._own_read = self.read + len(block), self._own_read + len(block)
    self.examples, self._own_examples = self.examples + done.examples, self._own_examples + done.examples
    last = block[-1]
    self._ends_whole = isinstance(last, readers.Raw) and isinstance(last.value, str)
    if done.error is not None:
      raise done.error
    if self._own_read >= self._rows:
      self._end()

  def _writer(self, name: str) -> Any:
    if name not in self._writers:
      self._writers[name] = array_record_module.ArrayRecordWriter(self._path(name, self._shard) + self._aside, _OPTIONS)
    return self._writers[name]

  def _path(self, name: str, shard: int) -> str:
    return os.path.join(self._folder, f"{name}-{shard:05}.arrayrecord")

  def _end(self) -> None:
    """Ends the shard: from here on it counts."""
    for name in self._names:
      self._writer(name).close()
      if self._aside:
        os.replace(self._path(name, self._shard) + self._aside, self._path(name, self._shard))
    self._writers = {}
    own = {name: np.asarray(mine[self._from :], np.int32) for mine, name in zip(self._figures, _FIGURES, strict=True)}
    np.savez(self._state(self._shard, "npz"), ids=np.asarray(self._new_ids, np.uint64), **own)  # pyright: ignore[reportArgumentType]
    state = {"read": self._own_read, "examples": self._own_examples, "tally": self._own.state()}
    more = {"file": self._ids.file, "ends_whole": self._ends_whole, "of": self._rows}
    files.write_text(self._state(self._shard, "json"), json.dumps({**state, **more}))
    self._shard += 1
    self._begin()

  def adopt(self, folder: str) -> None:
    """Takes over the shards of a whole cache, whose source this one begins with: whole ones as they are, the records of
    the last one to be gone on with."""
    shards = 0
    while os.path.exists(self._state(shards, "json", folder)):
      shards += 1
    for shard in range(shards):
      state, figures = self._load(shard, folder)
      if state["read"] == self._rows:
        self._link(folder, shard, shards)
      else:
        self._copy(folder, shard, shards)
        self._own.add(tally_lib.Tally.of(state["tally"]))
        self._own_read, self._own_examples = state["read"], state["examples"]
        self._new_ids = array.array("Q", figures["ids"].tolist())
      self._take_up((state, figures))
      if state["read"] == self._rows:
        self._shard += 1
        self._begin()

  def _link(self, folder: str, shard: int, of: int) -> None:
    for name in self._names:
      _same(os.path.join(folder, file_name(name, shard, of)), self._path(name, shard))
    for ending in ("npz", "json"):
      shutil.copyfile(self._state(shard, ending, folder), self._state(shard, ending))

  def _copy(self, folder: str, shard: int, of: int) -> None:
    for name in self._names:
      reader = array_record_module.ArrayRecordReader(os.path.join(folder, file_name(name, shard, of)))
      for at in range(0, reader.num_records(), 1024):
        for record in reader.read(at, min(at + 1024, reader.num_records())):
          self._writer(name).write(record)
      reader.close()

  def end(self) -> None:
    """Ends the shard that is written by itself."""
    if self._own_read:
      self._end()

  def close(self) -> np.ndarray:
    """Ends the files, which have their last names then; returns the positions of each record."""
    if self._own_read or not self._shard:
      self._end()
    for name in self._names:
      for shard in range(self._shard):
        if os.path.exists(self._path(name, shard)):  # else a process that was killed came as far
          os.rename(self._path(name, shard), os.path.join(self._folder, file_name(name, shard, self._shard)))
    lengths, *others = (np.asarray(one, np.int32) for one in self._figures)
    self._save("lengths", lengths)
    if self._schema.grouped:
      for name, values in zip(("repeated_lengths", "members", "starts"), others, strict=False):
        self._save(name, values)
    if "images" in self._names:
      self._save("image_counts", others[-1])
    return lengths

  def _save(self, name: str, values: np.ndarray) -> None:
    np.save(os.path.join(self._folder, f"{name}.npy"), values)

  def abandon(self) -> None:
    """Closes the files of a shard that does not count."""
    for writer in self._writers.values():
      writer.close()
    self._writers = {}


def file_name(name: str, shard: int, of: int) -> str:
  """What a shard's file is called: one that is alone has no number."""
  return f"{name}.arrayrecord" if of == 1 else f"{name}-{shard:05}-of-{of:05}.arrayrecord"


def is_whole(folder: str, shard: int) -> bool:
  """Whether a shard of a cache that is not whole yet is there."""
  return os.path.exists(os.path.join(folder, STATES, f"{shard:05}.json"))


def paths(folder: str, name: str) -> list[str]:
  """The files of records of a whole cache, in order. Raises InputError where some are missing."""
  alone = os.path.join(folder, file_name(name, 0, 1))
  if os.path.exists(alone):
    return [alone]
  found = sorted(one for one in files.names(folder) if one.startswith(f"{name}-") and one.endswith(".arrayrecord"))
  if not found or found != [file_name(name, i, len(found)) for i in range(len(found))]:
    raise errors.InputError(f"{folder}: files of its {name} are missing: remove the folder and prepare again")
  return [os.path.join(folder, one) for one in found]


def last_state(folder: str) -> dict[str, Any] | None:
  """What is known of the last shard of a whole cache; None of a cache that an earlier version wrote."""
  states = [one for one in files.names(os.path.join(folder, STATES)) if one.endswith(".json")]
  return files.read_object(os.path.join(folder, STATES, states[-1])) if states else None


def examples(folder: str) -> int | None:
  """How many rows of a cache's source are examples; None where an earlier version wrote it."""
  states = [one for one in files.names(os.path.join(folder, STATES)) if one.endswith(".json")]
  counts = [files.read_object(os.path.join(folder, STATES, one))["examples"] for one in states]
  return sum(counts) if counts else None


def _same(source: str, target: str) -> None:
  """The same file under another name, or a copy where the disk knows no second names."""
  try:
    os.link(source, target)
  except OSError:
    shutil.copyfile(source, target)


@dataclasses.dataclass(frozen=True)
class Cut:
  """How rows are cut into work: raw rows of a block, and of a shard."""

  block: int = 1024
  shard: int = 1 << 16
