"""The key-value part of a GGUF file: what it says of model and tokenizer. Tensors are not looked at.

The format is that of ggml (docs/gguf.md there), versions 2 and 3, in little-endian order. The library `gguf` reads it
too, as an array for each of the hundred thousand strings of a vocabulary: in seconds, and this in a tenth of one.
"""

import mmap
import struct
from typing import Any

from itune_jax.core import errors

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_DEEPEST = 4  # arrays within arrays; no key has more than two


def read(path: str) -> dict[str, Any]:
  """The values by key: numbers, truth values, strings, and lists of them.

  Raises InputError when the file is missing, is no GGUF file, names a key twice, or ends before its values do.
  """
  try:
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
      return _Reader(data).fields()
  except (struct.error, IndexError, KeyError, _NoGguf, ValueError, OverflowError, MemoryError) as e:
    reason = str(e) if isinstance(e, _NoGguf) else "it is truncated or damaged"
    raise errors.InputError(f"{path}: cannot be read as GGUF: {reason}") from None
  except OSError as e:
    raise errors.InputError(f"{path}: {e.strerror or e}") from None


class _NoGguf(Exception):
  """Another kind of file."""


class _Reader:
  """Walks through the bytes once."""

  def __init__(self, data: Any):
    self._data, self._at = data, 0

  def fields(self) -> dict[str, Any]:
    """All values by key."""
    if self._data[:4] != b"GGUF":
      raise _NoGguf("it does not begin with GGUF")
    self._at = 4
    version = self._number("I")
    if version not in (2, 3):
      raise _NoGguf(f"its version is {version}; 2 and 3 are known")
    self._number("Q")  # of tensors
    found: dict[str, Any] = {}
    for _ in range(self._number("Q")):
      key = self._text()
      if key in found:
        raise _NoGguf(f"it names {key} twice")
      found[key] = self._value(self._number("I"))
    return found

  def _number(self, code: str) -> Any:
    (value,) = struct.unpack_from(f"<{code}", self._data, self._at)
    self._at += struct.calcsize(f"<{code}")
    return value

  def _text(self) -> str:
    (found,) = self._texts(1)
    return found

  def _texts(self, count: int) -> list[str]:
    data, at, size, found = self._data, self._at, len(self._data), []
    for _ in range(count):
      begin = at + 8
      at = begin + int.from_bytes(data[at:begin], "little")
      if at > size:
        raise IndexError("a string behind the end")
      found.append(data[begin:at].decode("utf-8"))
    self._at = at
    return found

  def _value(self, kind: int, depth: int = 0) -> Any:
    if depth > _DEEPEST:
      raise _NoGguf("its arrays are nested too deep")
    if kind == _STRING:
      return self._text()
    if kind != _ARRAY:
      return self._number(_SCALARS[kind])
    kind, count = self._number("I"), self._number("Q")
    if kind == _STRING:
      return self._texts(count)
    if kind == _ARRAY:
      return [self._value(_ARRAY, depth + 1) for _ in range(count)]
    code = f"<{count}{_SCALARS[kind]}"
    values = struct.unpack_from(code, self._data, self._at)
    self._at += struct.calcsize(code)
    return list(values)
