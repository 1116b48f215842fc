"""Columns that no source stores: the feed makes them of the examples of a source, by index alone.

`mismatch` puts beside each answer the answer to another prompt, of which KTO takes how far the policy went from the
reference. Whose answer that is hangs on the seed and the source alone: not on the order of examples, nor on what else
is in their batch. `end` puts weight on the end of each answer and nowhere else, where a reward is read.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
import zlib

import numpy as np

from itune_jax.core import check
from itune_jax.core import columns as columns_lib
from itune_jax.core import errors
from itune_jax.core import pack
from itune_jax.data import records
from itune_jax.data import tokenised

MISMATCH = columns_lib.Column("mismatch")  # 1 on an answer to another prompt
SOURCE = columns_lib.Column("source", "int32")  # the number of a row's source among those that have a teacher
END = columns_lib.Column("end")  # 1 on the id behind the last one of an answer


class _Made(tokenised.Examples):
  """The examples of a source with one more column."""

  column: columns_lib.Column

  def __init__(self, inner: tokenised.CachedSource):
    self._inner, self.scale = inner, inner.scale
    self.schema = records.Schema((*inner.schema.columns, self.column), grouped=True)
    check.require(inner.schema.grouped, f"source {inner.folder}: the objective compares answers, and it has none")

  @property
  def image_counts(self) -> np.ndarray:
    """How many images each has."""
    return self._inner.image_counts

  def _group(self, index: int) -> pack.Group:
    found = self._inner[index]
    assert isinstance(found, pack.Group)
    return found


class Mismatched(_Made):
  """Each answer beside the answer to another prompt of its source, which carries the label 0."""

  column = MISMATCH

  def __init__(self, inner: tokenised.CachedSource, name: str, seed: int):
    """Raises InputError for a source of pairs, and for one of a single example."""
    super().__init__(inner)
    count = len(inner.lengths)
    single = bool((inner.of_groups("members") == 1).all())
    check.require(single, f"source {name}: answers beside mismatched ones stand alone (Source.format = 'unpaired')")
    if count < 2:
      raise errors.InputError(f"source {name}: one example has no other's answer beside it: give more")
    order = np.random.Generator(np.random.PCG64([seed, zlib.crc32(b"mismatch:" + name.encode())])).permutation(count)
    self.partners = np.empty(count, np.int64)
    self.partners[order] = np.roll(order, -1)

  @functools.cached_property
  def _answers(self) -> np.ndarray:
    """Ids of the answer of each partner."""
    return (self._inner.lengths + 1 - self._inner.of_groups("starts"))[self.partners]

  @functools.cached_property
  def lengths(self) -> np.ndarray:
    """Positions of each: its own, and those of the other's answer behind the same prompt."""
    return self._inner.lengths + self._answers

  @functools.cached_property
  def repeated_lengths(self) -> np.ndarray:
    """The same with the prompt in front of both."""
    return self.lengths + self._inner.of_groups("starts") - 1

  def __getitem__(self, index: int) -> pack.Group:
    (own,), (other,) = self._group(index).items, self._group(int(self.partners[index])).items
    first, begins = (pack.first_weight(item.weights) for item in (own, other))
    zero = lambda item: {name: np.zeros_like(value) for name, value in item.columns.items()}
    mixed = pack.Item(
      np.r_[own.ids[:first], other.ids[begins:]].astype(np.int32),
      np.r_[np.zeros(first, np.float32), other.weights[begins:]].astype(np.float32),
      None,
      {name: value[:1][0] for name, value in zero(own).items()} | {"mismatch": 1.0},
    )
    return pack.Group((own._replace(columns={**own.columns, "mismatch": 0.0}), mixed), first)


class Ended(_Made):
  """Each answer with one more id behind it, which alone carries weight: what stands there is the reward's place."""

  column = END

  @functools.cached_property
  def lengths(self) -> np.ndarray:
    """One position more for each answer."""
    return self._inner.lengths + self._inner.of_groups("members")

  @functools.cached_property
  def repeated_lengths(self) -> np.ndarray:
    """The same with prompts in front of each answer."""
    return self._inner.repeated_lengths + self._inner.of_groups("members")

  def __getitem__(self, index: int) -> pack.Group:
    group = self._group(index)
    return pack.Group(tuple(ended(item) for item in group.items), group.shared)


def ended(item: pack.Item) -> pack.Item:
  """An example whose one weight is behind its last id."""
  grown = lambda value: np.concatenate([value, value[-1:]]) if np.ndim(value) else value
  columns = {name: grown(value) for name, value in item.columns.items()} | {"end": 1.0}
  weights = np.zeros(len(item.ids) + 1, np.float32)
  weights[-1] = 1
  return pack.Item(np.r_[item.ids, item.ids[-1]].astype(np.int32), weights, item.images, columns)


class Numbered(tokenised.Examples):
  """The examples of a source with its number in a column; -1 is a source without one."""

  def __init__(self, inner: tokenised.Examples, number: int):
    self._inner, self._number, self.scale = inner, number, inner.scale
    self.schema = records.Schema((*inner.schema.columns, SOURCE), inner.schema.grouped)

  @property
  def lengths(self) -> np.ndarray:
    """Positions of each."""
    return self._inner.lengths

  @property
  def repeated_lengths(self) -> np.ndarray:
    """Positions of each where prompts are repeated."""
    return self._inner.repeated_lengths

  @property
  def image_counts(self) -> np.ndarray:
    """How many images each has."""
    return self._inner.image_counts

  def __getitem__(self, index: int) -> pack.Item | pack.Group:
    found = self._inner[index]
    named = lambda item: item._replace(columns={**item.columns, "source": self._number})
    return pack.Group(tuple(map(named, found.items)), found.shared) if isinstance(found, pack.Group) else named(found)


def numbered(sources: Mapping[str, tokenised.Examples], order: Sequence[str]) -> dict[str, tokenised.Examples]:
  """The sources with their numbers. Raises InputError for a name that no source has."""
  missing = sorted(set(order) - set(sources))
  if missing:
    raise errors.InputError(f"views.Adapters names {', '.join(missing)}; sources are {', '.join(sorted(sources))}")
  return {name: Numbered(one, order.index(name) if name in order else -1) for name, one in sources.items()}


def wrapped(
  sources: Mapping[str, tokenised.Examples], columns: Sequence[columns_lib.Column], seed: int
) -> dict[str, tokenised.Examples]:
  """The sources, with the columns that are asked for and made here. Raises InputError as `Mismatched` does."""
  makers: dict[columns_lib.Column, Callable[[str, tokenised.CachedSource], tokenised.Examples]] = {
    MISMATCH: lambda name, inner: Mismatched(inner, name, seed),
    END: lambda name, inner: Ended(inner),
  }
  found = dict(sources)
  for column in columns:
    for name, source in found.items():
      if column in makers and column not in source.schema.columns and isinstance(source, tokenised.CachedSource):
        found[name] = makers[column](name, source)
  return found


def check_labels(sources: Mapping[str, tokenised.Examples], columns: Sequence[columns_lib.Column]) -> None:
  """Raises InputError where labels are read, and all of all sources are the same: nothing could be told apart."""
  if "label" not in [column.name for column in columns]:
    return
  counts = [s.manifest.get("labels", {}) for s in sources.values() if isinstance(s, tokenised.CachedSource)]
  totals = {name: sum(count.get(name, 0) for count in counts) for name in ("wanted", "unwanted")}
  if counts and not all(totals.values()):
    raise errors.InputError(
      f"all labels are equal ({totals['wanted']} wanted, {totals['unwanted']} unwanted): nothing can be told apart; "
      "supervised tuning (objective/sft.gin) is for answers that are all wanted"
    )
