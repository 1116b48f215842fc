"""JSON text as a value, or one line why it is none: what is ambiguous or too deep is refused as well."""

import json
import math
import re
import sys
from typing import Any

_HALF = re.compile("[\ud800-\udfff]")
DEPTH = 100  # far below where walking a value would reach the interpreter's own limit


def loads(text: str, *, finite: bool = False) -> Any:
  """The value of a JSON text; NaN and the infinities, which Python writes, are read as Python does unless `finite`.

  Raises ValueError in one line for what is no JSON, names a key of an object twice, or is nested beyond `DEPTH`.
  """
  try:
    value = json.loads(text, object_pairs_hook=_object)
  except RecursionError:
    raise ValueError(f"nested more than {DEPTH} deep") from None
  except json.JSONDecodeError as e:
    raise ValueError(_where(e, text)) from None
  except ValueError as e:
    if "limit" in str(e) and "digits" in str(e):
      raise ValueError(f"it holds a whole number of more than {sys.get_int_max_str_digits()} digits") from None
    raise
  if text.count("{") + text.count("[") > DEPTH and _depth(value) > DEPTH:
    raise ValueError(f"nested more than {DEPTH} deep")
  if finite and not _is_finite(value):
    raise ValueError("it holds a number that is not finite")
  return value


def dumps(value: Any, **how: Any) -> str:
  """The JSON text of a value, which every file holds: halves of surrogate pairs, such as an answer that was cut within
  a character may end with, are escaped, and come back as they were. how: as of `json.dumps`."""
  text = json.dumps(value, ensure_ascii=False, **how)
  return text if text.isascii() else _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def finite(value: Any) -> Any:
  """A value with null in place of numbers that are not finite, which JSON has no word for."""
  if isinstance(value, dict):
    return {key: finite(one) for key, one in value.items()}
  if isinstance(value, (list, tuple)):
    return [finite(one) for one in value]
  return None if isinstance(value, float) and not math.isfinite(value) else value


def same(a: Any, b: Any) -> bool:
  """Whether two JSON values are equal with their types: true is not 1; 1 and 1.0 are one number; NaN equals nothing."""
  if isinstance(a, dict) and isinstance(b, dict):
    return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
  if isinstance(a, list) and isinstance(b, list):
    return len(a) == len(b) and all(same(*pair) for pair in zip(a, b, strict=True))
  return _kind(a) == _kind(b) and a == b


def name(value: Any) -> str:
  """What JSON calls the type of a value."""
  return {"NoneType": "null", "bool": "a boolean", "int": "a number", "float": "a number", "str": "text"}.get(
    type(value).__name__, "a list" if isinstance(value, (list, tuple)) else "an object"
  )


def shown(value: Any, most: int = 60) -> str:
  """A value as a message shows it: short, on one line, in characters that every terminal prints."""
  text = repr(value).encode("utf-8", "backslashreplace").decode()
  return text if len(text) <= most else text[:most] + "…"


def line(text: str) -> str:
  """A text on one line, in characters that every terminal prints and every file holds: others are escaped."""
  return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def said(error: BaseException, most: int = 200) -> str:
  """What an error of another library says, as a message shows it: short, on one line, printable."""
  text = " ".join(str(error).encode("utf-8", "backslashreplace").decode().split()) or type(error).__name__
  return text if len(text) <= most else text[:most] + "…"


def _where(error: json.JSONDecodeError, text: str) -> str:
  """What is wrong and where; of a text of one line, whose line in its file the message says, the column alone."""
  line = f"in line {error.lineno}, " if "\n" in text.strip() else "at "
  return f"{error.msg} {line}column {error.colno}"


def _object(pairs):
  found = dict(pairs)
  if len(found) < len(pairs):
    seen: set[str] = set()
    twice = next(key for key, _ in pairs if key in seen or seen.add(key))
    raise ValueError(f"an object names the key {shown(twice)} twice")
  return found


def _kind(value) -> str:
  return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value).__name__


def _depth(value) -> int:
  """Levels of lists and objects, without recursion; stops counting behind `DEPTH`."""
  level, depth = [value], 0
  while level and depth <= DEPTH:
    level = [child for one in level for child in _children(one)]
    depth += bool(level)
  return depth


def _is_finite(value) -> bool:
  return math.isfinite(value) if isinstance(value, float) else all(map(_is_finite, _children(value)))


def _children(value):
  if isinstance(value, dict):
    return value.values()
  return value if isinstance(value, (list, tuple)) else ()
