"""gin at the door: files, overrides, errors in one line, and the check that no knob is without effect."""

from collections.abc import Callable, Sequence
import inspect
import os
import re
import sys
import traceback
from typing import Any

import gin
from gin import config as gin_config
from gin import config_parser
from gin import utils as gin_utils

from itune_jax.core import errors
from itune_jax.core import nearest
from itune_jax.run import gin_effect
from itune_jax.run import gin_files
from itune_jax.run import gin_reach
from itune_jax.run import gin_values
from itune_jax.run import macros
from itune_jax.run import recipes
from itune_jax.run import user_code


def config_root() -> str:
  """The folder gin_configs of this checkout, or of the installed package."""
  return recipes.root()


def parse(
  run: str,
  gin_files_: Sequence[str],
  overrides: Sequence[str],
  *,
  imports: Sequence[str] = (),
  light: bool = False,
  without: Sequence[str] = (),
  placeholders: bool = False,
  reads_data: bool = True,
  command: str = "",
) -> list[str]:
  """Loads `runs/<run>.gin`, then the user's files, then overrides `NAME = VALUE`.

  Args:
    imports: modules of the user's own, whose classes overrides may name.
    light: imports and binds only what the run's own bindings reach; what stands in `without` ("module.Class.field") is
      left out too. So a command that needs two parts of a recipe does not import the others.
    placeholders: gives files and models that nothing names a name, for a command that does not open them.
    reads_data: whether modules of the user's that register data (`user_code.DATA_PACKAGES`) are imported.
    command: its name, for messages; that of the run by default.

  Returns the user's files of which the command reads nothing.

  Raises InputError with file and line for anything gin refuses, and for a value that would have no effect
  (`gin_effect`).
  """
  root = config_root()
  gin.clear_config()
  user_code.forget()
  paths = [os.path.join(root, "runs", f"{run}.gin"), *map(recipes.find, gin_files_)]
  try:
    read = [gin_files.read(path) for path in paths]
    for file in read:
      gin_files.check_order(file)
    given = _lengths(gin_values.bindings(overrides))
    read += _model_of_base(read, given, root)
    files = [*read, gin_files.File(gin_values.COMMAND_LINE, list(given))]
    if placeholders:
      files.append(gin_files.File(gin_values.COMMAND_LINE, _placeholders(files, root)))
    effect = gin_effect.Effect(files, root, command or run, imports)
    effect.check()
    given = [one for one in given if effect.mine(one)]
    files = [
      *read,
      *(file._replace(statements=list(filter(effect.mine, file.statements))) for file in files[len(read) :]),
    ]
    keep = gin_reach.reachable(files, set(without)) if light else None
    with gin.unlock_config():
      for name in imports:
        if (module := user_code.load(name, [os.getcwd()], reads_data)) is not None:
          _register(module, name)
      for file in files:
        _bind(file, keep, reads_data)
      gin_values.resolve([one for one in given if keep is None or id(one) in keep])
    return effect.idle(gin_files_)
  except errors.InputError as e:
    raise errors.InputError(_one_line(e)) from None
  except Exception as e:  # gin raises whatever the failing import or constructor raised
    raise errors.InputError(_one_line(e)) from e


def call(function: Callable, **given) -> Any:
  """Calls a function with its gin bindings.

  What the function itself raises comes out as it was raised, without gin's trail. Raises InputError in one line where
  gin cannot give it its values: a macro that nothing sets, a value that a constructor needs and nothing binds.
  """
  inspect.signature(function).bind_partial(**given)  # a caller's slip is no user's, and gin would not tell them apart
  bound = gin.get_configurable(function)
  try:
    return bound(**given)
  except Exception as e:
    error = e
  # Raised outside of the handler, so that gin's proxy does not stand in its history.
  original = _behind(error)
  if _raised_by_gin(original):
    raise errors.InputError(_one_line(error)) from original
  raise original


def scoped(kind: type, scope: str) -> Any:
  """A value of a class as bindings under this scope make it (`gsm8k/official.Settings.shots = 5`), None without any."""
  where = f"{kind.__module__}.{kind.__qualname__}"
  if not any(given == scope and where.endswith(name) for given, name in gin_config._CONFIG):
    return None
  with gin.config_scope(scope):
    return call(kind)


def operative() -> str:
  """Every binding that was used, defaults included; parses back to an equal run."""
  return gin.operative_config_str()


def given() -> str:
  """The configuration as given, after includes and overrides."""
  return gin.config_str()


def _bind(file: gin_files.File, keep: set[int] | None, reads_data: bool) -> None:
  """Does with a file's statements what gin does: imports, then bindings, names meaning what this file imports.

  keep: of which statements, by their identity; all without. reads_data: as `parse` has it.
  """
  folders = [os.path.dirname(file.path), os.getcwd()] if file.own else []
  with gin_config._parse_scope() as context:
    for one in file.statements:
      if isinstance(one, gin_files.File):
        _bind(one, keep, reads_data)
      elif keep is not None and id(one) not in keep:
        continue
      elif isinstance(one, config_parser.ImportStatement):
        with gin_utils.try_with_location(one.location):
          of_user = not one.module.startswith(("__gin__.", "itune_jax"))
          if not of_user or user_code.load(one.module, folders, reads_data) is not None:
            context.process_import(one)
      elif isinstance(one, gin_files.Binding) and not isinstance(one.value, gin_values.Text):
        with gin_utils.try_with_location(one.location):
          gin_values.bind(one)
    gin_config._IMPORTS.update(context.imports)


def _register(module: Any, name: str) -> None:
  """Makes the classes and functions of a module known to overrides, which import nothing themselves."""
  with gin_config._parse_scope() as context:
    where = config_parser.Location(None, 0, None, "")
    for feature in (
      config_parser.ImportStatement("__gin__.dynamic_registration", True, None, where),
      config_parser.ImportStatement(name, False, None, where),
    ):
      context.process_import(feature)
    for each, value in vars(module).items():
      if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module.__name__:
        context.get_configurable(f"{name}.{each}")
    gin_config._IMPORTS.update(context.imports)


def _lengths(given: list[gin_files.Binding]) -> list[gin_files.Binding]:
  """STEPS and EPOCHS say the same thing: what the command line gives takes the other's place in the recipe."""
  names = {one.selector for one in given if not one.parameter}
  for name, other in (("STEPS", "EPOCHS"), ("EPOCHS", "STEPS")):
    if name in names and other not in names:
      given = [*given, gin_values.binding(f"{other} = 0")]
      break
  return given


def _model_of_base(read: list[gin_files.File], given: Sequence[gin_files.Binding], root: str) -> list[gin_files.File]:
  """A base given for a recipe that names another one by itself: the model is then that of models/path.gin."""
  if not any(one.selector == "BASE" and not one.parameter for one in given) or "BASE" in gin_files.used(read):
    return []
  model = gin_files.read(os.path.join(root, "models", "path.gin"))
  line = gin_files.value("None")
  where = config_parser.Location(model.path, 0, None, "")
  model.statements.append(gin_files.Binding("", "specs.Model", "config", line, where))
  return [model]


def _placeholders(files: Sequence[gin_files.File], root: str) -> list[gin_files.Binding]:
  names = {name for name, macro in macros.MACROS.items() if macro.text} - {"BASE"}
  unset = (names & gin_files.used(files)) - gin_files.defined(files)
  return [gin_values.binding(f"{name} = 'none given'") for name in sorted(unset)]


def _behind(error: BaseException) -> BaseException:
  """What was raised, behind the proxies with which gin says where it passed by.

  A proxy is of a class that gin makes anew for every error, and what it stands for is its context.
  """
  wrap = gin_utils.augment_exception_message_and_reraise.__qualname__
  while getattr(type(error).__init__, "__qualname__", "").startswith(wrap) and error.__context__ is not None:
    error = error.__context__
  return error


def _raised_by_gin(error: BaseException) -> bool:
  """Whether the frame that raised is gin's own. Of a call that lacks an argument that is the frame which calls."""
  raised_in = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)][-1]
  return os.path.dirname(raised_in) == os.path.dirname(gin_utils.__file__)


def _one_line(error: BaseException) -> str:
  """What gin said, without the trail of its own calls."""
  if unset := re.search(r"In call to configurable 'macro' .* in scope '(?:.*/)?(\w+)'", str(error)):
    name = unset[1]
    what, how = macros.purpose(name), macros.how(name)
    return f"{name} is needed, but nothing sets it{what}: include a part that does, or give {how}"
  text = str(error)
  message, *trail = re.split(r"\n\s+(?=In (?:file|bindings|call))", text)
  message = " ".join(re.sub(r"In call to configurable '\S+' \(.*?\)", "", message).split()) or type(error).__name__
  message = re.sub(
    r"^'(\w+)' was not provided by an import statement\..*",
    r"\1 is not imported in this file: add a line that imports it, like `from itune_jax.optim import schedule`",
    message,
  )
  message = re.sub(
    r"^No configurable matching (?:reference )?'@?(.*?)(?:\(\))?'\.$",
    r"nothing that the files import is called \1",
    message,
  )
  message = re.sub(r"^Couldn't resolve selector (\S+); <module '(.+?)'.*> has no attribute (\w+)\.$", _nearest, message)
  return f"{message[:800]}{_place(trail[0]) if trail else ''}"


def _nearest(found: re.Match[str]) -> str:
  """What a module does not have, and what it has that is called alike."""
  selector, module, name = found.groups()
  there = [one for one in vars(sys.modules.get(module, sys)) if not one.startswith("_")]
  return f"{selector}: {module} has no {name}{nearest.meant(name, there)}"


def _place(trail: str) -> str:
  """Where gin was, of its own words: the file with the line, or what stands on the command line."""
  where, _, statement = trail.partition("\n")
  if found := re.match(r'In file "(.*)", line (\d+)', where):
    return f" ({found[1]}, line {found[2]})"
  if where.startswith("In bindings"):
    return f" (--gin.{' '.join(statement.split())})"
  return ""
