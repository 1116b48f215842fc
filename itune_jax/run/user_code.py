"""Modules of the user's own: found beside a gin file or in the current folder, and remembered by checkpoints."""

from collections.abc import Mapping, Sequence
import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import types
from typing import Any

from itune_jax.core import errors
from itune_jax.core import log
from itune_jax.core import own_modules

# What was imported at a user's word: module name -> module. It holds for the process.
_loaded: dict[str, types.ModuleType] = {}
# Modules that register data, which this command does without: name -> file.
_left_out: dict[str, str] = {}
# What a module that registers data imports, and what costs seconds and memory that training has no use for.
DATA_PACKAGES = ("seqio", "tensorflow", "tensorflow_datasets", "t5")


def forget() -> None:
  """Starts anew: what was imported stays imported, and no checkpoint names it."""
  _loaded.clear()
  _left_out.clear()


def files() -> dict[str, str]:
  """The files of the modules that the user named, by name, those that were left out included."""
  found = {name: module.__dict__.get("__file__") or "" for name, module in _loaded.items()}
  return {**found, **_left_out}


def load(name: str, folders: Sequence[str] = (), reads_data: bool = True) -> types.ModuleType | None:
  """Imports a module that the user names; these folders are looked through behind the installed packages.

  reads_data: whether it may import SeqIO or TensorFlow. If not, a module that would is not imported, and None comes
  back: it registers data, which was read when it was prepared.

  Raises InputError in one line when it is not there, another module hides it, or it raises as it is imported.
  """
  if name.startswith(("itune_jax.", "itune_jax:")) or name == "itune_jax":
    return importlib.import_module(name)
  for folder in folders:
    own_modules.look_in(folder, name.split(".")[0])
  try:
    with contextlib.nullcontext() if reads_data else _without_data_packages():
      module = importlib.import_module(name)
  except _DataPackage as e:
    _left_out[name] = own_modules.origin(name)
    log.info(f"import {name}: it imports {e}, so it registers data and is left out here; `itune prepare` reads data")
    return None
  except errors.InputError:
    raise
  except ModuleNotFoundError as e:
    if e.name and (name == e.name or name.startswith(f"{e.name}.")):
      raise errors.InputError(
        f"import {name}: no such module in {', '.join(folders) or 'the path'}, nor installed"
      ) from None
    raise errors.InputError(f"import {name}: {own_modules.origin(name)} needs {e.name}, which is not installed") from e
  except Exception as e:  # whatever the user's module raises
    raise errors.InputError(f"import {name}: {type(e).__name__}: {e}") from e
  _loaded[name] = module
  return module


def remembered(of_methods: Sequence[str]) -> list[dict[str, str]]:
  """What a checkpoint says of the user's modules: name, file, and role.

  of_methods: the modules of the methods that it holds, and of those in the table. A module of the user's among them is
  of the role "model": whoever loads the checkpoint needs it. The others are "data" (readers, checks, losses): only
  what reads data and judges answers needs those.
  """
  mine = {name for name in of_methods if not name.startswith("itune_jax.") and name != "__main__"}
  found = {name: sys.modules[name] for name in (*mine, *_loaded) if name in sys.modules}
  files = {name: module.__dict__.get("__file__") or "" for name, module in found.items()}
  return [
    {"module": name, "path": path and os.path.abspath(path), "role": "model" if name in mine else "data"}
    for name, path in sorted(files.items())
  ]


def restore(rows: Sequence[Mapping[str, Any]], roles: Sequence[str] = ("model",)) -> None:
  """Imports what a checkpoint remembers, of these roles.

  Raises InputError, with the file's path, when a module is not there any more.
  """
  for row in rows:
    name, path = str(row.get("module", "")), str(row.get("path", ""))
    if row.get("role") not in roles or name in sys.modules:
      continue
    levels = name.count(".") + 1 + (os.path.basename(path) == "__init__.py")
    folder = path
    for _ in range(levels):
      folder = os.path.dirname(folder)
    if not os.path.exists(path) and importlib.util.find_spec(name.split(".")[0]) is None:
      raise errors.InputError(
        f"this checkpoint needs the module {name}, which was at {path or 'no file'} and is not there: "
        f"bring it back, or name its folder in PYTHONPATH"
      )
    load(name, [folder] if os.path.exists(path) else [])


class _DataPackage(BaseException):
  """Says which package of DATA_PACKAGES was about to be imported. No Exception: a module that does without SeqIO where
  it is not installed would do without it here too, in silence."""


class _Refusing(importlib.abc.MetaPathFinder):
  """Stands in front of all other finders."""

  def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
    """Raises for a package that reads data, and finds nothing."""
    if fullname.partition(".")[0] in DATA_PACKAGES:
      raise _DataPackage(fullname)


@contextlib.contextmanager
def _without_data_packages():
  finder = _Refusing()
  sys.meta_path.insert(0, finder)
  try:
    yield
  finally:
    sys.meta_path.remove(finder)
