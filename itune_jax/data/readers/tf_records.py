"""TFRecord and ArrayRecord as rows: each record is a `tf.Example`, or JSON. TensorFlow is not needed for it.

A feature of one value is that value, of none null, of several a list; texts are UTF-8. Names with a slash
("conversations/from"), as TFDS writes features within features, stay together, and keep their lists.
"""

import struct
from collections.abc import Iterator
from typing import Any

from itune_jax.core import files as files_lib
from itune_jax.core import jsontext
from itune_jax.core import lazy
from itune_jax.data.readers import crc32c
from itune_jax.data.readers import jsons
from itune_jax.data.readers import lines
from itune_jax.data.readers import streams

array_record = lazy.module("array_record.python.array_record_module")

_AT_ONCE = 64
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_KINDS = {1: "bytes", 2: "float", 3: "int64"}


def of_tf_record(file: str) -> jsons.Found:
  """(record, row) of a TFRecord file. Raises Broken where a length is damaged: what follows cannot be found then; a
  record whose own checksum is wrong is a bad row."""
  with streams.opened(file, _begins) as f:
    number = 0
    while head := f.read(12):
      number += 1
      if len(head) < 12:
        raise streams.Broken(file, f"record {number} is half-written: its length is cut")
      if not _begins(head):
        raise streams.Broken(file, f"record {number} does not begin with its length (the checksum is wrong)")
      (size,) = struct.unpack("<Q", head[:8])
      if size > streams.MAX_ROW:
        _skip(file, f, size + 4, number)
        yield number, lines.too_large(size)
        continue
      data, check = f.read(size), f.read(4)
      if len(data) < size or len(check) < 4:
        raise streams.Broken(file, f"record {number} is half-written: {len(data)} of its {size} bytes are there")
      if struct.unpack("<I", check)[0] != crc32c.masked(data):
        yield number, lines.Bad("its checksum is wrong: the record is damaged")
        continue
      yield number, row(data)


def of_array_record(file: str) -> jsons.Found:
  """(record, row) of an ArrayRecord file. Raises Broken."""
  if files_lib.is_remote(file):
    raise streams.Broken(file, "is an ArrayRecord file, which is read from a disk alone: copy it there")
  with streams.opened(file):
    pass  # says in one line what an archive or a pointer is
  reader = _reader(file)
  count = reader.num_records()
  for start in range(0, count, _AT_ONCE):
    wanted = range(start, min(start + _AT_ONCE, count))
    try:
      found = reader.read(list(wanted))
    except Exception:  # the library raises what its C++ says; one by one the damaged record is found
      found = [_alone(file, i) for i in wanted]
      reader = _reader(file)
    for number, data in zip(wanted, found, strict=True):
      if isinstance(data, bytes) and len(data) > streams.MAX_ROW:
        data = lines.too_large(len(data))
      yield number + 1, row(data) if isinstance(data, bytes) else data


def _reader(file: str) -> Any:
  """A reader of an ArrayRecord file. Raises Broken for a file without its end, where the places of records stand."""
  try:
    reader = array_record.ArrayRecordReader(file, "readahead_buffer_size:0")
    if reader.ok():
      return reader
  except Exception as e:
    raise streams.Broken(file, f"cannot be read as ArrayRecord ({jsontext.said(e)})") from None
  raise streams.Broken(file, "cannot be read as ArrayRecord: it is damaged, or was not written to its end")


def _alone(file: str, index: int) -> "bytes | lines.Bad":
  try:
    return _reader(file).read([index])[0]
  except streams.Broken:
    raise
  except Exception as e:
    return lines.Bad(f"the record is damaged ({jsontext.said(e)})")


def row(data: bytes) -> Any:
  """The row of a record."""
  if data[:1] == b"{":
    return lines.text(data)
  try:
    features = dict(_features(data))
  except (ValueError, IndexError, struct.error) as e:
    return lines.Bad(f"the record is neither a tf.Example nor JSON ({jsontext.said(e)})")
  found: dict[str, Any] = {}
  for name, values in features.items():
    if isinstance(values, lines.Bad):
      return values
    outer, _, inner = name.partition("/")
    if inner and outer not in features:
      nested = found.setdefault(outer, {})
      nested[inner] = values
    else:
      found[name] = values[0] if len(values) == 1 else values or None
  return found


def _begins(start: bytes) -> bool:
  return len(start) >= 12 and struct.unpack("<I", start[8:12])[0] == crc32c.masked(start[:8])


def _skip(file: str, f, size: int, number: int) -> None:
  while size:
    data = f.read(min(size, 1 << 20))
    if not data:
      raise streams.Broken(file, f"record {number} is half-written")
    size -= len(data)


def _features(data: bytes) -> Iterator[tuple[str, Any]]:
  """The features of `Example { Features { map<string, Feature> } }` (tensorflow/core/example). Raises ValueError."""
  for number, features in _fields(data):
    if number != 1 or not isinstance(features, bytes):
      raise ValueError(f"field {number} of an Example")
    for entry_number, entry in _fields(features):
      if entry_number != 1 or not isinstance(entry, bytes):
        raise ValueError(f"field {entry_number} of Features")
      parts = dict(_fields(entry))
      name, feature = parts.get(1, b""), parts.get(2, b"")
      if not isinstance(name, bytes) or not isinstance(feature, bytes):
        raise ValueError("an entry of the features")
      yield name.decode(), _values(name.decode(), feature)


def _values(name: str, feature: bytes) -> "list[Any] | lines.Bad":
  found: list[Any] = []
  for kind, content in _fields(feature):
    if kind not in _KINDS or not isinstance(content, bytes):
      raise ValueError(f"field {kind} of a Feature")
    for number, value in _fields(content):
      if number != 1:
        raise ValueError(f"field {number} of a list")
      found += _unpacked(_KINDS[kind], value)
  try:
    return [value.decode() if isinstance(value, bytes) else value for value in found]
  except UnicodeDecodeError:
    return lines.Bad(f"its feature `{name}` is not UTF-8 text")


def _unpacked(kind: str, value: bytes | int) -> list[Any]:
  if kind == "bytes":
    if isinstance(value, int):
      raise ValueError("a number in a list of bytes")
    return [value]
  if kind == "float":
    data = value if isinstance(value, bytes) else struct.pack("<I", value)
    return list(struct.unpack(f"<{len(data) // 4}f", data))
  if isinstance(value, int):
    return [_signed(value)]
  numbers, at = [], 0
  while at < len(value):
    number, at = _varint(value, at)
    numbers.append(_signed(number))
  return numbers


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
  """(number, value) of the fields of a message in protocol buffers' wire format. Raises ValueError."""
  at = 0
  while at < len(data):
    tag, at = _varint(data, at)
    number, kind = tag >> 3, tag & 7
    if kind == _VARINT:
      value, at = _varint(data, at)
      yield number, value
      continue
    if kind == _BYTES:
      size, at = _varint(data, at)
    elif kind in (_FIXED64, _FIXED32):
      size = 8 if kind == _FIXED64 else 4
    else:
      raise ValueError(f"a field of wire type {kind}")
    if at + size > len(data):
      raise ValueError("a field that is cut")
    content, at = data[at : at + size], at + size
    yield number, content if kind == _BYTES else int.from_bytes(content, "little")


def _varint(data: bytes, at: int) -> tuple[int, int]:
  value = shift = 0
  while True:
    if at >= len(data) or shift > 63:
      raise ValueError("a number that is cut")
    byte = data[at]
    value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
    if byte < 128:
      return value, at


def _signed(number: int) -> int:
  number &= (1 << 64) - 1
  return number - (1 << 64) if number >> 63 else number
