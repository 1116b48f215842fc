"""Tokenised sources, addressed by their content: data, tokenizer, template, rendering, version.

A source's folder holds `rows.arrayrecord` (see `records`; of many rows there are several, see `shards`), `lengths.npy`
(positions of each), and `manifest.json` with the schema of the records and with counts, drops and truncations by
reason; for a model that takes images also `images.arrayrecord` (8-bit pixels, a record for each row) and
`image_counts.npy`; of groups `repeated_lengths.npy`, `members.npy` (how many each has) and `starts.npy` (the first id
with weight of the first one) too. It is renamed into place when whole.
"""

import abc
import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import numpy as np
from array_record.python import array_record_data_source

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import log
from itune_jax.core import pack
from itune_jax.data import converting
from itune_jax.data import cutting
from itune_jax.data import fields
from itune_jax.data import growth
from itune_jax.data import mixture as mixture_lib
from itune_jax.data import records
from itune_jax.data import shards
from itune_jax.data import spreading
from itune_jax.data import workers
from itune_jax.data.readers import readers
from itune_jax.data.readers import streams
from itune_jax.data.render import answer_groups
from itune_jax.data.render import beside
from itune_jax.data.render import images as images_lib
from itune_jax.data.render import chat
from itune_jax.data.render import tokenizer as tokenizer_lib


def source_key(source: mixture_lib.Source, renderer: chat.Renderer) -> str:
  """The address of a tokenised source."""
  own = source.digest(renderer.images is not None), renderer.tokenizer_digest, renderer.digest()
  beside_them = (f"groups {records.GROUPS_VERSION}",) if source.format in readers.COMPARED else ()
  beside_them += (f"beside {beside.VERSION}",) if source.is_taught else ()
  parts = (*own, f"reading {readers.VERSION}", f"records {records.VERSION}", *beside_them)
  return hashlib.sha256("".join(parts).encode()).hexdigest()[:24]


def mixture_key(mixture: mixture_lib.Mixture, renderer: chat.Renderer) -> str:
  """The address of a prepared mixture: its sources and how they mix."""
  mixing = [
    mixture.rates,
    mixture.cap,
    mixture.temperature,
    mixture.bad_rows,
    [(s.rate, source_key(s, renderer)) for s in mixture.sources],
  ]
  return hashlib.sha256(json.dumps(mixing).encode()).hexdigest()[:24]


def mixture_file(root: str, key: str) -> str:
  """Where a prepared mixture's manifest stands."""
  return os.path.join(root, "mixtures", f"{key}.json")


def source_folder(root: str, key: str) -> str:
  """Where a tokenised source stands."""
  return os.path.join(root, "tokenised", key)


class Progress(Protocol):
  """Hears how far a source is: rows that are done, and about how many there are, None where nobody knows."""

  def __call__(self, done: int, total: float | None) -> None: ...


Spread = Callable[[spreading.Job], None]  # has all shards of a job written


def write_source(
  root: str,
  mixture: mixture_lib.Mixture,
  source: mixture_lib.Source,
  renderer: chat.Renderer,
  rows: Iterable[readers.Row] | None = None,
  progress: Progress = lambda done, total: None,
  teachers: Callable[[str], chat.Renderer] | None = None,
  pool: workers.Pool | None = None,
  cut: shards.Cut = shards.Cut(),
  spread: Spread | None = None,
) -> dict[str, Any]:
  """Renders and stores one source; returns its manifest. A source that is already there is not read again, one that was
  begun is gone on with, and one whose file has grown begins with what is there of it.

  rows: in place of the source's own. teachers: opens the renderer of a source's `teacher`, "" for the student's own
  model. pool: who converts, this process where there is none. cut: how rows are cut into work, of which no byte of a
  record depends. spread: writes the shards in place of the pool, on any machines.

  Raises InputError naming file and line of a bad row under the policy "refuse", or when no row is left.
  """
  key = source_key(source, renderer)
  folder = source_folder(root, key)
  with files.locked(folder):
    if not os.path.exists(os.path.join(folder, "manifest.json")):
      teacher = teachers(source.teacher) if source.is_taught and teachers is not None else renderer
      writing = _Writing(mixture, source, renderer, teacher, progress, pool or workers.Pool(1), cut, spread)
      with files.whole_folder(folder, goes_on=True) as partial:
        writing.write(root, partial, key, rows)
      growth.note(root, source, renderer, key, folder)
  manifest = files.read_json(os.path.join(folder, "manifest.json"))
  if mixture.bad_rows == "refuse" and manifest["dropped_rows"]:  # prepared before, under the other policy
    raise spreading.refused(manifest["dropped_rows"][0])
  return manifest


@dataclasses.dataclass
class _Writing:
  """The writing of one source."""

  mixture: mixture_lib.Mixture
  source: mixture_lib.Source
  renderer: chat.Renderer
  teacher: chat.Renderer
  progress: Progress
  pool: workers.Pool
  cut: shards.Cut
  spread: Spread | None

  def write(self, root: str, folder: str, key: str, rows: Iterable[readers.Row] | None) -> None:
    """Writes all files of the folder."""
    reading, entries = self._entries(rows)
    convert, entries = self._converter(reading, entries)
    opened = lambda: shards.Store(folder, convert.schema, self.renderer.images is not None, self.cut.shard)
    store = opened()
    try:
      if not store.read and (earlier := growth.earlier(root, self.source, self.renderer, self.cut)):
        store.adopt(earlier)
      if store.read:
        log.info(f"source {self.source.name}: {store.read:,} rows are there already")
      if self.spread is None or rows is not None:
        self._fill(store, convert, entries)
      else:
        store.abandon()
        self._spread(folder, convert)
        store = opened()
        self.progress(store.read, store.read)
    except BaseException:
      store.abandon()
      raise
    lengths = store.close()
    if not len(lengths):
      raise readers.no_row(self.source.name, self.source.path, store.tally.reasons)
    files.write_json(os.path.join(folder, "manifest.json"), self._manifest(key, store, convert, int(lengths.max())))

  def _entries(self, rows: Iterable[readers.Row] | None) -> tuple[converting.Reading, Iterator[converting.Entry]]:
    """How the rows of the source are read, and they: as they stand in files, or as they were read."""
    source = self.source
    if rows is not None or not source.is_of_files:
      return converting.Reading(), iter(source.rows() if rows is None else rows)
    readers.require(source.format)
    how = readers.How(source.format, dict(source.columns), source.split_of.column)
    return converting.Reading(how, source.provenance, source.split_of, source.take), readers.raws(source.path)

  def _converter(self, reading, entries) -> tuple[converting.Converter, Iterator[converting.Entry]]:
    """What makes records of the rows, and the rows again. Answers that are compared become groups."""
    if self.source.is_taught:
      how: dict[str, Any] = dict(kind="taught", teacher=self.teacher, context=self.source.context)
      return converting.Converter(reading, self.renderer, converting.TAUGHT, **how), entries
    if self.source.format not in readers.COMPARED:
      return converting.Converter(reading, self.renderer, records.Schema()), entries
    first, entries = converting.first_example(reading, entries)
    schema = records.Schema(answer_groups.columns_of(first), grouped=True)
    return converting.Converter(reading, self.renderer, schema, kind="compared"), entries

  def _fill(self, store: shards.Store, convert: converting.Converter, entries: Iterator[converting.Entry]) -> None:
    """Converts what is not there yet."""
    meter = cutting.Meter(self.source if self.source.is_of_files else None)
    blocks = cutting.blocks(entries, store.read, self.cut, meter)
    pool = self.pool if self.renderer.images is None else workers.Pool(1)  # pixels are more than what they are made of
    for block, done in pool.map(convert, blocks):
      if done.named and (twice := store.twice(block, done.named)):
        fixed = [one._replace(value=fields.BadRow(twice[i])) if i in twice else one for i, one in enumerate(block)]
        done = convert(fixed)
      if self.mixture.bad_rows == "refuse" and done.tally.listed:
        raise spreading.refused(done.tally.listed[0])
      store.add(block, done)
      self.progress(store.read, meter.total())

  def _spread(self, folder: str, convert: converting.Converter) -> None:
    """Has the shards written that are not there."""
    assert self.spread is not None
    source, found = self.source, ()
    if source.is_of_files:
      check.require(source.path != streams.STDIN, f"source {source.name}: standard input is read by one process alone")
      found = tuple(readers.files(source.path))
    job = spreading.Job(folder, source, found, convert, self.cut, self.mixture.bad_rows == "refuse")
    self.spread(job)
    spreading.finish(job)

  def _manifest(self, key: str, store: shards.Store, convert: converting.Converter, longest: int) -> dict[str, Any]:
    source, renderer, tally = self.source, self.renderer, store.tally
    return {
      "record": convert.schema.to_json(),
      "name": source.name,
      "path": source.path,
      "key": key,
      "kind": source.kind,
      "licence": source.licence,
      **tally.to_json(),
      "schemas": tally.schemas(),
      "notes": tally.notes(source.name, renderer.config.max_length),
      "rendering": dataclasses.asdict(renderer.config),
      "render_version": chat.RENDER_VERSION,
      "chat_template_sha256": tokenizer_lib.template_digest(renderer.tokenizer),
      "tokenizer_sha256": renderer.tokenizer_digest,
      "longest": longest,
      "images": dataclasses.asdict(renderer.images.scale) if renderer.images else None,
    }


class Examples(abc.ABC):
  """Random access to tokenised examples by index, and what packing must know of them without reading them."""

  schema: records.Schema = records.Schema()
  scale: images_lib.Scale | None = None  # of their images

  @property
  @abc.abstractmethod
  def lengths(self) -> np.ndarray:
    """Positions of each."""

  @property
  def repeated_lengths(self) -> np.ndarray:
    """Positions of each where the members of a group repeat their prompt."""
    return self.lengths

  @property
  def image_counts(self) -> np.ndarray:
    """How many images each has."""
    return np.zeros(len(self), np.int32)

  def __len__(self) -> int:
    return len(self.lengths)

  @abc.abstractmethod
  def __getitem__(self, index: int) -> pack.Item | pack.Group:
    """An example."""


class CachedSource(Examples):
  """The examples of a source's folder. Raises InputError where there is none, or records of another version."""

  def __init__(self, folder: str):
    if not os.path.exists(os.path.join(folder, "manifest.json")):
      raise errors.InputError(f"{folder}: no tokenised source there; run itune prepare")
    self.folder = folder
    self.manifest = files.read_json(os.path.join(folder, "manifest.json"))
    self.schema = records.schema(self.manifest, folder)
    self._reader = self._opened("rows")
    self._images = None
    if self.manifest.get("images"):
      self.scale = check.rebuild(images_lib.Scale, self.manifest["images"])
      self._images = self._opened("images")

  def _opened(self, name):
    return array_record_data_source.ArrayRecordDataSource(shards.paths(self.folder, name))

  @functools.cached_property
  def lengths(self) -> np.ndarray:
    """Positions of each."""
    return np.load(os.path.join(self.folder, "lengths.npy"))

  @functools.cached_property
  def repeated_lengths(self) -> np.ndarray:
    """Positions of each where the members of a group repeat their prompt."""
    return np.load(os.path.join(self.folder, "repeated_lengths.npy")) if self.schema.grouped else self.lengths

  def of_groups(self, name: str) -> np.ndarray:
    """What is stored of each group under `members` or `starts`. Raises InputError where it is not."""
    path = os.path.join(self.folder, f"{name}.npy")
    if not os.path.exists(path):
      raise errors.InputError(f"{self.folder}: no {name} of groups there: remove the folder and prepare again")
    return np.load(path)

  @functools.cached_property
  def image_counts(self) -> np.ndarray:
    """How many images each has."""
    return super().image_counts if self._images is None else np.load(os.path.join(self.folder, "image_counts.npy"))

  def __getitem__(self, index: int) -> pack.Item | pack.Group:
    example = self.schema.decode(self._reader[int(index)])
    if self.scale is None or self._images is None or not self.image_counts[index]:
      return example
    pixels = np.frombuffer(self._images[int(index)], np.uint8).reshape(-1, self.scale.size, self.scale.size, 3)
    if isinstance(example, pack.Group):
      raise errors.InputError(f"{self.folder}: groups with images are not read yet")
    return example._replace(images=self.scale(pixels))
