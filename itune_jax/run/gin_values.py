"""Values of the command line: gin where they are gin, text where text is wanted, never one in place of the other."""

from collections.abc import Iterator, Sequence
import inspect
import re
import typing
from typing import Any

from gin import config as gin_config
from gin import config_parser

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import nearest
from itune_jax.run import gin_files

COMMAND_LINE = "the command line"
_KINDS = {int: "a whole number", float: "a number", bool: "True or False"}  # of a type, in a message
_NAME = re.compile(r"(?:(?P<scope>[\w/]+)/)?(?P<path>\w+(?:\.\w+)*)")


class Text(str):
  """A value that gin cannot read: text, if text is what its name takes."""


def bindings(overrides: Sequence[str]) -> list[gin_files.Binding]:
  """Overrides `NAME = VALUE` as statements. Raises InputError for what has no name, or no value."""
  return [binding(line) for line in overrides]


def binding(line: str) -> gin_files.Binding:
  """One override `NAME = VALUE`. Raises InputError for what has no name, or no value."""
  name, _, text = (part.strip() for part in line.partition("="))
  found = _NAME.fullmatch(name)
  if found is None or any(part[0].isdigit() for part in found["path"].split(".")):
    raise errors.InputError(f"--gin.{name}={text}: {name!r} is no name of gin, like STEPS or lora.Lora.rank")
  if not text:
    raise errors.InputError(f"--gin.{name}= gives no value; an empty text is --gin.{name}=\"''\"")
  selector, _, parameter = found["path"].rpartition(".")
  where = config_parser.Location(None, 1, None, f"{name} = {text}")
  if not selector:  # a macro, whose name stands where others have their class
    return gin_files.Binding(found["scope"] or "", parameter, "", _value(name, text), where)
  return gin_files.Binding(found["scope"] or "", selector, parameter, _value(name, text), where)


def bind(one: gin_files.Binding) -> None:
  """Binds it in gin, in the scope of the file at hand. Raises InputError for a parameter that is not there."""
  if not one.parameter:
    name = f"{one.scope}/{one.selector}" if one.scope else one.selector
    gin_config.bind_parameter((name, "gin.macro", "value"), _of_gin(one.value))
    return
  try:
    gin_config.bind_parameter((one.scope, one.selector, one.parameter), _of_gin(one.value))
  except ValueError as e:
    if "have a parameter named" not in str(e):
      raise
    found: Any = gin_config._parse_context().get_configurable(one.selector)
    known = _parameters(found.wrapped)
    raise errors.InputError(nearest.lacks(one.selector, one.parameter, known)) from None


def resolve(given: Sequence[gin_files.Binding]) -> None:
  """Binds the values of the command line that gin cannot read, as text.

  Raises InputError where something else is wanted: a number, a list, a part.
  """
  for one in given:
    if isinstance(one.value, Text):
      _check_text(one)
      with gin_config._parse_scope():
        bind(one._replace(value=str(one.value)))


def hints(function: Any) -> dict[str, Any]:
  """The declared types of what a class or function takes, as far as they can be found."""
  for source in (function, function.__init__ if inspect.isclass(function) else None):
    try:
      found = typing.get_type_hints(source) if source is not None else {}
    except (NameError, TypeError, AttributeError):
      found = {}
    if found:
      return found
  return {}


def wanted(macro: str, seen: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
  """Where a macro is used in the configuration at hand: ("Class.parameter", its type), unknown types being Any."""
  for (scope, selector), values in list(gin_config._CONFIG.items()):
    for parameter, value in values.items():
      if macro not in _uses(value):
        continue
      if selector == "gin.macro":
        if scope not in seen:
          yield from ((where, hint if _is_use(value) else Any) for where, hint in wanted(scope, (*seen, macro)))
        continue
      function = gin_config._REGISTRY[selector].wrapped
      hint = hints(function).get(parameter, Any) if _is_use(value) else Any
      yield f"{selector.rsplit('.', 1)[-1]}.{parameter}", hint


def _value(name: str, text: str) -> Any:
  try:
    return gin_files.value(text)
  except ValueError:
    pass
  if text[0] in "'\"":
    raise errors.InputError(
      f"--gin.{name}={text}: this begins with a quote and is no text of gin: quote all of it, or none"
    )
  if text[0] in "@%":
    raise errors.InputError(f"--gin.{name}={text}: this is no reference of gin; a text that begins so stands in quotes")
  return Text(text)


def _check_text(one: gin_files.Binding) -> None:
  name = f"{one.selector}.{one.parameter}" if one.parameter else one.selector
  if one.parameter:
    with gin_config._parse_scope() as context:
      found = context.get_configurable(one.selector)
    if found is None:
      raise errors.InputError(f"--gin.{name}={one.value}: nothing of this run is called {one.selector}")
    if one.parameter not in _parameters(found.wrapped):
      return  # `bind` names what there is
    places = [(name, hints(found.wrapped).get(one.parameter, Any))]
  else:
    places = list(wanted(one.selector))
  for where, hint in places:
    if hint is Any or not check.fits(str(one.value), hint):
      kind = "a value of gin" if hint is Any else _KINDS.get(hint) or check.say(hint)
      raise errors.InputError(f"--gin.{name}={one.value}: {where} takes {kind}, not the text {str(one.value)!r}")
    if one.value[0] in "[({" and any(check.fits(empty, hint) for empty in ((), {})):
      raise errors.InputError(
        f"--gin.{name}={one.value}: this is no list of gin; a text that begins so stands in quotes"
      )


def _of_gin(value: Any) -> Any:
  """The value with gin's own references in place of names."""
  delegate = gin_config.ParserDelegate()
  if isinstance(value, gin_files.Reference):
    return delegate.configurable_reference(value.selector, value.called)
  if isinstance(value, gin_files.Use):
    return delegate.macro(value.name)
  if isinstance(value, dict):
    return {_of_gin(k): _of_gin(v) for k, v in value.items()}
  if isinstance(value, (list, tuple)):
    return type(value)(map(_of_gin, value))
  return value


def _uses(value: Any) -> Iterator[str]:
  if _is_use(value):
    yield value.scoped_selector.removesuffix("/gin.macro")
  elif isinstance(value, dict):
    for pair in value.items():
      for item in pair:
        yield from _uses(item)
  elif isinstance(value, (list, tuple)):
    for item in value:
      yield from _uses(item)


def _is_use(value: Any) -> bool:
  return isinstance(value, gin_config.ConfigurableReference) and value.scoped_selector.endswith("/gin.macro")


def _parameters(function: Any) -> list[str]:
  return [name for name in inspect.signature(function).parameters if name != "self"]
