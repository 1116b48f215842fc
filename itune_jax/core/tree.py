"""Parameters as one flat dictionary from path (`blocks/attn/q/kernel`) to array: the form in which they are
split, saved, grouped, counted and sent through `jax.grad`."""

from collections.abc import Iterable, Mapping
import re
from typing import Any

import numpy as np


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
