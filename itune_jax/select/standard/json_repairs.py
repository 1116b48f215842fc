"""Texts that should be JSON: mended by json-repair, and checked with a JSON Schema."""

import collections
from collections.abc import Iterator, Mapping
import dataclasses
import functools
import json
import re
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import jsontext
from itune_jax.core import lazy
from itune_jax.select import select_protocol

json_repair = lazy.module("json_repair")
jsonschema = lazy.module("jsonschema")
_FENCED = re.compile(r"\s*(?P<fence>```|~~~)\w*\s*(.*?)\s*(?:(?P=fence)\s*)?", re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_WORD = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[^\W0-9]+")
_NO_NUMBER = re.compile(r"(?<![\w\"'])[-+]?(?:NaN|Infinity)(?![\w\"'])")
_CONSTANTS = {"true": "true", "false": "false", "none": "null", "null": "null"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class JsonRepairs(select_protocol.RowStep):
  """Mends the JSON in a key of the row: quotes, commas, brackets, and a fence of code around it.

  field: a key whose text should be JSON. optional: whether rows without the key go on as they are. parse: whether the
  value takes the place of its text. A row whose text begins no object and no list is dropped, and so is one that is not
  mended without a loss: of words, of a key that is named twice, of NaN or an infinity, which JSON does not have.
  """

  field: str
  optional: bool = False
  parse: bool = False

  def __post_init__(self):
    check.check_types(self)

  def row(self, row: select_protocol.Row) -> select_protocol.Outcome:
    """The row with JSON under its key."""
    text = row.get(self.field)
    if not isinstance(text, str):
      fine = isinstance(text, (dict, list)) or (text is None and self.optional)
      return select_protocol.Outcome(row) if fine else select_protocol.dropped(f"no JSON under {self.field!r}")
    try:
      value, marks = jsontext.loads(text, finite=True), ()
    except ValueError:
      try:
        value, marks = _mended(text), (f"JSON mended under {self.field!r}",)
      except ValueError as e:
        return select_protocol.dropped(f"no JSON under {self.field!r}{e}")
    if not marks and not self.parse:
      return select_protocol.Outcome(row)
    new = value if self.parse else json.dumps(value, ensure_ascii=False)
    return select_protocol.Outcome({**row, self.field: new}, marks=marks)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SchemaCheck(select_protocol.RowStep):
  """Drops rows that do not fit a JSON Schema; the reason names the place and the rule.

  path: the file of the schema. field: the key whose value is checked, as JSON where it is text; the whole row without.
  """

  path: str
  field: str = ""

  def __post_init__(self):
    check.check_types(self)

  def files(self) -> tuple[str, ...]:
    """The schema, whose digest is part of what a selection is."""
    return (self.path,)

  def row(self, row: select_protocol.Row) -> select_protocol.Outcome:
    """The row, if it fits."""
    value = row.get(self.field) if self.field else row
    if isinstance(value, str) and self.field:
      try:
        value = jsontext.loads(value, finite=True)
      except ValueError:
        return select_protocol.dropped(f"schema: no JSON under {self.field!r}")
    error = next(_validator(self.path).iter_errors(value), None)
    if error is None:
      return select_protocol.Outcome(row)
    place = "/".join("*" if isinstance(one, int) else str(one) for one in error.absolute_path) or "the row"
    return select_protocol.dropped(f"schema: {place} breaks {error.validator}")


def _mended(text: str) -> Any:
  """The value that a text is meant to be. Raises ValueError with the reason, "" for what was never meant as JSON."""
  fenced = _FENCED.fullmatch(text)
  text = (fenced[2] if fenced else text).strip("\ufeff \t\r\n")
  if not text.startswith(("{", "[")):
    raise ValueError
  try:
    return jsontext.loads(text, finite=True)
  except ValueError as e:
    if _is_read(text):
      raise ValueError(f": {e}") from None
  try:
    value = json_repair.loads(text)
  except (ValueError, RecursionError):
    raise ValueError from None
  if not value or not isinstance(value, dict if text.startswith("{") else list):
    raise ValueError
  said = list(_leaves(value))
  if _NO_NUMBER.search(text) and any(one in ("NaN", "Infinity", "-Infinity") for one in said):
    raise ValueError(": it holds a number that is not finite")
  if _words(_ESCAPE.sub(_escaped, text)) - sum(map(_words, said), collections.Counter()):
    raise ValueError(": it is mended only with a loss")
  return value


def _is_read(text: str) -> bool:
  """Whether Python's own reader takes a text, which overlooks what is ambiguous: that is not broken, but refused."""
  try:
    json.loads(text)
  except (ValueError, RecursionError):
    return False
  return True


def _escaped(found: re.Match[str]) -> str:
  """What an escape of JSON stands for, as far as words go."""
  one = found[1]
  return chr(int(one[1:], 16)) if len(one) == 5 else " " if one in "nrtbf" else one


def _words(text: str) -> collections.Counter[str]:
  """How often each word and number stands in a text, in whatever way numbers and constants are written."""
  return collections.Counter(
    str(float(one)) if one[0] in ".0123456789" else _CONSTANTS.get(one.lower(), one)
    for one in (found[0] for found in _WORD.finditer(text))
  )


def _leaves(value: Any) -> Iterator[str]:
  """The keys and plain values of a value, as text."""
  if isinstance(value, dict):
    for key, one in value.items():
      yield key
      yield from _leaves(one)
  elif isinstance(value, list):
    for one in value:
      yield from _leaves(one)
  else:
    yield value if isinstance(value, str) else json.dumps(value)


@functools.lru_cache(8)
def _validator(path: str) -> Any:
  """Raises InputError for a file that is no schema."""
  schema: Mapping[str, Any] = files.read_object(path)
  kind = jsonschema.validators.validator_for(schema)
  try:
    kind.check_schema(schema)
  except jsonschema.SchemaError as e:
    raise errors.InputError(f"{path}: is no JSON Schema ({jsontext.said(e)})") from None
  return kind(schema)
