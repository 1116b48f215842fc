"""Modules of the user's own: where they are looked for, and that none is hidden by another of its name."""

import importlib
import importlib.util
import os
import sys

from itune_jax.core import errors


def look_in(folder: str, top: str) -> None:
  """Puts a folder behind the others, where modules are looked for, if it holds the one of this name.

  Raises InputError where another module of this name comes first: it would be imported in silence.
  """
  folder = os.path.abspath(folder)
  here = [os.path.join(folder, top + ending) for ending in (".py", f"{os.sep}__init__.py")]
  mine = next((path for path in here if os.path.isfile(path)), None)
  if mine is None:
    return
  if folder not in map(os.path.abspath, sys.path):
    sys.path.append(folder)
    importlib.invalidate_caches()
  found = origin(top)
  if found and not (os.path.exists(found) and os.path.samefile(found, mine)):
    raise errors.InputError(f"import {top}: {mine} is hidden by {found}: give it another name")


def origin(name: str) -> str:
  """The file of a module, imported or not; "" where there is none."""
  if name in sys.modules:
    return sys.modules[name].__dict__.get("__file__") or "a module that is part of Python"
  try:
    spec = importlib.util.find_spec(name)
  except (ImportError, ValueError):
    return ""
  return (spec.origin or "") if spec else ""
