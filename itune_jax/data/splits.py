"""Which rows are held out: a share of them by a hash, all rows of a cluster together, or what a column says.

A row's side hangs on the row alone, never on the others: rows that are added later move none. One conversation is never
on both sides: where ids or columns would put it there, the rows of it that are not held out are left out, by name.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator

from itune_jax.core import check
from itune_jax.data import example as example_lib
from itune_jax.data.readers import readers

CONTENT, ID = "content", "id"
_NAMED = 8  # values of a column that a message names


@dataclasses.dataclass(frozen=True)
class Split:
  """share: of the rows that is held out. by: "content" (the conversation), "id", or "column:NAME", whose values are
  clusters: rows of one are held out together. where: "NAME=a,b": held out are the rows whose column NAME is one of
  these."""

  share: float = 0.0
  by: str = CONTENT
  where: str = ""

  def require(self, source: str) -> None:
    """Raises InputError for what is no split."""
    check.require(0 <= self.share < 1, f"Source {source}: held_out must be a share below 1, not {self.share}")
    check.require(
      self.by in (CONTENT, ID) or self.by.removeprefix("column:") not in ("", self.by),
      f"Source {source}: held_out_by = {self.by!r}; it is 'content', 'id', or 'column:NAME'",
    )
    check.require(
      not self.where or (self.column and self.values and all(self.values)),
      f"Source {source}: held_out_where = {self.where!r}; write it as 'NAME=value', or 'NAME=value,other'",
    )
    check.require(
      not self.where or (not self.share and self.by == CONTENT),
      f"Source {source}: held_out_where says which rows are held out; held_out (a share, also that of VAL_FRACTION) "
      "and held_out_by say it otherwise: set one of them",
    )

  @property
  def column(self) -> str:
    """The column that a row keeps the value of, "" for none."""
    named = self.where.partition("=")[0].strip()
    return named or (self.by.removeprefix("column:") if self.by not in (CONTENT, ID) else "")

  @property
  def values(self) -> tuple[str, ...]:
    """The values of the column that are held out."""
    return tuple(one.strip() for one in self.where.partition("=")[2].split(",")) if self.where else ()

  @property
  def is_safe(self) -> bool:
    """Whether one conversation cannot be on both sides."""
    return not self.where and self.by == CONTENT

  def holds_out(self, row: readers.Row) -> bool:
    """Whether a row that is an example is held out."""
    assert row.example is not None
    if self.where:
      return (row.group or "").strip() in self.values
    key = {CONTENT: content, ID: lambda example: example.id}.get(self.by, lambda example: row.group or "")
    return number(key(row.example)) < self.share


def content(example: example_lib.Example) -> str:
  """What a row says, as text."""
  own = [example.given] if example.given is not None else []
  return json.dumps([example.messages, example.tools, *own], sort_keys=True, ensure_ascii=False, default=str)


def number(text: str) -> float:
  """A text's place among all texts, from 0 to 1: its hash."""
  return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") / 2**64


def taken(
  rows: Callable[[], Iterable[readers.Row]],
  split: Split,
  take: str,
  said: Callable[[example_lib.Example], str] = content,
  whole: bool = False,
) -> Iterator[readers.Row]:
  """The rows of one side, and those that are no example. rows: gives all of them, as often as it is asked. take: all,
  rest, or held_out. said: what a row says, by which two are one conversation.

  whole: whether these are all rows of a source; then raises InputError, behind the last one, where the column has none
  of the values that are held out: a slip in one of them would train on what is meant for testing."""
  if take == "all":
    yield from rows()
    return
  twins: set[float] = set()
  if take == "rest" and not split.is_safe:
    twins = {number(said(row.example)) for row in rows() if row.example is not None and split.holds_out(row)}
  others: set[str] | None = set() if whole else None  # values of the column, as long as none is held out
  for row in rows():
    if split.where and row.example is not None and others is not None:
      others = None if split.holds_out(row) else {*others, row.group or ""} if len(others) < _NAMED else others
    if row.example is None:
      yield row
    elif split.holds_out(row) == (take == "held_out"):
      if twins and number(said(row.example)) in twins:
        yield dataclasses.replace(row, example=None, problem="its conversation is among the held-out rows as well")
      else:
        yield row
  check.require(
    not others,
    f"held_out_where = {split.where!r}: no row has such a value; the column has {', '.join(sorted(others or ()))}",
  )
