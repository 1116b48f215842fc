"""Parameters as one flat dictionary from path (`blocks/attn/q/kernel`) to array: the form in which they are
split, saved, grouped, counted and sent through `jax.grad`."""

from collections.abc import Callable, Iterable, Mapping
import hashlib
import re
from typing import Any

import numpy as np

Params = dict[str, Any]


def partition(params: Mapping[str, Any], chosen: Callable[[str], bool]) -> tuple[Params, Params]:
  """Splits into (chosen, rest)."""
  yes = {name: value for name, value in params.items() if chosen(name)}
  no = {name: value for name, value in params.items() if name not in yes}
  return yes, no


def matching(names: Iterable[str], pattern: str) -> list[str]:
  """The names that a regular expression matches as a whole."""
  regex = re.compile(pattern)
  return [name for name in names if regex.fullmatch(name)]


def size(params: Mapping[str, Any]) -> int:
  """Number of scalars."""
  return sum(int(np.prod(np.shape(value))) for value in params.values())


def nbytes(params: Mapping[str, Any]) -> int:
  """Bytes over all arrays, of the global shapes."""
  return sum(int(np.prod(value.shape)) * value.dtype.itemsize for value in params.values())


def digest(params: Mapping[str, Any]) -> str:
  """SHA-256 over names, shapes, dtypes and bytes; equal exactly when the trees are equal bit for bit."""
  sha = hashlib.sha256()
  for name in sorted(params):
    array = np.asarray(params[name])
    sha.update(f"{name}{array.shape}{array.dtype}".encode())
    sha.update(np.ascontiguousarray(array).tobytes())
  return sha.hexdigest()
