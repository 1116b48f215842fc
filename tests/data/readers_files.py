"""The same rows in every container, written by libraries of others where these exist, else by hand."""

import bz2
import csv
import functools
import gzip
import io
import json
import lzma
import pathlib
import struct
import tempfile

from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]
import pyarrow as pa
from pyarrow import ipc
from pyarrow import parquet
import zstandard

from itune_jax.data.readers import crc32c

ROWS = [{"question": f"Wie heißt Nummer {i}?", "answer": f"é {i}\nzwei", "id": f"r{i}"} for i in range(7)]
PACKED = {
  "": lambda data: data,
  ".gz": lambda data: gzip.compress(data, mtime=0),
  ".bz2": bz2.compress,
  ".xz": lzma.compress,
  ".zst": zstandard.compress,
}


def written(name, rows=None):
  """The bytes of a container (by its ending) with these rows."""
  return _MADE[name](ROWS if rows is None else rows)


def _lines(rows):
  return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _table(delimiter, rows):
  out = io.StringIO(newline="")
  writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
  writer.writeheader()
  writer.writerows(rows)
  return out.getvalue().encode()


def _arrow(rows, new):
  out, table = io.BytesIO(), pa.Table.from_pylist(rows)
  with new(out, table.schema) as writer:
    writer.write_table(table, max_chunksize=3)
  return out.getvalue()


def _parquet(rows):
  out = io.BytesIO()
  parquet.write_table(pa.Table.from_pylist(rows), out, row_group_size=3)
  return out.getvalue()


def _varint(number):
  out = b""
  while number > 127:
    out, number = out + bytes([number & 127 | 128]), number >> 7
  return out + bytes([number])


def field(number, content):
  """A field of bytes in the wire format of protocol buffers."""
  return _varint(number << 3 | 2) + _varint(len(content)) + content


def tf_example(row):
  """A row of texts as the bytes of a tf.Example."""
  entry = lambda key, value: field(1, key.encode()) + field(2, field(1, field(1, value.encode())))
  return field(1, b"".join(field(1, entry(key, value)) for key, value in row.items()))


def tf_records(records):
  """Records in the framing of TFRecord."""
  out = b""
  for data in records:
    size = struct.pack("<Q", len(data))
    out += size + struct.pack("<I", crc32c.masked(size)) + data + struct.pack("<I", crc32c.masked(data))
  return out


def _array_records(rows):
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "x"
    writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
    for row in rows:
      writer.write(tf_example(row))
    writer.close()
    return path.read_bytes()


_MADE = {
  ".jsonl": _lines,
  ".json": lambda rows: json.dumps(rows, indent=1).encode(),
  ".csv": functools.partial(_table, ","),
  ".tsv": functools.partial(_table, "\t"),
  ".parquet": _parquet,
  ".arrow": lambda rows: _arrow(rows, ipc.new_stream),
  ".feather": lambda rows: _arrow(rows, ipc.new_file),
  ".tfrecord": lambda rows: tf_records(map(tf_example, rows)),
  ".arrayrecord": _array_records,
}
CONTAINERS = tuple(_MADE)
