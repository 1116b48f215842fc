"""Where recipes and parts are, and what each says of itself. Nothing here needs gin."""

from collections.abc import Iterator
import os
import re
import shutil
from typing import NamedTuple

from itune_jax.core import errors
from itune_jax.core import nearest

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDERS = ("recipes", "overlays")  # what a user names; the other folders hold parts


class Entry(NamedTuple):
  """A file of gin_configs: its name below that folder, and its first line."""

  name: str
  says: str


def root() -> str:
  """The folder gin_configs: that of the checkout, or the one that was installed with the package.

  Raises InputError when neither is there, which is a damaged installation.
  """
  for above in (os.path.dirname(_PACKAGE), _PACKAGE):
    found = os.path.join(above, "gin_configs")
    if os.path.isdir(os.path.join(found, "runs")):
      return found
  raise errors.InputError(f"no folder gin_configs in or beside {_PACKAGE}: install itune_jax again")


def find(file: str) -> str:
  """The path behind a --gin_file: as given, below gin_configs, or a recipe's bare name ("demo").

  Raises InputError with the recipes that there are.
  """
  top = root()
  below = re.sub(r"^gin_configs/", "", file)
  candidates = [file, os.path.join(top, below), os.path.join(top, "recipes", file)]
  for path in (*candidates, *(f"{path}.gin" for path in candidates)):
    if os.path.isfile(path):
      return os.path.abspath(path)
  known = [*(f"{folder}/{name}" for folder in _folders() for name in _names(folder)), *_names("recipes")]
  hint = nearest.meant(below, [*known, *(one.removesuffix(".gin") for one in known)])
  there = f"{hint} Recipes" if hint else "; recipes"
  raise errors.InputError(f"--gin_file={file}: no such file{there} are {', '.join(_names('recipes'))}")


def part(folder: str, name: str) -> str:
  """The file of a part by its bare name, such as ("peft", "dora"), or a file of the user's own.

  Raises InputError with the parts that there are.
  """
  if name.endswith(".gin") and os.path.isfile(name):
    return os.path.abspath(name)
  path = os.path.join(root(), folder, name.removeprefix(f"{folder}/").removesuffix(".gin") + ".gin")
  if not os.path.isfile(path):
    known = [one.removesuffix(".gin") for one in _names(folder)]
    hint = nearest.meant(name, known)
    there = f"{hint} There" if hint else "; there"
    raise errors.InputError(f"--{folder}={name}: no such part{there} are {', '.join(known)} (or give a .gin file)")
  return path


def entries() -> Iterator[Entry]:
  """All files, recipes and overlays first; the runs, which commands take by themselves, are left out."""
  top = root()
  for folder in _folders():
    for name in _names(folder):
      with open(os.path.join(top, folder, name), encoding="utf-8") as f:
        yield Entry(f"{folder}/{name}", f.readline().lstrip("# ").strip())


def used(name: str) -> set[str]:
  """The macros that a file and its includes refer to."""
  return set(re.findall(r"%([A-Z][A-Z0-9_]*)", "\n".join(_texts(os.path.join(root(), name)))))


def needs(name: str) -> list[str]:
  """The macros that a file and its includes use and do not set: what the user must give, such as DATA."""
  text = "\n".join(_texts(os.path.join(root(), name)))
  return sorted(used(name) - set(re.findall(r"^([A-Z][A-Z0-9_]*) *=", text, re.M)))


def unknown(folder: str) -> errors.InputError:
  """The error of a folder of gin_configs that is not there."""
  return errors.InputError(f"no folder {folder} in gin_configs; there are {', '.join(_folders())}")


def _texts(path: str) -> Iterator[str]:
  """The lines of a file and of what it includes, without comments."""
  with open(path, encoding="utf-8") as f:
    for line in f:
      if include := re.match(r'include "(.*)"', line):
        yield from _texts(os.path.join(root(), include[1]))
      else:
        yield line.partition("#")[0]


def copy(folder: str) -> list[str]:
  """Copies recipes, overlays and parts into a new folder, to be edited; returns the names of the recipes.

  Raises InputError when something is in the folder already: nothing of the user's is overwritten.
  """
  if os.path.exists(folder) and (not os.path.isdir(folder) or os.listdir(folder)):
    raise errors.InputError(
      f"{folder} is there already, and nothing is overwritten: name a folder that is new or empty"
    )
  top = root()
  try:
    os.makedirs(folder, exist_ok=True)
    for name in _folders():
      shutil.copytree(os.path.join(top, name), os.path.join(folder, name))
    shutil.copyfile(os.path.join(top, "README.md"), os.path.join(folder, "README.md"))
  except OSError as e:
    raise errors.RunError(f"{folder}: could not be written ({e.strerror or e})") from None
  return _names("recipes")


def _folders() -> list[str]:
  """The folders of gin_configs, those of recipes and overlays first, without the runs."""
  found = sorted(name for name in os.listdir(root()) if os.path.isdir(os.path.join(root(), name)))
  return [*FOLDERS, *(name for name in found if name not in (*FOLDERS, "runs", "__pycache__"))]


def _names(folder: str) -> list[str]:
  return sorted(name for name in os.listdir(os.path.join(root(), folder)) if name.endswith(".gin"))
