"""Log-probs of a reference beside a tokenised source: computed once, found by what they are of.

A folder holds `logprobs.npy` (float32, one for each id of each example, one behind the other), `offsets.npy` (where
each example begins), and a manifest. Its name is a digest of the source, of the model (its base, and what
an adapter holds), of what activations are computed in, and of what the feed puts beside the examples. So those of
another model are not found, and never read by mistake.
"""

from collections.abc import Mapping
import os
from typing import Any, NamedTuple

import numpy as np

from itune_jax.core import columns as columns_lib
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import pack
from itune_jax.data import stored_beside
from itune_jax.data import tokenised

REFERENCE = columns_lib.Column("ref_logprob")  # log p of the id by the reference, 0 where it does not train


class Of(NamedTuple):
  """Whose log-probs they are: digests of a base and of an adapter ("" for none), and the dtype of activations."""

  base: str
  adapter: str
  compute: str


_KIND = stored_beside.Kind(
  "reference",
  "log-probs of this reference",
  "itune prepare --with_reference",
  (("base", "another base"), ("adapter", "another adapter"), ("compute", "another precision")),
)
key = stored_beside.key


def beside(columns: tuple[columns_lib.Column, ...], seed: int) -> str:
  """What of the feed's own columns changes what a reference would say: answers to other prompts, by the seed."""
  return f"mismatch {seed}" if any(column.name == "mismatch" for column in columns) else ""


def folder_of(root: str, address: str) -> str:
  """Where they stand."""
  return os.path.join(root, "reference", address)


def write(folder: str, logprobs: list[np.ndarray], facts: Mapping[str, Any]) -> None:
  """Stores the log-probs of all examples; the folder is there when whole."""
  with files.whole_folder(folder) as partial:
    ends = np.cumsum([0, *map(len, logprobs)])
    np.save(os.path.join(partial, "logprobs.npy"), np.concatenate([*logprobs, np.zeros(0, np.float32)]))
    np.save(os.path.join(partial, "offsets.npy"), ends.astype(np.int64))
    files.write_json(os.path.join(partial, "manifest.json"), dict(facts))


def find(root: str, source: str, of: Of, beside: str, name: str) -> str:
  """The folder. Raises InputError where there is none, saying of which other models there are some."""
  return stored_beside.find(root, _KIND, source, of, beside, name)


class WithReference(stored_beside.Beside):
  """Examples with what a reference says of each of their ids."""

  def __init__(self, inner: tokenised.Examples, folder: str):
    """Raises InputError where the folder holds another number of examples."""
    self._logprobs = np.load(os.path.join(folder, "logprobs.npy"), mmap_mode="r")
    super().__init__(inner, (REFERENCE,), folder, len(self._logprobs))

  def values(self, example: pack.Item | pack.Group, here: slice) -> Mapping[str, np.ndarray]:
    """A log-prob of each id."""
    found, ids = np.array(self._logprobs[here]), sum(len(item.ids) for item in stored_beside.members(example))
    if len(found) != ids:
      raise errors.InputError(f"it has {ids} ids, and {len(found)} log-probs are stored")
    return {REFERENCE.name: found}
