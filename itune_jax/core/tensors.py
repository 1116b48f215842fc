"""Safetensors files: the one door for adapters' and models' weights, in and out.

The safetensors package maps whole files, whose touched pages stay resident until the file is closed; here a tensor is
mapped only while it is read, and a file is written tensor by tensor, so peak memory is that of one tensor. (Format: 8
bytes of header length, a JSON header, the data.) Nothing that is empty, not a number, or of an unknown type passes.
"""

from collections.abc import Iterator, Mapping
import contextlib
import json
import math
import os
from typing import IO, Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from itune_jax.core import errors
from itune_jax.core import files

_DTYPES: dict[str, Any] = {
  "F64": np.float64,
  "F32": np.float32,
  "F16": np.float16,
  "BF16": jnp.bfloat16,
  "I64": np.int64,
  "I32": np.int32,
  "I16": np.int16,
  "I8": np.int8,
  "U8": np.uint8,
  "BOOL": np.bool_,
}
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
_LONGEST_HEADER = 100_000_000  # as safetensors has it
# Sign and fraction aside, all ones: infinite or not a number.
_EXPONENTS: dict[Any, tuple[Any, int]] = {
  np.dtype(np.float32): (np.uint32, 0x7F800000),
  np.dtype(np.float16): (np.uint16, 0x7C00),
  np.dtype(jnp.bfloat16): (np.uint16, 0x7F80),
}
_BLOCK = 1 << 20


class Place(NamedTuple):
  """Where a tensor lies: in which file, as what, and from which byte on."""

  file: str
  dtype: np.dtype
  shape: tuple[int, ...]
  offset: int

  @property
  def nbytes(self) -> int:
    """The length of its data."""
    return math.prod(self.shape) * self.dtype.itemsize


def header(file: str) -> dict[str, Place]:
  """The tensors of a file by name. Raises InputError, in one line, for a file that is not whole or not what it says."""
  if not os.path.isfile(file):
    raise errors.InputError(f"{file}: missing")
  if files.is_pointer(file):
    raise errors.InputError(f"{file}: {files.POINTER}")
  total = os.path.getsize(file)
  try:
    with open(file, "rb") as f:
      size = int.from_bytes(f.read(8), "little")
      if not 0 < size <= min(total - 8, _LONGEST_HEADER):
        raise errors.InputError(f"{file}: truncated or corrupt: {total:,} bytes, and a header of {size:,}")
      entries = json.loads(f.read(size))
  except (OSError, ValueError, RecursionError) as e:
    if isinstance(e, errors.InputError):
      raise
    raise errors.InputError(f"{file}: corrupt: no header of safetensors ({e})") from None
  if not isinstance(entries, dict):
    raise errors.InputError(f"{file}: corrupt: its header is no object")
  entries.pop("__metadata__", None)
  found = {name: _place(file, name, entry, 8 + size) for name, entry in entries.items()}
  _check_tiles(file, found, 8 + size, total)
  return found


def _check_tiles(file: str, places: dict[str, Place], start: int, total: int) -> None:
  """Raises InputError unless tensors fill the data one behind the other: else a shifted header would shift values."""
  end = max((place.offset + place.nbytes for place in places.values()), default=start)
  if total < end:
    raise errors.InputError(f"{file}: truncated: {total:,} bytes, where its header promises {end:,}")
  at = start
  for name, place in sorted(places.items(), key=lambda pair: pair[1].offset):
    if place.offset != at:
      raise errors.InputError(f"{file}: corrupt: {name} does not begin where the tensor before it ends")
    at += place.nbytes
  if total != end:
    raise errors.InputError(f"{file}: corrupt: {total:,} bytes, where its header speaks of {end:,}")


def _place(file: str, name: str, entry: Any, start: int) -> Place:
  natural = lambda values: isinstance(values, list) and all(type(v) is int and v >= 0 for v in values)
  keys = ("dtype", "shape", "data_offsets")
  whole = isinstance(entry, dict) and all(key in entry for key in keys)
  if not whole or not natural(entry["shape"]) or not natural(entry["data_offsets"]) or len(entry["data_offsets"]) != 2:
    raise errors.InputError(f"{file}: corrupt: what its header says of {name} cannot be read")
  dtype = _DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
  if dtype is None:
    raise errors.InputError(f"{file}: {name} is of type {entry['dtype']}; read are {', '.join(_DTYPES)}")
  begin, stop = entry["data_offsets"]
  place = Place(file, np.dtype(dtype), tuple(entry["shape"]), start + begin)
  if stop - begin != place.nbytes:
    raise errors.InputError(f"{file}: corrupt: {name} is {entry['dtype']}{entry['shape']} in {stop - begin} bytes")
  if not place.nbytes:
    raise errors.InputError(
      f"{file}: {name} is empty (shape {list(place.shape)}): it was saved by a process that held another part of the "
      "weights; save them again, gathered"
    )
  return place


def read(place: Place) -> np.ndarray:
  """One tensor, mapped: it is read where it is touched, and released with the array."""
  return np.memmap(place.file, place.dtype, "r", place.offset, place.shape)


def load(file: str) -> dict[str, np.ndarray]:
  """All tensors of a (small) file. Raises InputError as `header` does, and for values that are not finite."""
  found = {}
  for name, place in header(file).items():
    tensor = np.array(read(place))
    if not finite(tensor):
      raise errors.InputError(f"{file}: {name} holds a value that is not finite: its training had failed")
    found[name] = tensor
  return found


def finite(array: np.ndarray) -> bool:
  """Whether all values are numbers; of integers always. A block at a time, by their bits: half types are slow else."""
  if array.dtype.kind in "iub":
    return True
  flat = np.ascontiguousarray(array).reshape(-1)
  if array.dtype not in _EXPONENTS:
    return all(bool(np.isfinite(flat[at : at + _BLOCK]).all()) for at in range(0, flat.size, _BLOCK))
  kind, mask = _EXPONENTS[array.dtype]
  bits = flat.view(kind)
  return not any(bool(((bits[at : at + _BLOCK] & mask) == mask).any()) for at in range(0, bits.size, _BLOCK))


class Writer:
  """Writes a file whose tensors are told before and come one by one, in any order."""

  def __init__(self, f: IO[bytes], file: str, shapes: Mapping[str, tuple[Any, tuple[int, ...]]]):
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    self.places: dict[str, Place] = {}
    end = 0
    for name, (dtype, shape) in shapes.items():
      place = Place(file, np.dtype(dtype), tuple(shape), end)
      entries[name] = {"dtype": _NAMES[place.dtype], "shape": list(shape), "data_offsets": [end, end + place.nbytes]}
      self.places[name], end = place, end + place.nbytes
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    f.write(len(text).to_bytes(8, "little") + text)
    self._f, self._start, self._left = f, 8 + len(text), set(shapes)

  def put(self, name: str, tensor: np.ndarray) -> None:
    """Writes one tensor. Raises RunError when a value is not finite."""
    place = self.places[name]
    if tensor.shape != place.shape or tensor.dtype != place.dtype:
      raise ValueError(f"{name} is {tensor.dtype}{tensor.shape}, announced was {place.dtype}{place.shape}")
    if not finite(tensor):
      raise errors.RunError(f"{name} holds a value that is not finite: refusing to export it")
    self._f.seek(self._start + place.offset)
    self._f.write(np.ascontiguousarray(tensor).tobytes())
    self._left.discard(name)

  def close(self) -> None:
    """Checks that all came."""
    if self._left:
      raise ValueError(f"{min(self._left)} was announced and never written")


@contextlib.contextmanager
def writing(file: str, shapes: Mapping[str, tuple[Any, tuple[int, ...]]]) -> Iterator[Writer]:
  """A `Writer` of a file, with the permissions that the user's umask gives. shapes: (dtype, shape) by name."""
  with open(file, "wb") as f:
    writer = Writer(f, file, shapes)
    yield writer
    writer.close()


def save(file: str, tensors: Mapping[str, np.ndarray]) -> None:
  """Writes arrays. Raises RunError when a value is not finite."""
  with writing(file, {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}) as writer:
    for name, tensor in tensors.items():
      writer.put(name, tensor)
