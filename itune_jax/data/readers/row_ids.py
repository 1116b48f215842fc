"""The ids that the rows of a file name: of two rows with one id the second is refused, since it is not known which of
them is meant. Eight bytes of a digest are kept of each, so that a million of them are 8 MB."""

import hashlib

import numpy as np

from itune_jax.core import jsontext

_BUFFER = 1 << 16


def digest(named: str) -> int:
  """Eight bytes of a digest of an id with its type."""
  return int.from_bytes(hashlib.blake2b(named.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def twice(named: str) -> str:
  """Why a row is none whose id an earlier one of the file has."""
  return f"it has the id {jsontext.shown(named.partition(' ')[2])} of an earlier row of the file; ids must differ"


class IdSet:
  """A set of digests: sorted ones, and a small set of those that came since."""

  def __init__(self, digests: np.ndarray | None = None):
    self._sorted = np.zeros(0, np.uint64) if digests is None else np.sort(digests.astype(np.uint64))
    self._new: set[int] = set()

  def add(self, one: int) -> bool:
    """Takes a digest; whether it was not there before."""
    if one in self._new or self._has(one):
      return False
    self._new.add(one)
    if len(self._new) >= _BUFFER:
      self._sorted, self._new = self.digests(), set()
    return True

  def _has(self, one: int) -> bool:
    if not len(self._sorted):
      return False
    at = int(np.searchsorted(self._sorted, np.uint64(one)))
    return at < len(self._sorted) and int(self._sorted[at]) == one

  def digests(self) -> np.ndarray:
    """All of them, sorted."""
    return np.sort(np.concatenate([self._sorted, np.fromiter(self._new, np.uint64, len(self._new))]))


class Ids:
  """The ids of the file that is being read. file, digests: where reading goes on, and the ids before that."""

  def __init__(self, file: str = "", digests: np.ndarray | None = None):
    self.file, self._seen = file, IdSet(digests)

  def twice(self, file: str, named: str) -> str:
    """Takes the id of a row (`readers.Read.named`); why the row is none where an earlier one of the file has it, else
    ""."""
    if file != self.file:
      self.file, self._seen = file, IdSet()
    if not named or self._seen.add(digest(named)):
      return ""
    return twice(named)

  def digests(self) -> np.ndarray:
    """Those of the current file."""
    return self._seen.digests()
