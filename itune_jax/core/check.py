"""Type checks for the frozen dataclasses that configuration builds.

gin accepts a value of any type for any field; a run that starts with `rank="8"` fails much later and far
away. `check_types(self)` in `__post_init__` says it at once, in the user's words.
"""

import dataclasses
import math
import re
import types
import typing

from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.core import ranges


def check_types(value: object) -> None:
  """Raises InputError when a field of a dataclass holds a value of another type than declared, a number outside of the
  range that its type names (`ranges`), or one that is not finite: no setting is."""
  hints = typing.get_type_hints(type(value), include_extras=True)
  for field in dataclasses.fields(value):  # pyright: ignore[reportArgumentType]
    got, hint = getattr(value, field.name), hints[field.name]
    if not (fits(got, hint) and _is_finite(got)):
      name, is_ = f"{type(value).__name__}.{field.name}", f"{jsontext.shown(got, 200)} ({type(got).__name__})"
      raise errors.InputError(f"{name} = {is_}; it takes {say(hint)}")


def _is_finite(value: object) -> bool:
  """Whether a number is finite, and all of a tuple are."""
  if isinstance(value, (tuple, list)):
    return all(map(_is_finite, value))
  return not isinstance(value, float) or math.isfinite(value)


def finite(value: object) -> None:
  """Raises InputError for a field of a dataclass that is no finite number, or one of more than 31 bits: no size is."""
  for field in dataclasses.fields(value):  # pyright: ignore[reportArgumentType]
    got = getattr(value, field.name)
    for one in got if isinstance(got, tuple) else (got,):
      bad = not math.isfinite(one) if isinstance(one, float) else isinstance(one, int) and abs(one) >= 2**31
      if bad:
        raise errors.InputError(f"{type(value).__name__}.{field.name} = {one!r}, which no model has")


def require(condition: object, message: str) -> None:
  """Raises InputError(message) unless the condition holds."""
  if not condition:
    raise errors.InputError(message)


def seed(value: typing.Any, where: str = "SEED") -> None:
  """Raises InputError for a seed that no generator takes, or that one would cut: it is a whole number of 32 bits."""
  good = type(value) is int and 0 <= value < 2**32
  require(good, f"{where} = {value!r}: it is a whole number from 0 to {2**32 - 1:,}")


def regex(value: typing.Any, where: str) -> None:
  """Raises InputError, in the user's words, for a text, or keys of a table, that are no regular expressions."""
  for pattern in (value,) if isinstance(value, str) else value:
    try:
      re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as e:
      raise errors.InputError(f"{where} = {pattern!r} is no regular expression: {e}") from None


def rebuild(kind: type, fields: dict[str, typing.Any]) -> typing.Any:
  """A frozen dataclass, nested ones included, from what `dataclasses.asdict` and JSON made of it."""
  hints = typing.get_type_hints(kind)
  if unknown := sorted(set(fields) - {field.name for field in dataclasses.fields(kind)}):
    raise errors.InputError(f"{kind.__name__} has no {unknown[0]}: written by another version, or by hand")
  return kind(**{name: _rebuilt(value, hints[name]) for name, value in fields.items()})


def _rebuilt(value, hint):
  options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
  nested = next((option for option in options if dataclasses.is_dataclass(option)), None)
  if isinstance(value, dict) and nested is not None:
    return rebuild(typing.cast(type, nested), value)
  return tuple(value) if isinstance(value, list) else value


def fits(value: typing.Any, hint: typing.Any) -> bool:
  """Whether a value is of a declared type; a whole number is a float too, and a truth value no number."""
  origin = typing.get_origin(hint)
  if hint is typing.Any:
    return True
  if origin is typing.Annotated:
    plain, *said = typing.get_args(hint)
    return fits(value, plain) and all(value in one for one in said if isinstance(one, ranges.Range))
  if origin in (typing.Union, types.UnionType):
    return any(fits(value, option) for option in typing.get_args(hint))
  if origin is typing.Literal:
    return value in typing.get_args(hint)
  if origin is tuple:
    item = typing.get_args(hint)
    if not isinstance(value, (tuple, list)):
      return False
    if len(item) == 2 and item[1] is Ellipsis:
      return all(fits(one, item[0]) for one in value)
    return len(item) == len(value) and all(map(fits, value, item))
  if origin in (dict, typing.get_origin(typing.Mapping[str, int])):
    key, item = typing.get_args(hint)
    return isinstance(value, dict) and all(fits(k, key) and fits(v, item) for k, v in value.items())
  if hint is float:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
  if hint is int:
    return isinstance(value, int) and not isinstance(value, bool)
  if hint is None:
    return value is None
  if getattr(hint, "_is_protocol", False):
    return value is not None
  if isinstance(hint, type):
    return isinstance(value, hint)
  return True


def say(hint: typing.Any) -> str:
  """A declared type in the user's words."""
  if typing.get_origin(hint) is typing.Annotated:
    plain, *said = typing.get_args(hint)
    return ", ".join([say(plain), *(str(one) for one in said if isinstance(one, ranges.Range))])
  if typing.get_origin(hint) in (typing.Union, types.UnionType):
    return " or ".join(say(option) for option in typing.get_args(hint))
  if hint is type(None):
    return "None"
  if typing.get_origin(hint) is typing.Literal:
    return "one of " + ", ".join(map(repr, typing.get_args(hint)))
  return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
