"""Parquet and Arrow IPC as rows, a few at a time; a row is named by its row group (or record batch) and its number.

In these tables all objects of a column have the keys of every one of them. What is null within an object was no key of
it, such as the arguments of other tools in a call.
"""

from collections.abc import Iterator
from typing import Any

from itune_jax.core import jsontext
from itune_jax.core import lazy
from itune_jax.data.readers import jsons
from itune_jax.data.readers import lines
from itune_jax.data.readers import streams

pyarrow = lazy.module("pyarrow")
ipc = lazy.module("pyarrow.ipc")
parquet = lazy.module("pyarrow.parquet")

_AT_ONCE = 64  # rows that are in memory as objects
_FILE = b"ARROW1"


def of_parquet(file: str) -> jsons.Found:
  """("row group G, row N", row) of a Parquet file. Raises Broken."""
  with streams.seekable(file) as f:
    try:
      table = parquet.ParquetFile(f, buffer_size=1 << 20, pre_buffer=False)
      for group in range(table.num_row_groups):
        batches = table.iter_batches(batch_size=_at_once(table, group), row_groups=[group], use_threads=False)
        yield from _numbered(batches, f"row group {group}")
    except _faults() as e:
      raise streams.Broken(file, f"cannot be read as Parquet ({jsontext.said(e)})") from None


def of_arrow(file: str) -> jsons.Found:
  """("batch B, row N", row) of an Arrow IPC file or stream, as `datasets` saves. Raises Broken."""
  with streams.seekable(file) as f:
    try:
      begun = f.read(6)
      f.seek(0)
      reader = ipc.open_file(f) if begun == _FILE else ipc.open_stream(f)
      count = reader.num_record_batches if begun == _FILE else None
      batches = (reader.get_batch(i) for i in range(count)) if count is not None else iter(reader)
      for number, batch in enumerate(batches):
        pieces = (batch.slice(start, _AT_ONCE) for start in range(0, batch.num_rows, _AT_ONCE))
        yield from _numbered(pieces, f"batch {number}")
    except _faults() as e:
      raise streams.Broken(file, f"cannot be read as Arrow ({jsontext.said(e)})") from None


def _faults() -> tuple[type[BaseException], ...]:
  """What pyarrow raises for a file that is damaged."""
  return pyarrow.ArrowException, OSError, ValueError, KeyError, IndexError, OverflowError, MemoryError


def _at_once(table: Any, group: int) -> int:
  """How many rows of a row group are read at once, so that they are no more than one row may be."""
  stored = table.metadata.row_group(group)
  mean = max(1, stored.total_byte_size // max(1, stored.num_rows))
  return max(1, min(_AT_ONCE, streams.MAX_ROW // mean))


def _numbered(batches: Iterator[Any], part: str) -> jsons.Found:
  number = 0
  for batch in batches:
    names = batch.schema.names
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
      raise ValueError(f"it has two columns {twice!r}")
    whole = not _fault(batch)
    for i in range(batch.num_rows):
      number += 1
      row = batch.slice(i, 1)
      fault = "" if whole else _fault(row)
      yield f"{part}, row {number}", lines.Bad(fault) if fault else _row(row)


def _fault(batch: Any) -> str:
  """What is wrong with the cells of a batch, "" where nothing is. To read an offset that leads out of the buffer would
  end the process, so nothing is read before this."""
  try:
    batch.validate(full=True)
  except (pyarrow.ArrowException, ValueError) as e:
    return f"a cell of it is damaged ({jsontext.said(e)})"
  return ""


def _row(batch: Any) -> Any:
  """The row of a batch of one. A cell that cannot be read is the fault of its row alone."""
  if batch.nbytes > streams.MAX_ROW:
    return lines.too_large(batch.nbytes)
  try:
    return {
      name: _without_nulls(column[0].as_py()) for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }
  except (ValueError, OverflowError, pyarrow.ArrowException) as e:
    return lines.Bad(f"a cell of it cannot be read ({jsontext.said(e)})")


def _without_nulls(value: Any) -> Any:
  """A value, whose objects have the keys that hold something."""
  if isinstance(value, dict):
    return {key: _without_nulls(one) for key, one in value.items() if one is not None}
  return [_without_nulls(one) for one in value] if isinstance(value, list) else value
