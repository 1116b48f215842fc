"""One run of a sweep: its flags, and a name made of all that decides its result, so that equal runs are one."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import glob
import hashlib
import json
import os
import re

from gin import config_parser

from itune_jax.core import check
from itune_jax.core import files
from itune_jax.core import nearest
from itune_jax.run import gin_files
from itune_jax.run import macros
from itune_jax.run import recipes
from itune_jax.run.sweep import space as space_lib


@dataclasses.dataclass(frozen=True)
class Cell:
  """A point with a seed, and at a rung of halving with its steps (0: those of the recipe)."""

  point: space_lib.Point
  seed: int
  steps: int = 0

  def flags(self) -> list[str]:
    """What it adds to the command line that all runs share."""
    steps = {"STEPS": self.steps} if self.steps else {}
    return [_flag(name, value) for name, value in {**self.point, "SEED": self.seed, **steps}.items()]

  @property
  def title(self) -> str:
    """How tables and logs call it."""
    parts = [f"{short(name)}={shown(value)}" for name, value in self.point.items()]
    return " ".join([*parts, f"seed={self.seed}", *([f"steps={self.steps}"] if self.steps else [])])


def cells(space: space_lib.Space, steps: int = 0) -> list[Cell]:
  """Every point with every seed: seeds of a point follow one another."""
  return [Cell(point, seed, steps) for point in space.points for seed in space.seeds]


def short(name: str) -> str:
  """A factor without its module: `Schedule.rate`."""
  return ".".join(name.split(".")[-2:])


def shown(value: space_lib.Value) -> str:
  """A value as tables show it."""
  return f"{value:g}" if isinstance(value, float) else str(value)


def digest(cell: Cell, common: Sequence[str], content: Mapping[str, str]) -> str:
  """The name of a cell's folder: of its flags, those that all share, and the bytes of the files that these name."""
  text = json.dumps([sorted(cell.flags()), list(common), dict(content), _content(cell)], sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:12]


def content_of(common: Sequence[str]) -> dict[str, str]:
  """The digest of every file that flags name: recipes with what they include and import, data, files of the user's."""
  found: dict[str, str] = {}
  for name, value in _values(common):
    if name == "--gin_file":
      found |= {os.path.basename(path): files.sha256(path) for path in _read_by(recipes.find(value))}
      continue
    for path in _modules(value, os.getcwd()) if name == "--import" else _named_files(value):
      found[path] = files.sha256(path)
  return found


def require_macros(space: space_lib.Space, common: Sequence[str]) -> None:
  """Raises InputError for a macro that no file of the runs sets or reads: each of them would say so, one by one."""
  own = [name for name in space.factors if re.fullmatch(r"[A-Z][A-Z0-9_]*", name) and name not in macros.MACROS]
  if not own:
    return
  text = ""
  for flag, value in _values(common):
    for path in _read_by(recipes.find(value)) if flag == "--gin_file" else ():
      with files.opened(path) as f:
        text += f.read()
  for name in own:
    there = re.search(rf"(^|[%\s]){name}\b", text, re.M)
    check.require(there, f"{space.path}: no macro is called {name}{nearest.meant(name, macros.MACROS)}")


def _values(flags: Sequence[str]) -> Iterator[tuple[str, str]]:
  """(flag, value), written as one word or as two."""
  for flag, behind in zip(flags, [*flags[1:], ""], strict=True):
    name, equals, value = flag.partition("=")
    if name.startswith("--"):
      yield name, value if equals else "" if behind.startswith("--") else behind


def _named_files(value: str) -> Iterator[str]:
  """The files that a value names: a file, the files of a folder, a glob, or several with their rates (`a,b@0.3`)."""
  whole = value.strip("'\"")
  for part in dict.fromkeys([whole, *(one.partition("@")[0].strip() for one in whole.split(","))]):
    if not part or files.is_remote(part):
      continue
    paths = (
      [part]
      if os.path.isfile(part)
      else glob.glob(os.path.join(part, "**") if os.path.isdir(part) else part, recursive=True)
    )
    yield from sorted(path for path in paths if os.path.isfile(path))


def _content(cell: Cell) -> dict[str, str]:
  return content_of(cell.flags())


def _read_by(path: str) -> Iterator[str]:
  def walk(file: gin_files.File) -> Iterator[str]:
    yield file.path
    for one in file.statements:
      if isinstance(one, gin_files.File):
        yield from walk(one)
      elif isinstance(one, config_parser.ImportStatement) and file.own:
        yield from _modules(one.module, os.path.dirname(file.path))

  return walk(gin_files.read(path))


def _modules(name: str, folder: str) -> list[str]:
  """The file of a module of the user's that lies in a folder; an installed one is as it was installed."""
  stem = os.path.join(folder, *name.split("."))
  return [path for path in (f"{stem}.py", os.path.join(stem, "__init__.py")) if os.path.isfile(path)]


def _flag(name: str, value: space_lib.Value) -> str:
  """A value as the command line takes it: of the part that trains, a file of gin, a macro, or a class."""
  text = value if isinstance(value, str) else repr(value)
  if name in ("peft", "gin_file"):
    check.require(isinstance(value, str), f"{name} is text, not {value!r}")
    return f"--{name}={text}"
  macro = next((key for key, one in macros.MACROS.items() if one.flag and one.flag == name), name)
  return f"--gin.{macro}={text}"
