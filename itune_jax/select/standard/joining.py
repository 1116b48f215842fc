"""Rows joined with those of another file that have the same key."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.select import input_rows
from itune_jax.select import select_protocol


@dataclasses.dataclass(frozen=True, kw_only=True)
class Join(select_protocol.RowStep):
  """Adds what another file says of a row.

  path: the file of rows. on: the key that both have; their_key: its name there, where that is another. take: keys that
  are taken, all without any. conflict: where both have a key with different values: the row's stays, theirs takes its
  place, the row is dropped, or the run is refused. repeated: where several rows of the file have one key: the first or
  the last of them is taken, or the run is refused. unmatched: what becomes of a row that nothing is said of.
  """

  path: str
  on: str
  their_key: str = ""
  take: tuple[str, ...] = ()
  conflict: Literal["ours", "theirs", "drop", "refuse"] = "refuse"
  repeated: Literal["first", "last", "refuse"] = "refuse"
  unmatched: Literal["keep", "drop"] = "keep"

  def __post_init__(self):
    check.check_types(self)

  def files(self) -> tuple[str, ...]:
    """The other file, whose digest is part of what a selection is."""
    return (self.path,)

  def row(self, row: select_protocol.Row) -> select_protocol.Outcome:
    """The row with what is said of it."""
    table = _table(self.path, self.their_key or self.on, self.repeated)
    key = _key(row.get(self.on))
    theirs = table.rows.get(key)
    if theirs is None:
      if self.unmatched == "drop":
        return select_protocol.dropped(f"no row of the other file has its {self.on!r}")
      return select_protocol.Outcome(row, marks=("not joined",))
    new = {k: v for k, v in theirs.items() if (not self.take or k in self.take) and k != (self.their_key or self.on)}
    clash = sorted(key for key, value in new.items() if key in row and not jsontext.same(row[key], value))
    if clash and self.conflict == "refuse":
      raise errors.InputError(
        f"Join: {self.on!r} = {jsontext.shown(row[self.on])}: {clash[0]!r} is {jsontext.shown(row[clash[0]])} here and "
        f"{jsontext.shown(new[clash[0]])} in {self.path}; set Join.conflict"
      )
    if clash and self.conflict == "drop":
      return select_protocol.dropped(f"conflict of {clash[0]!r}")
    joined = {**new, **row} if self.conflict == "ours" else {**row, **new}
    ordered = {key: joined[key] for key in (*row, *(key for key in new if key not in row))}
    several = (f"several rows of the file: the {self.repeated}",) if key in table.repeated else ()
    marks = ("joined", *several, *(f"conflict of {name!r}" for name in clash))
    return select_protocol.Outcome(ordered, marks=marks)


class _Table(NamedTuple):
  """The rows of a file by their key, and the keys that several of them have."""

  rows: Mapping[Any, dict[str, Any]]
  repeated: frozenset[Any]


def _key(value: Any) -> Any:
  return value if isinstance(value, (str, int)) and not isinstance(value, bool) else None


@functools.lru_cache(4)
def _table(path: str, key: str, repeated: str) -> _Table:
  """Raises InputError for a row without the key, and for two of one key where those are refused."""
  found: dict[Any, dict[str, Any]] = {}
  several = set()
  for _, line, row, problem, *_ in input_rows.rows(path):
    if row is None:
      raise errors.InputError(f"{path}:{line}: {problem}")
    value = _key(row.get(key))
    if value is None:
      raise errors.InputError(f"{path}:{line}: has no text or whole number under {key!r}, which rows are joined on")
    if value in found:
      if repeated == "refuse":
        raise errors.InputError(
          f"{path}:{line}: {key!r} = {jsontext.shown(value)} stands there twice; set Join.repeated to first or last"
        )
      several.add(value)
    if value not in found or repeated == "last":
      found[value] = row
  return _Table(found, frozenset(several))
