"""What a model says of prepared data, stored beside it: found by what it is of, and never read by mistake.

A folder's name is a digest of the source, of the model, and of what the feed puts beside the examples. So what another
model said is not found, and the error says how the one that is there differs.
"""

import abc
from collections.abc import Mapping, Sequence
import functools
import hashlib
import json
import os
from typing import Any, NamedTuple

import numpy as np

from itune_jax.core import columns as columns_lib
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import pack
from itune_jax.data import records
from itune_jax.data import tokenised


class Kind(NamedTuple):
  """What is stored: its folder, what it is called, how it is made, and which fields of a manifest must be the same,
  with what another one is called."""

  folder: str
  what: str
  cure: str
  fields: Sequence[tuple[str, str]]


def key(source: str, of: tuple, beside: str) -> str:
  """The address of what a model says of a source. beside: what the feed puts beside its examples."""
  return hashlib.sha256(json.dumps([source, *of, beside]).encode()).hexdigest()[:24]


def find(root: str, kind: Kind, source: str, of: Any, beside: str, name: str) -> str:
  """The folder. Raises InputError where there is none, saying of which other models there are some."""
  folder = os.path.join(root, kind.folder, key(source, tuple(of), beside))
  if files.exists(os.path.join(folder, "manifest.json")):
    return folder
  others = []
  for other in files.names(os.path.join(root, kind.folder)):
    path = os.path.join(root, kind.folder, other, "manifest.json")
    if files.exists(path) and (found := files.read_json(path)).get("source") == source:
      others.append(found)
  said = "; ".join(sorted({_told(kind, of._asdict(), beside, found) for found in others}))
  raise errors.InputError(
    f"source {name}: no {kind.what} are stored ({said or 'none of any model'}): run `{kind.cure}` with the same recipe "
    "and values"
  )


def _told(kind: Kind, of: Mapping[str, Any], beside: str, found: Mapping[str, Any]) -> str:
  """Why those that are there are not those that are asked for."""
  for field, what in kind.fields:
    if found[field] != of[field]:
      there, here = (str(value)[:16] or "none" for value in (found[field], of[field]))
      return f"there are some of {what}: {there}, not {here}"
  return f"there are some for other examples beside them: {found['beside'] or 'none'}, not {beside or 'none'}"


class Beside(tokenised.Examples):
  """Examples with stored columns beside their own."""

  def __init__(self, inner: tokenised.Examples, columns: Sequence[columns_lib.Column], folder: str, stored: int):
    """stored: how many values the folder holds. Raises InputError where its offsets are of another number of examples,
    or of another number of values."""
    self._inner, self.scale, self._folder = inner, inner.scale, folder
    self.schema = records.Schema((*inner.schema.columns, *columns), grouped=inner.schema.grouped)
    self._offsets = np.load(os.path.join(folder, "offsets.npy"))
    if len(self._offsets) != len(inner) + 1 or self._offsets[-1] != stored:
      raise errors.InputError(f"{folder}: it does not hold what is said of {len(inner)} examples: remove it")

  @functools.cached_property
  def lengths(self) -> np.ndarray:
    """Positions of each."""
    return self._inner.lengths

  @functools.cached_property
  def repeated_lengths(self) -> np.ndarray:
    """Positions of each where prompts are repeated."""
    return self._inner.repeated_lengths

  @property
  def image_counts(self) -> np.ndarray:
    """How many images each has."""
    return self._inner.image_counts

  @abc.abstractmethod
  def values(self, example: pack.Item | pack.Group, here: slice) -> Mapping[str, np.ndarray]:
    """The stored columns [T, …] of an example, one item behind the other. here: its stored values. Raises InputError
    where they are of another number of ids."""

  def __getitem__(self, index: int) -> pack.Item | pack.Group:
    found, here = self._inner[index], slice(*map(int, self._offsets[index : index + 2]))
    try:
      values = self.values(found, here)
    except errors.InputError as e:
      raise errors.InputError(f"{self._folder}: example {index}: {e}: remove the folder and prepare again") from None
    items, at = [], 0
    for item in members(found):
      own = {name: value[at : at + len(item.ids)] for name, value in values.items()}
      items.append(item._replace(columns={**item.columns, **own}))
      at += len(item.ids)
    return pack.Group(tuple(items), found.shared) if isinstance(found, pack.Group) else items[0]


def members(example: pack.Item | pack.Group) -> tuple[pack.Item, ...]:
  """The items of an example."""
  return example.items if isinstance(example, pack.Group) else (example,)
