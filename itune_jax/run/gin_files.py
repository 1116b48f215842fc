"""gin files as statements, read before anything is imported: includes followed, references left as names."""

from collections.abc import Iterator, Sequence
import os
import re
from typing import IO, Any, NamedTuple

from gin import config_parser
from gin import utils as gin_utils

from itune_jax.core import errors
from itune_jax.run import recipes


class Reference(NamedTuple):
  """`@scope/module.Name`, called or not."""

  selector: str
  called: bool


class Use(NamedTuple):
  """`%NAME`."""

  name: str


class Binding(NamedTuple):
  """`scope/selector.parameter = value`; of a macro the parameter is empty and the selector its name."""

  scope: str
  selector: str
  parameter: str
  value: Any
  location: config_parser.Location


class File(NamedTuple):
  """The statements of a file, in order: bindings, imports, and the files that it includes."""

  path: str
  statements: list[Any]

  @property
  def own(self) -> bool:
    """Whether it is the user's: not in the package's folder."""
    return not self.path.startswith(recipes.root() + os.sep)

  def imports(self) -> dict[str, str]:
    """Module by the name that this file calls it."""
    found = [s for s in self.statements if isinstance(s, config_parser.ImportStatement)]
    return {s.bound_name(): s.module if s.is_from or s.alias else s.module.split(".")[0] for s in found}


class _Names(config_parser.ParserDelegate):
  """Leaves references as names."""

  def configurable_reference(self, name: str, evaluate: bool) -> Reference:
    return Reference(name, evaluate)

  def macro(self, name: str) -> Use:
    return Use(name)


def read(path: str, above: Sequence[str] = ()) -> File:
  """A file and what it includes. Raises InputError, with file and line, for what is no gin, and for an include that is
  nowhere, or that includes itself."""
  if path in above:
    raise errors.InputError(f"{path} includes itself: {' → '.join([*above[above.index(path) :], path])}")
  file = File(path, [])
  with open(path, encoding="utf-8-sig") as f:
    for one in _parsed(f, path):
      if isinstance(one, config_parser.IncludeStatement):
        with gin_utils.try_with_location(one.location):
          one = read(_included(one.filename, file), (*above, path))
      elif isinstance(one, config_parser.BindingStatement):
        one = Binding(*one)
      file.statements.append(one)
  return file


def _parsed(f: IO[str], path: str) -> Iterator[Any]:
  """gin's statements of an open file. Raises InputError, with file and line, for what is none."""
  try:
    yield from config_parser.ConfigParser(f, _Names())
  except Exception as e:  # gin's parser raises whatever the tokenizer, ast, and its own checks raise
    text = " ".join(str(e).split())
    line = re.search(r"line (\d+)\)$", text) or re.search(r"\((\d+), \d+\)", text)
    where = f"{path}, line {line[1]}" if line else path
    if token := re.search(r"Failed to parse token '(.*?)'", text):
      raise errors.InputError(f"{where}: {token[1]!r} is no value of gin; a text stands in quotes") from None
    if "EOF" in text or "never closed" in text:
      raise errors.InputError(f"{where}: a bracket or a quote is not closed before the file ends") from None
    said = re.sub(r" \([^()]*line \d+\)$", "", text)
    raise errors.InputError(f"{where}: this is no statement of gin, like STEPS = 100 ({said})") from None


def value(text: str) -> Any:
  """A value as gin reads it. Raises ValueError when the text is not exactly one value."""
  try:
    # A name in front makes it a statement: then what stands behind the value is an error, and not left out.
    statements: list[Any] = list(config_parser.ConfigParser(f"value = {text}", _Names()))
    (statement,) = statements
    return statement.value
  except Exception as e:  # gin's parser raises whatever the tokenizer, ast, and its own checks raise
    raise ValueError(f"{text} is no value of gin") from e


def flat(files: Sequence[File]) -> Iterator[tuple[File, Any]]:
  """All statements in the order in which gin meets them, each with its file."""
  for file in files:
    for one in file.statements:
      if isinstance(one, File):
        yield from flat([one])
      else:
        yield file, one


def defined(files: Sequence[File]) -> set[str]:
  """The macros that these files set."""
  return {one.selector for _, one in flat(files) if isinstance(one, Binding) and not one.parameter}


def used(files: Sequence[File]) -> set[str]:
  """The macros that these files refer to."""
  bindings = [one for _, one in flat(files) if isinstance(one, Binding)]
  return {each.name for one in bindings for each in within(one.value) if isinstance(each, Use)}


def check_order(file: File) -> None:
  """Raises InputError where a file sets a value, and what it includes behind that sets it to another: the first would
  have no effect, and nothing else would say so."""
  before: dict[tuple[str, str, str], Binding] = {}
  for one in file.statements:
    if isinstance(one, File):
      check_order(one)
      for inside, each in flat([one]):
        earlier = before.get(_key(inside, each)) if isinstance(each, Binding) else None
        if earlier is not None and earlier.value != each.value:
          raise errors.InputError(
            f"{file.path} sets {_name(earlier)} in line {earlier.location.line_num}, and {os.path.basename(one.path)}, "
            "which it includes behind that, sets it again: put the include in front"
          )
    elif isinstance(one, Binding):
      before[_key(file, one)] = one


def _key(file: File, one: Binding) -> tuple[str, str, str]:
  """What a binding is of, its class with its module."""
  first, _, rest = one.selector.partition(".")
  known = file.imports()
  return one.scope, f"{known[first]}.{rest}" if first in known else one.selector, one.parameter


def _name(one: Binding) -> str:
  return f"{one.selector}.{one.parameter}" if one.parameter else one.selector


def within(value: Any) -> Iterator[Reference | Use]:
  """The references and macros inside a value."""
  if isinstance(value, (Reference, Use)):
    yield value
  elif isinstance(value, dict):
    for key, item in value.items():
      yield from within(key)
      yield from within(item)
  elif isinstance(value, (list, tuple)):
    for item in value:
      yield from within(item)


def _included(name: str, file: File) -> str:
  """The path of an include: beside a user's file, in the current folder, or in the package; those of the package's own
  files lie in the package alone. Where recipes were copied (`itune init`), their parts are in the folders beside."""
  folder = os.path.dirname(file.path)
  beside = [folder, os.getcwd()] if file.own else []
  if file.own and os.path.isdir(os.path.join(recipes.root(), os.path.basename(folder))):
    beside.insert(1, os.path.dirname(folder))
  for folder in (*beside, recipes.root()):
    path = os.path.join(folder, name)
    if os.path.isfile(path):
      return os.path.abspath(path)
  where = ", ".join((*beside, recipes.root()))
  raise errors.InputError(f'{file.path}: include "{name}" is in none of {where}')
