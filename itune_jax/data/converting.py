"""Rows as records: a pure function of a block of rows, so that any process may do any block.

A row is converted by itself. What hangs on other rows (an id that an earlier one has, how many there are) is the
business of who puts the blocks together (`shards`).
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from itune_jax.core import pack
from itune_jax.data import example as example_lib
from itune_jax.data import records
from itune_jax.data import splits
from itune_jax.data.readers import readers
from itune_jax.data.render import answer_groups
from itune_jax.data.render import beside
from itune_jax.data.render import chat
from itune_jax.data.render import images as images_lib
from itune_jax.data.render import span_ids
from itune_jax.data.tally import Done

Entry = readers.Raw | readers.Row
Converted = Sequence[tuple[pack.Item | pack.Group, bool]]  # what a row becomes, and of each whether something was cut


@dataclasses.dataclass(frozen=True)
class Reading:
  """How raw rows are read. how: their format and columns. provenance: of those without any. split, take: which side of
  a split that no other row has a say in (`splits.Split.is_safe`)."""

  how: readers.How = readers.How()
  provenance: dict[str, Any] = dataclasses.field(default_factory=dict)
  split: splits.Split = splits.Split()
  take: str = "all"


@dataclasses.dataclass(frozen=True)
class Converter:
  """Makes records of rows.

  reading: how raw ones are read. kind: "single" conversations, "compared" answers, or conversations that are "taught",
  beside what a teacher reads. context: what that one is told in front.
  """

  reading: Reading
  renderer: chat.Renderer
  schema: records.Schema
  kind: str = "single"
  teacher: chat.Renderer | None = None
  context: str = ""

  def __call__(self, block: Sequence[Entry]) -> Done:
    """What the rows of a block become. What a row raises beside BadRow ends the work, and is given back."""
    done = Done(images=[] if self.renderer.images is not None else None)
    rows = list(splits.taken(lambda: self._read(block, done), self.reading.split, self.reading.take))
    examples = [row.example for row in rows if row.example is not None]
    done.examples = len(examples)
    begun = iter(self.renderer.begin(examples) if self.kind == "single" else [None] * len(examples))
    for row in rows:
      try:
        self._convert(row, None if row.example is None else next(begun), done)
      except Exception as e:  # said where the row's turn comes, by another process
        done.error = e
        break
    return done

  def _read(self, block: Sequence[Entry], done: Done) -> Iterable[readers.Row]:
    for one in block:
      if isinstance(one, readers.Row):
        yield one
        continue
      read = readers.rows_of(one, self.reading.how, self.reading.provenance)
      done.named.append(read.named)
      yield from read.rows

  def _convert(self, row: readers.Row, begun: span_ids.Begun | None, done: Done) -> None:
    if row.example is None:
      done.tally.drop(row, row.problem)
      return
    try:
      found = self._made(row.example, begun)
    except example_lib.BadRow as e:
      done.tally.drop(row, str(e))
      return
    done.tally.keep(row, any(truncated for _, truncated in found), self.renderer.shown)
    for example, truncated in found:
      self._store(example, truncated, done)

  def _made(self, example: example_lib.Example, begun: span_ids.Begun | None) -> Converted:
    if self.kind == "taught":
      assert self.teacher is not None
      return [beside.render(self.renderer, self.teacher, example, self.context)]
    if self.kind == "compared":
      return [answer_groups.render(self.renderer, example, self.schema.columns)]
    return [(_trim(one, self.renderer.images), one.truncated) for one in self.renderer.render(example, begun)]

  def _store(self, example: pack.Item | pack.Group, truncated: bool, done: Done) -> None:
    done.records.append(self.schema.encode(example))
    pixels = () if isinstance(example, pack.Group) else example.images or ()
    figures = figures_of(example, len(pixels))
    done.figures.append(figures)
    done.tally.store(example, figures[0], truncated)
    if done.images is not None:
      done.images.append(b"".join(image.tobytes() for image in pixels))


def figures_of(example: pack.Item | pack.Group, images: int = 0) -> tuple[int, int, int, int, int]:
  """Positions, those with repeated prompts, members, the first id with weight, and images of a record."""
  if isinstance(example, pack.Item):
    return len(example.ids) - 1, len(example.ids) - 1, 1, pack.first_weight(example.weights), images
  first = pack.first_weight(example.items[0].weights)
  return example.positions, example.repeated().positions, len(example.items), first, images


def first_example(reading: Reading, entries: Iterator[Entry]) -> tuple[example_lib.Example | None, Iterator[Entry]]:
  """The first row that is an example, and all rows again."""
  seen: list[Entry] = []
  for one in entries:
    seen.append(one)
    rows = [one] if isinstance(one, readers.Row) else readers.rows_of(one, reading.how, reading.provenance).rows
    taken = list(splits.taken(lambda rows=rows: rows, reading.split, reading.take))
    found = next((row.example for row in taken if row.example is not None), None)
    if found is not None:
      return found, itertools.chain(seen, entries)
  return None, iter(seen)


TAUGHT = records.Schema((beside.AHEAD, beside.STRETCH), grouped=True)


def _trim(rendered: chat.Rendered, images: images_lib.Images | None) -> pack.Item:
  """Cuts what follows the last trained token, images included: nothing there can change the loss."""
  last = int(np.flatnonzero(rendered.weights)[-1])
  ids, weights = rendered.ids[: last + 1].astype(np.int32), rendered.weights[: last + 1].astype(np.float32)
  return pack.Item(ids, weights, rendered.images[: images.count(ids)] if images else None)
