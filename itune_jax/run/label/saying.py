"""Files of answers, through one door: every line is an answer to an item of a sheet that is here, or is told and
counted.

A line is {"sheet", "id", "annotator", "value"}, with `seconds` and `comment` where the page knows them.
"""

from collections.abc import Iterator, Mapping, Sequence
import collections
import dataclasses
import math
from typing import Any

from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.run.label import sheets
from itune_jax.select import input_rows

_KEYS = frozenset(("sheet", "id", "annotator", "value", "seconds", "comment"))
Value = str | float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
  """What one person said of one item. value: the text, the rating, the label, or the name of the system that is better
  (`sheets.TIE` for none). side: of a preference, which place that answer had. where: file and line."""

  item: str
  annotator: str
  value: Value
  side: str = ""
  seconds: float | None = None
  comment: str = ""
  where: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Said:
  """The answers to one sheet, in the order of its items and of the files."""

  sheet: sheets.Sheet
  answers: tuple[Answer, ...]

  @property
  def annotators(self) -> list[str]:
    """Who answered, by name."""
    return sorted({one.annotator for one in self.answers})

  def by_item(self) -> dict[str, dict[str, Answer]]:
    """Answers by item and annotator, items as the sheet has them."""
    found: dict[str, dict[str, Answer]] = {item.id: {} for item in self.sheet.items}
    for one in self.answers:
      found[one.item][one.annotator] = one
    return {id: answers for id, answers in found.items() if answers}

  def without(self, annotators: Sequence[str]) -> "Said":
    """The same without what these people said."""
    return dataclasses.replace(self, answers=tuple(one for one in self.answers if one.annotator not in annotators))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Read:
  """What files hold. lines: in all. refused: how many of them by kind; told: one line for each of them."""

  said: tuple[Said, ...]
  lines: int
  refused: Mapping[str, int]
  told: tuple[str, ...]


class _Bad(ValueError):
  """A line that is no answer. The message says what is wrong; `kind` has no particulars."""

  def __init__(self, kind: str, message: str = ""):
    super().__init__(message or kind)
    self.kind = kind


def read(paths: Sequence[str], given: Sequence[sheets.Sheet]) -> Read:
  """The answers in files. Raises InputError for a file that cannot be read, two keys of one sheet, and where no line is
  an answer."""
  by_digest = {sheet.digest: sheet for sheet in given}
  if len(by_digest) < len(given):
    raise errors.InputError("two keys are of one and the same page: give each once")
  items = {digest: {item.id: item for item in sheet.items} for digest, sheet in by_digest.items()}
  found: dict[str, dict[tuple[str, str], Answer]] = {digest: {} for digest in by_digest}
  refused: collections.Counter[str] = collections.Counter()
  told, lines = [], 0
  for where, row, problem, kind in _lines(paths):
    lines += 1
    try:
      if row is None:
        raise _Bad(kind, problem)
      digest = _sheet(row, by_digest)
      answer = _answer(row, by_digest[digest], items[digest], where)
      known = found[digest].setdefault((answer.item, answer.annotator), answer)
      if known is not answer:
        raise _twice(answer, known)
    except _Bad as e:
      refused[e.kind] += 1
      told.append(f"{where}: {e}")
  if not any(found.values()):
    kinds = "; ".join(f"{n} × {kind}" for kind, n in refused.items())
    raise errors.InputError(f"{', '.join(paths)}: no line is an answer to the pages of these keys ({kinds or 'empty'})")
  said = tuple(Said(sheet=by_digest[digest], answers=tuple(one.values())) for digest, one in found.items())
  return Read(said=said, lines=lines, refused=dict(refused), told=tuple(told))


def _lines(paths: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any] | None, str, str]]:
  """(file:line, object or None, what is wrong with it, its kind)."""
  for path in paths:
    for one in input_rows.rows(path):
      yield f"{one.file}:{one.place}", one.row, one.problem, one.kind


def _sheet(row: Mapping[str, Any], known: Mapping[str, sheets.Sheet]) -> str:
  for name in ("sheet", "id", "annotator"):
    if not isinstance(row.get(name), str) or not row[name].strip():
      raise _Bad(f"no text {name!r}", f"{name!r} is {jsontext.shown(row.get(name))}, no text: this is no answer")
  if unknown := sorted(set(row) - _KEYS):
    raise _Bad("unknown keys", f"has {unknown[0]!r}, which no answer has")
  if row["sheet"] not in known:
    raise _Bad("another page's", f"answers the page {row['sheet']!r}, whose key is not given (--key)")
  return row["sheet"]


def _answer(row: Mapping[str, Any], sheet: sheets.Sheet, items: Mapping[str, sheets.Item], where: str) -> Answer:
  item = items.get(row["id"])
  if item is None:
    raise _Bad("unknown id", f"answers item {jsontext.shown(row['id'])}, which the page does not have")
  value, side = _value(row.get("value"), sheet, item)
  seconds, comment = row.get("seconds"), row.get("comment", "")
  if seconds is not None and not _is_number(seconds):
    raise _Bad("no number of seconds", f"its `seconds` are {jsontext.shown(seconds)}, no number")
  if not isinstance(comment, str):
    raise _Bad("no text as comment", f"its `comment` is {jsontext.shown(comment)}, no text")
  own: dict[str, Any] = {"item": item.id, "annotator": row["annotator"].strip(), "where": where}
  return Answer(value=value, side=side, seconds=seconds, comment=comment, **own)


def _value(value: Any, sheet: sheets.Sheet, item: sheets.Item) -> tuple[Value, str]:
  """A value of the sheet's set, and the side of a preference."""
  if sheet.kind == "answer":
    if not isinstance(value, str) or not value.strip():
      raise _Bad("no text as answer", f"its value is {jsontext.shown(value)}; it must be text")
    return value, ""
  if sheet.kind == "rating":
    if not _is_number(value) or str(int(value)) not in sheet.values or int(value) != value:
      low, high = sheet.scale
      raise _Bad("a value out of the set", f"its value is {jsontext.shown(value)}; ratings are {low:g} to {high:g}")
    return float(value), ""
  if not isinstance(value, str) or value not in sheet.values:
    raise _Bad("a value out of the set", f"its value is {jsontext.shown(value)}; values are {', '.join(sheet.values)}")
  if sheet.kind == "preference":
    return (sheets.TIE if value == sheets.TIE else item.sides[sheets.SIDES.index(value)][0]), value
  return value, ""


def _twice(answer: Answer, known: Answer) -> _Bad:
  if answer.value == known.value:
    return _Bad("a repeated answer", f"{answer.annotator} said so of item {answer.item!r} already ({known.where})")
  return _Bad(
    "a second, other answer",
    f"{answer.annotator} answered item {answer.item!r} otherwise before ({known.where}); the first stands",
  )


def _is_number(value: Any) -> bool:
  return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
