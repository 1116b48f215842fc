"""What weights are, as a number: a digest of the bytes of tensors, kept by the files that they lie in.

Two models of one architecture, such as a base and its tuned variant, differ in nothing else.
"""

from collections.abc import Iterable
import contextlib
import hashlib
import json
import os
from typing import NamedTuple

import numpy as np

from itune_jax.core import errors
from itune_jax.core import files

VERSION = 2  # 1 saw headers and sizes alone
LIMIT = 2**30  # above so many bytes of files, BLOCKS pieces of every tensor stand for it
BLOCKS, BLOCK = 16, 1 << 12
_kept_in, _verifies = "", False


def keep_in(folder: str, verify: bool = False) -> None:
  """Says where digests are kept from now on. verify: whether those of data are made anew, whatever is kept."""
  global _kept_in, _verifies
  _kept_in, _verifies = folder, verify


def kept_in() -> str:
  """The folder where digests are kept, "" for none."""
  return _kept_in


def verifies() -> bool:
  """Whether digests of data are made anew."""
  return _verifies


class Stored(NamedTuple):
  """Bytes of a tensor in a file, and what they are."""

  name: str
  kind: str
  shape: tuple[int, ...]
  file: str
  offset: int
  nbytes: int


def of_tensors(tensors: Iterable[Stored], facts: str, limit: int = LIMIT) -> str:
  """The digest of a model.

  Args:
    tensors: all of them, in any order. facts: what the function of the same weights hangs on beside. limit: see LIMIT.
  """
  tensors = sorted(tensors)
  paths = sorted({os.path.abspath(tensor.file) for tensor in tensors})
  stats = [(path, os.stat(path)) for path in paths]
  key = json.dumps([VERSION, limit, facts, [(path, s.st_size, s.st_mtime_ns, s.st_ino) for path, s in stats]])
  kept = os.path.join(_kept_in, hashlib.sha256(key.encode()).hexdigest()) if _kept_in else ""
  if kept and os.path.exists(kept):
    with contextlib.suppress(OSError), open(kept, encoding="utf-8") as f:
      return f.read()
  pieces = BLOCKS if sum(s.st_size for _, s in stats) > limit else 0
  sha = hashlib.sha256(f"{facts} {pieces}".encode())
  for tensor in tensors:
    sha.update(f"{tensor.name} {tensor.kind} {tensor.shape} ".encode())
    _add(sha, np.memmap(tensor.file, np.uint8, "r", tensor.offset, (tensor.nbytes,)), pieces)
  digest = f"{VERSION}-{sha.hexdigest()}"
  if kept:
    with contextlib.suppress(errors.RunError, OSError):  # a full disk costs time, not the work
      files.write_text(kept, digest)
  return digest


def _add(sha, data: np.ndarray, pieces: int) -> None:
  if not pieces or data.size <= pieces * BLOCK:
    for at in range(0, data.size, 1 << 24):
      sha.update(data[at : at + (1 << 24)])
    return
  for start in np.linspace(0, data.size - BLOCK, pieces).astype(int):
    sha.update(data[start : start + BLOCK])
