"""Tokenised sources, addressed by their content: data, tokenizer, template, rendering, version.

A source's folder holds `rows.arrayrecord` (see `records`), `lengths.npy` (positions of each), and `manifest.json`
with the schema of the records and with counts, drops and truncations by reason; for a model that takes images also
`images.arrayrecord` (8-bit pixels, a record for each row) and `image_counts.npy`; of groups `repeated_lengths.npy`,
`members.npy` (how many each has) and `starts.npy` (the first id with weight of the first one) too.
It is renamed into place when whole.
"""

import abc
import collections
import dataclasses
import functools
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from array_record.python import (
  array_record_data_source,
  array_record_module,  # pyright: ignore[reportAttributeAccessIssue]
)

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import jsontext
from itune_jax.core import pack
from itune_jax.data import example as example_lib
from itune_jax.data.render import images as images_lib
from itune_jax.data.render import answer_groups
from itune_jax.data.render import beside
from itune_jax.data import mixture as mixture_lib
from itune_jax.data import records
from itune_jax.data.readers import readers
from itune_jax.data.render import chat
from itune_jax.data.render import tokenizer as tokenizer_lib

LISTED_PROBLEMS = 1000
SHOWN = 2000  # characters of an example in a manifest


def source_key(source: mixture_lib.Source, renderer: chat.Renderer) -> str:
  """The address of a tokenised source."""
  own = source.digest(renderer.images is not None), tokenizer_lib.digest(renderer.tokenizer), renderer.digest()
  beside_them = (f"groups {records.GROUPS_VERSION}",) if source.format in readers.COMPARED else ()
  beside_them += (f"beside {beside.VERSION}",) if source.is_taught else ()
  parts = (*own, f"records {records.VERSION}", *beside_them)
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


def write_source(
  root: str,
  mixture: mixture_lib.Mixture,
  source: mixture_lib.Source,
  renderer: chat.Renderer,
  rows: Iterable[readers.Row],
  progress: Callable[[], None] = lambda: None,
  teachers: Callable[[str], chat.Renderer] | None = None,
) -> dict[str, Any]:
  """Renders and stores one source; returns its manifest. A source that is already there is not read again.

  teachers: opens the renderer of a source's `teacher`, "" for the student's own model.

  Raises InputError naming file and line of a bad row under the policy "refuse", or when no row is left.
  """
  key = source_key(source, renderer)
  folder = source_folder(root, key)
  with files.locked(folder):
    if not os.path.exists(os.path.join(folder, "manifest.json")):
      teacher = teachers(source.teacher) if source.is_taught and teachers is not None else renderer
      _write_source(folder, key, mixture, source, renderer, rows, progress, teacher)
  manifest = files.read_json(os.path.join(folder, "manifest.json"))
  if mixture.bad_rows == "refuse" and manifest["dropped_rows"]:  # prepared before, under the other policy
    first = manifest["dropped_rows"][0]
    raise errors.InputError(f"{first['file']}:{first['line']}: {first['reason']}")
  return manifest


def _write_source(folder, key, mixture, source, renderer, rows, progress, teacher):
  with files.whole_folder(folder) as partial:
    rows, make, schema = _conversion(source, rows, renderer, teacher)
    tally, store = _Tally(mixture.bad_rows), Writer(partial, schema, with_images=renderer.images is not None)
    for row in rows:
      progress()
      for example, truncated in tally.convert(row, make):
        store.write(example, () if isinstance(example, pack.Group) else example.images or ())
        tally.count(example, truncated)
    lengths = store.close()
    if not lengths:
      raise readers.no_row(source.name, source.path, tally.reasons)
    manifest = {
      "record": store.schema.to_json(),
      "name": source.name,
      "path": source.path,
      "key": key,
      "kind": source.kind,
      "licence": source.licence,
      **tally.to_json(),
      "schemas": tally.schemas(renderer),
      "notes": tally.notes(source.name, renderer.config.max_length),
      "rendering": dataclasses.asdict(renderer.config),
      "render_version": chat.RENDER_VERSION,
      "chat_template_sha256": hashlib.sha256(str(renderer.tokenizer.chat_template).encode()).hexdigest(),
      "tokenizer_sha256": tokenizer_lib.digest(renderer.tokenizer),
      "longest": int(max(lengths)),
      "images": dataclasses.asdict(renderer.images.scale) if renderer.images else None,
    }
    files.write_json(os.path.join(partial, "manifest.json"), manifest)


Converted = Sequence[tuple[pack.Item | pack.Group, bool]]  # what a row becomes, and of each whether something was cut


def _conversion(
  source: mixture_lib.Source, rows: Iterable[readers.Row], renderer: chat.Renderer, teacher: chat.Renderer
) -> tuple[Iterable[readers.Row], Callable[[example_lib.Example], Converted], records.Schema]:
  """The rows again, what each becomes, and the schema of the records. Answers that are compared become groups."""
  if source.is_taught:
    both = lambda example: [beside.render(renderer, teacher, example, source.context)]
    return rows, both, records.Schema((beside.AHEAD, beside.STRETCH), grouped=True)
  if source.format not in readers.COMPARED:
    single = lambda example: [(_trim(one, renderer.images), one.truncated) for one in renderer.render(example)]
    return rows, single, records.Schema()
  rows, seen = iter(rows), []
  for row in rows:
    seen.append(row)
    if row.example is not None:
      break
  columns = answer_groups.columns_of(seen[-1].example if seen else None)
  group = lambda example: [answer_groups.render(renderer, example, columns)]
  return itertools.chain(seen, rows), group, records.Schema(columns, grouped=True)


class Writer:
  """Writes the records of a source into a folder, one by one; the manifest, with the schema, is the caller's."""

  def __init__(self, folder: str, schema: records.Schema = records.Schema(), with_images: bool = False):
    self.schema, self._folder = schema, folder
    self._rows = self._writer("rows")
    self._images = self._writer("images") if with_images else None
    self._lengths: list[int] = []
    self._repeated: list[int] = []
    self._counts: list[int] = []
    self._members: list[int] = []
    self._starts: list[int] = []

  def _writer(self, name):
    return array_record_module.ArrayRecordWriter(os.path.join(self._folder, f"{name}.arrayrecord"), "group_size:1")

  def write(self, example: pack.Item | pack.Group, images: Sequence[np.ndarray] = ()) -> None:
    """Adds one example, or one group. images: 8-bit pixels [H, W, 3] of each of its images."""
    self._rows.write(self.schema.encode(example))
    group = example if isinstance(example, pack.Group) else pack.Group((example,))
    self._lengths.append(group.positions)
    self._repeated.append(group.repeated().positions)
    self._members.append(len(group.items))
    self._starts.append(pack.first_weight(group.items[0].weights))
    if self._images is not None:
      self._images.write(b"".join(image.tobytes() for image in images))
      self._counts.append(len(images))

  def close(self) -> list[int]:
    """Ends the files; returns the positions of each example."""
    self._rows.close()
    self._save("lengths", self._lengths)
    if self.schema.grouped:
      self._save("repeated_lengths", self._repeated)
      self._save("members", self._members)
      self._save("starts", self._starts)
    if self._images is not None:
      self._images.close()
      self._save("image_counts", self._counts)
    return self._lengths

  def _save(self, name, values):
    np.save(os.path.join(self._folder, f"{name}.npy"), np.asarray(values, np.int32))


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
    return array_record_data_source.ArrayRecordDataSource(os.path.join(self.folder, f"{name}.arrayrecord"))

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


class _Tally:
  """Counts of a source, by reason."""

  def __init__(self, policy: str):
    self._policy = policy
    self._count: collections.Counter[str] = collections.Counter()
    self.reasons: collections.Counter[str] = collections.Counter()  # why rows were dropped
    self._unread: collections.Counter[str] = collections.Counter()
    self._listed: list[dict[str, Any]] = []
    self._schemas: collections.Counter[str] = collections.Counter()
    self._first: dict[str, readers.Row] = {}  # a kept row of each schema

  def convert(self, row: readers.Row, make: Callable[[example_lib.Example], Converted]) -> Converted:
    """What the row becomes, or nothing and a reason on the books."""
    self._count["rows"] += 1
    try:
      if row.example is None:
        raise example_lib.BadRow(row.problem)
      found = make(row.example)
    except example_lib.BadRow as e:
      if self._policy == "refuse":
        raise errors.InputError(f"{row.file}:{row.line}: {e}") from None
      self._count["dropped"] += 1
      self.reasons[str(e)] += 1
      if len(self._listed) < LISTED_PROBLEMS:
        self._listed.append({"file": row.file, "line": row.line, "reason": str(e)})
      return []
    self._count["kept"] += 1
    self._count["cut"] += any(truncated for _, truncated in found)
    self._unread.update(set(map(jsontext.line, row.example.unread)))
    self._schemas[row.schema] += 1
    self._first.setdefault(row.schema, row)
    return found

  def count(self, example: pack.Item | pack.Group, truncated: bool) -> None:
    """Books one stored example, or one group."""
    group = example if isinstance(example, pack.Group) else pack.Group((example,))
    self._count["stored"] += 1
    self._count["tokens"] += group.positions
    self._count["trained_tokens"] += sum(int((item.weights[1:] != 0).sum()) for item in group.items)
    self._count["truncated"] += truncated
    for value in (item.columns.get("label") for item in group.items):
      if value is not None:
        self._count["wanted"] += int((np.asarray(value) > 0).sum())
        self._count["unwanted"] += int((np.asarray(value) < 0).sum())

  def schemas(self, renderer: chat.Renderer) -> list[dict[str, Any]]:
    """What rows were read as, how many, and one of each as the model reads it."""
    found = []
    for name, count in self._schemas.most_common():
      row = self._first[name]
      text = renderer.shown(row.example) if row.example is not None else ""
      shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
      found.append({"schema": name, "rows": count, "file": row.file, "line": row.line, "example": shown})
    return found

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
      "dropped_rows": self._listed,
      "unread_keys": dict(self._unread.most_common()),
      "labels": {name: self._count[name] for name in ("wanted", "unwanted")},
    }


def _trim(rendered: chat.Rendered, images: images_lib.Images | None) -> pack.Item:
  """Cuts what follows the last trained token, images included: nothing there can change the loss."""
  last = int(np.flatnonzero(rendered.weights)[-1])
  ids, weights = rendered.ids[: last + 1].astype(np.int32), rendered.weights[: last + 1].astype(np.float32)
  return pack.Item(ids, weights, rendered.images[: images.count(ids)] if images else None)
