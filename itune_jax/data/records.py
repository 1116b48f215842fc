"""One example, or one group of examples, as bytes: named, typed columns in a stated order.

A record is a header of int32 (how many examples, how many first ids they share, the ids of each), then of each example
its ids, its weights, and its further columns, one value for each id. What the columns are stands in the manifest beside
the records (`Schema`): a record by itself cannot be read.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from itune_jax.core import columns as columns_lib
from itune_jax.core import errors
from itune_jax.core import pack

VERSION = 2  # 1 was ids and weights, one half of a record each
GROUPS_VERSION = 2  # of what stands beside grouped records; 1 had no number of members


@dataclasses.dataclass(frozen=True)
class Schema:
  """What records hold beside ids and weights, and whether they are groups."""

  columns: tuple[columns_lib.Column, ...] = ()
  grouped: bool = False

  def to_json(self) -> dict[str, Any]:
    """For a manifest."""
    return {"version": VERSION, **dataclasses.asdict(self)}

  def encode(self, example: pack.Item | pack.Group) -> bytes:
    """A record. Raises InputError by name for a column that the example lacks, or that does not fit its ids."""
    group = example if isinstance(example, pack.Group) else pack.Group((example,))
    header = np.asarray([len(group.items), group.shared, *(len(item.ids) for item in group.items)], np.int32)
    parts = [header.tobytes()]
    for item in group.items:
      parts += [item.ids.astype(np.int32).tobytes(), item.weights.astype(np.float32).tobytes()]
      parts += [_column(item, column).tobytes() for column in self.columns]
    return b"".join(parts)

  def decode(self, record: bytes) -> pack.Item | pack.Group:
    """The example of a record; arrays are views of its bytes."""
    count, shared = np.frombuffer(record, np.int32, 2)
    lengths = np.frombuffer(record, np.int32, count, offset=8)
    at, items = 8 + 4 * int(count), []
    for n in map(int, lengths):
      columns = {}
      ids, at = _read(record, np.int32, (n,), at)
      weights, at = _read(record, np.float32, (n,), at)
      for column in self.columns:
        columns[column.name], at = _read(record, column.dtype, (n, *column.shape), at)
      items.append(pack.Item(ids, weights, None, columns))
    return pack.Group(tuple(items), int(shared)) if self.grouped else items[0]


def schema(manifest: Mapping[str, Any], where: str) -> Schema:
  """The schema of a manifest. Raises InputError naming the version of records that this code does not read."""
  found = manifest.get("record", {"version": 1})
  if found["version"] != VERSION:
    raise errors.InputError(
      f"{where}: its records are of version {found['version']}, this code reads {VERSION}: remove the folder and "
      "prepare again"
    )
  columns = tuple(columns_lib.Column(c["name"], c["dtype"], tuple(c["shape"])) for c in found["columns"])
  return Schema(columns, found["grouped"])


def require(columns: Sequence[columns_lib.Column], having: Schema, source: str, reader: str) -> None:
  """Raises InputError when a source lacks a column that is read, or has it of another type."""
  there = {column.name: column for column in having.columns}
  for column in columns:
    if there.get(column.name) != column:
      other = there.get(column.name)
      known = f"it has {_said(other)}" if other is not None else f"its columns: {', '.join(there) or 'none'}"
      raise errors.InputError(
        f"{reader} reads the column {_said(column)}, which source {source} does not hold ({known}): "
        f"{_CURES.get(column.name, 'give a source that holds it') if other is None else 'prepare it again'}"
      )
  if having.grouped and having.columns and not columns:
    raise errors.InputError(
      f"source {source} holds several answers to a prompt, told apart by {', '.join(there)}, and {reader} reads none"
      " of it: bad answers would be trained as good ones are; set an OBJECTIVE for them, or Source.format = 'chosen'"
    )


_PAIRS = "rows of pairs have it, read with Source.format = 'preference' (data/pairs.gin)"
_TEACHER = "`itune teacher` stores it beside a prepared source"
# Where a source gets a column from.
_CURES = {
  "side": _PAIRS,
  "margin": "pairs have it whose rows say `margin`, or a score of both sides",
  "gold": "pairs have it that have a third answer, `reference`",
  "label": "single answers have it (Source.format = 'unpaired', data/unpaired.gin), and steps ('stepwise')",
  "score": "rows have it that are read with Source.format = 'ranked' or 'scored'",
  "ref_logprob": "`itune reference` stores it beside a prepared source",
  "top_ids": _TEACHER,
  "top_logprobs": _TEACHER,
}


def _said(column: columns_lib.Column) -> str:
  shape = f", {' x '.join(map(str, column.shape))} to a token" if column.shape else ""
  return f"{column.name!r} ({column.dtype}{shape})"


def _column(item: pack.Item, column: columns_lib.Column) -> np.ndarray:
  n = len(item.ids)
  if column.name not in item.columns:
    raise errors.InputError(f"an example has no column {column.name!r}; it has {', '.join(item.columns) or 'none'}")
  value = np.asarray(item.columns[column.name], column.dtype)
  if value.shape not in ((n, *column.shape), column.shape):
    raise errors.InputError(
      f"column {column.name!r} of an example of {n} ids has shape {value.shape}, not {(n, *column.shape)}"
    )
  return np.ascontiguousarray(np.broadcast_to(value, (n, *column.shape)))


def _read(record: bytes, dtype: Any, shape: tuple[int, ...], at: int) -> tuple[np.ndarray, int]:
  size = int(np.prod(shape))
  values = np.frombuffer(record, dtype, size, offset=at).reshape(shape)
  return values, at + values.nbytes
