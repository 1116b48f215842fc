"""Whether the header of a GGUF file stays inside the file.

The gguf package trusts the counts of a file: a damaged one can send it through 2^63 entries that are not there. The
layout is that of the GGUF specification (ggml, docs/gguf.md), versions 2 and 3.
"""

import mmap
import struct

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes of a scalar of each type
_STRING, _ARRAY = 8, 9


def require(path: str) -> None:
  """Raises ValueError or OSError, in one line, for a file that is no GGUF file, or ends before its header does."""
  with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
    if data[:4] != b"GGUF":
      raise ValueError("it does not begin with GGUF")
    header = _Header(data)
    tensors, pairs = header.number("Q"), header.number("Q")
    for _ in range(pairs):
      header.string()
      header.value(header.number("I"))
    for _ in range(tensors):
      header.string()
      header.skip(8, header.number("I"))
      header.skip(12)


class _Header:
  """Walks over the bytes of a header; whatever lies beyond the end is refused."""

  def __init__(self, data: mmap.mmap):
    self._data, self._at = data, 8
    (version,) = struct.unpack_from("<I", data, 4) if len(data) >= 8 else (0,)
    self._order = "<" if version & 0xFFFF else ">"

  def skip(self, size: int, count: int = 1) -> None:
    """Goes over so many values."""
    if size * count > len(self._data) - self._at:
      raise ValueError(f"it ends at byte {len(self._data)}, inside its header")
    self._at += size * count

  def number(self, kind: str) -> int:
    """An unsigned number."""
    at = self._at
    self.skip(struct.calcsize(kind))
    return struct.unpack_from(self._order + kind, self._data, at)[0]

  def string(self) -> None:
    """A string: its length, then its bytes."""
    self.skip(1, self.number("Q"))

  def value(self, kind: int, depth: int = 0) -> None:
    """A value of a type; arrays hold a type, a count, and so many of it."""
    if kind == _STRING:
      self.string()
    elif kind == _ARRAY and depth < 2:
      inner, count = self.number("I"), self.number("Q")
      if inner in _SIZES:
        self.skip(_SIZES[inner], count)
        return
      for _ in range(count):
        self.value(inner, depth + 1)
    elif kind in _SIZES:
      self.skip(_SIZES[kind])
    else:
      raise ValueError(f"its header names the type of value {kind}, which there is not")
