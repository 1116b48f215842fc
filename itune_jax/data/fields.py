"""The door of values: a field of a row is of the type that its format says, or refused by name, type and cure."""

import math
from collections.abc import Mapping
from typing import Any

from itune_jax.core import jsontext


class BadRow(ValueError):
  """A row that is no example. The message says why, in the user's words and on one line, whatever stands in the row."""

  def __init__(self, reason: str):
    super().__init__(jsontext.line(reason))


def is_null(value: Any) -> bool:
  """Whether nothing is meant: null, and NaN, which is how tables write an empty cell into JSON."""
  return value is None or (isinstance(value, float) and math.isnan(value))


def text(value: Any, where: str) -> str:
  """A text. Raises BadRow for any other type, and for one that no file can hold (half of a surrogate pair)."""
  if not isinstance(value, str):
    raise BadRow(f"{where} is {jsontext.name(value)} ({jsontext.shown(value)}); it must be text")
  if not value.isascii():
    try:
      value.encode()
    except UnicodeEncodeError as e:
      raise BadRow(
        f"{where} holds half of a surrogate pair (\\u{ord(value[e.start]):04x}), which is no character"
      ) from None
  return value


def optional_text(row: Mapping[str, Any], key: str) -> str:
  """The text under a key, "" where there is none."""
  return "" if is_null(row.get(key)) else text(row[key], f"`{key}`")


def number(value: Any, where: str) -> float:
  """A finite number. Raises BadRow."""
  fits = isinstance(value, (int, float)) and not isinstance(value, bool)
  if not fits or (isinstance(value, float) and not math.isfinite(value)) or abs(value) > 3e38:
    raise BadRow(f"{where} is {jsontext.shown(value)}; it must be a finite number, which float32 holds")
  return float(value)


def mapping(value: Any, where: str) -> dict[str, Any]:
  """An object, {} for null, of values that JSON can hold. Raises BadRow."""
  if is_null(value):
    return {}
  if not isinstance(value, Mapping):
    raise BadRow(f"{where} is {jsontext.name(value)} ({jsontext.shown(value)}); it must be an object")
  return value_of(value, where)


def filled(value: Any, where: str) -> dict[str, Any]:
  """The same without the keys under which nothing is meant: a table has every key of an object in each row."""
  if isinstance(value, Mapping):
    value = {key: one for key, one in value.items() if not is_null(one)}
  return mapping(value, where)


def transposed(value: Any) -> Any:
  """A list of objects where Arrow holds it as an object of lists of one length, which is how `datasets` stores a
  sequence of objects; any other value is given back."""
  if not isinstance(value, Mapping) or not value or not all(isinstance(one, (list, tuple)) for one in value.values()):
    return value
  if len({len(one) for one in value.values()}) > 1:
    return value
  return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]


def listed(value: Any, where: str) -> Any:
  """A list that may stand there transposed, or as JSON text, which is how tables without nesting hold it; any other
  value is given back. Raises BadRow for text that begins as a list and is no JSON."""
  if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
    try:
      value = jsontext.loads(text(value, where))
    except ValueError as e:
      raise BadRow(f"{where} is text that is not JSON ({e}): {jsontext.shown(value)}") from None
  return transposed(value)


def decoded(value: Any, where: str, kind: type) -> Any:
  """A list or object that may stand there as JSON text, which is decoded once. Raises BadRow."""
  if isinstance(value, str):
    try:
      value = jsontext.loads(text(value, where))
    except ValueError as e:
      raise BadRow(f"{where} is text that is not JSON ({e}): {jsontext.shown(value)}") from None
  value = list(value) if isinstance(value, tuple) else value
  if not isinstance(value, kind):
    expected = "a list" if kind is list else "an object"
    raise BadRow(
      f"{where} is {jsontext.name(value)} ({jsontext.shown(value)}); it must be {expected}, or JSON text of one"
    )
  return value_of(value, where)


def value_of(value: Any, where: str, depth: int = 0) -> Any:
  """A JSON value whose texts are text and whose numbers are finite. Raises BadRow."""
  if depth > jsontext.DEPTH:
    raise BadRow(f"{where} is nested more than {jsontext.DEPTH} deep")
  if isinstance(value, Mapping):
    return {text(key, f"a key of {where}"): value_of(one, where, depth + 1) for key, one in value.items()}
  if isinstance(value, (list, tuple)):
    return [value_of(one, where, depth + 1) for one in value]
  if isinstance(value, str):
    return text(value, where)
  if value is None or isinstance(value, (bool, int)):
    return value
  if isinstance(value, float) and math.isfinite(value):
    return value
  raise BadRow(f"{where} holds {jsontext.shown(value)}, which is no value of JSON")
