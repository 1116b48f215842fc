"""The likeliest tokens of a teacher beside a tokenised source: what distillation from columns reads.

A folder holds, of each id with weight and one behind the other, `top_ids.npy` [N, k] (16 bits where the vocabulary has
at most 65,536 words, else 32) and `top_logprobs.npy` [N, k] (float16 or float32); `offsets.npy` says where each example
begins, and a manifest what they are of (`stored_beside`). So an id with weight takes k · (2 + 2) bytes for a small
vocabulary in float16: 256 bytes at k = 64, 384 for a large one, and 512 for that in float32. Ids without weight take
nothing. A log-prob in float16 is off by up to 2⁻¹¹ of itself: 0.004 nats of one at -8, and 0.0005 of one at -1.
"""

from collections.abc import Iterable, Mapping, Sequence
import os
from typing import Any, NamedTuple

import numpy as np

from itune_jax.core import columns as columns_lib
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import pack
from itune_jax.data import stored_beside
from itune_jax.data import tokenised


class Of(NamedTuple):
  """Whose they are: digests of a base and of an adapter ("" for none), the dtype of activations, how the base is packed
  ("" for not at all), and what is kept: how many tokens, at which temperature, in which dtype."""

  base: str
  adapter: str
  compute: str
  quant: str
  k: int
  temperature: float
  dtype: str


KIND = stored_beside.Kind(
  "teacher",
  "likeliest tokens of this teacher",
  "itune prepare --with_teacher",
  (
    ("base", "another teacher"),
    ("adapter", "another adapter"),
    ("compute", "another precision"),
    ("quant", "another packing"),
    ("k", "another k"),
    ("temperature", "another temperature"),
    ("dtype", "another dtype"),
  ),
)
Entry = tuple[int, np.ndarray, np.ndarray]  # an example, and of each of its ids with weight ids and log-probs [n, k]


def columns_of(k: int) -> tuple[columns_lib.Column, columns_lib.Column]:
  """The columns, each [T, k]."""
  return columns_lib.Column("top_ids", "int32", (k,)), columns_lib.Column("top_logprobs", "float32", (k,))


def trained(example: pack.Item | pack.Group) -> np.ndarray:
  """Which ids of an example carry weight where they are predicted, one item behind the other."""
  items = stored_beside.members(example)
  return np.concatenate([(np.arange(len(item.ids)) > 0) & (item.weights != 0) for item in items])


def write(
  folder: str, counts: Sequence[int], entries: Iterable[Entry], vocab: int, of: Of, facts: Mapping[str, Any]
) -> None:
  """Stores the tokens of all examples as they come; the folder is there when whole.

  counts: how many ids of each example carry weight. entries: of all examples, in any order.
  """
  offsets = np.cumsum([0, *counts]).astype(np.int64)
  with files.whole_folder(folder) as partial:
    shape = (int(offsets[-1]), of.k)
    kinds = {"top_ids": np.uint16 if vocab <= 1 << 16 else np.uint32, "top_logprobs": np.dtype(of.dtype)}
    opened = {
      name: np.lib.format.open_memmap(os.path.join(partial, f"{name}.npy"), "w+", dtype=kind, shape=shape)
      for name, kind in kinds.items()
    }
    for number, ids, logprobs in entries:
      here = slice(offsets[number], offsets[number + 1])
      opened["top_ids"][here], opened["top_logprobs"][here] = ids, logprobs
    for array in opened.values():
      array.flush()
    np.save(os.path.join(partial, "offsets.npy"), offsets)
    files.write_json(os.path.join(partial, "manifest.json"), {**facts, **of._asdict(), "vocab": vocab})


class WithTeacher(stored_beside.Beside):
  """Examples with the likeliest tokens of a teacher beside each id that carries weight, zeros beside the others."""

  def __init__(self, inner: tokenised.Examples, folder: str):
    """Raises InputError where the folder holds another number of examples."""
    self._stored = [np.load(os.path.join(folder, f"top_{what}.npy"), mmap_mode="r") for what in ("ids", "logprobs")]
    self._columns = columns_of(self._stored[0].shape[1])
    super().__init__(inner, self._columns, folder, len(self._stored[0]))

  def values(self, example: pack.Item | pack.Group, here: slice) -> Mapping[str, np.ndarray]:
    """The likeliest tokens of each id."""
    where = trained(example)
    if int(where.sum()) != here.stop - here.start:
      raise errors.InputError(f"{int(where.sum())} of its ids carry weight, and {here.stop - here.start} are stored")
    wide = {}
    for column, stored in zip(self._columns, self._stored, strict=True):
      wide[column.name] = np.zeros((len(where), *column.shape), column.dtype)
      wide[column.name][where] = stored[here]
    return wide
