"""gin at the door: files, overrides, errors in one line, and the check that no knob is without effect."""

from collections.abc import Callable, Sequence
import difflib
import inspect
import os
import re
import traceback
from typing import Any

import gin
from gin import config as gin_config
from gin import utils as gin_utils

from itune_jax.core import errors

_PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def config_root() -> str:
  """The folder gin_configs of this checkout, or of the current directory."""
  for root in (_PACKAGE_ROOT, os.getcwd()):
    if os.path.isdir(os.path.join(root, "gin_configs")):
      return os.path.join(root, "gin_configs")
  raise errors.InputError("no folder gin_configs beside the package or in the current directory")


def parse(run: str, gin_files: Sequence[str], overrides: Sequence[str]) -> None:
  """Loads `runs/<run>.gin`, then the user's files, then overrides `NAME=VALUE`.

  Raises InputError with file and line for anything gin refuses, and for a macro that nothing refers to.
  """
  root = config_root()
  gin.clear_config()
  gin_config._LOCATION_PREFIXES[:] = [root]  # gin logs an error for every folder it looks into in vain
  run_file = os.path.join(root, "runs", f"{run}.gin")
  paths = [run_file, *(_find(file, root) for file in gin_files)]
  try:
    with gin.unlock_config():
      for file in paths:
        gin.parse_config_file(file, skip_unknown=False)
      if overrides:
        gin.parse_config("\n".join(overrides))
  except errors.InputError:
    raise
  except Exception as e:  # gin raises whatever the failing import or constructor raised
    raise errors.InputError(_one_line(e)) from e
  _check_macros(root)


def _find(file: str, root: str) -> str:
  for path in (file, os.path.join(root, file)):
    if os.path.exists(path):
      return os.path.abspath(path)
  known = sorted(os.listdir(os.path.join(root, "recipes")))
  raise errors.InputError(f"--gin_file={file}: no such file; recipes are {', '.join(known)}")


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


def operative() -> str:
  """Every binding that was used, defaults included; parses back to an equal run."""
  return gin.operative_config_str()


def given() -> str:
  """The configuration as given, after includes and overrides."""
  return gin.config_str()


def _check_macros(root: str) -> None:
  defined = {scope for scope, name in gin_config._CONFIG if name == "gin.macro"}
  used: set[str] = set()
  for bindings in gin_config._CONFIG.values():
    for value in bindings.values():
      used |= _macros(value)
  for file in os.listdir(os.path.join(root, "runs")):
    with open(os.path.join(root, "runs", file), encoding="utf-8") as f:
      used |= set(re.findall(r"%([A-Z][A-Z0-9_]*)", f.read()))
  for name in sorted(defined - used):
    near = difflib.get_close_matches(name, used, 1)
    hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(used))}"
    raise errors.InputError(f"{name} is set, but nothing refers to it: it would have no effect{hint}")


def _macros(value: Any) -> set[str]:
  if isinstance(value, gin_config.ConfigurableReference):
    return set(re.findall(r"%([A-Z][A-Z0-9_]*)", repr(value)))
  if isinstance(value, dict):
    return set().union(*(_macros(v) for pair in value.items() for v in pair))
  if isinstance(value, (list, tuple)):
    return set().union(*(_macros(v) for v in value))
  return set()


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
    return f"{unset[1]} is needed, but nothing sets it: include a part that does, or give --gin.{unset[1]}=…"
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  where = [line for line in lines if line.startswith(("In file", "In bindings", "In call"))]
  text = " ".join(line for line in lines if line not in where) or type(error).__name__
  text = re.sub(r"In call to configurable '\S+' \(.*?\)", "", text).strip()
  return f"{text[:400]}{' (' + where[0].lower() + ')' if where else ''}"
