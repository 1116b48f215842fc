"""A user's own benchmark: a folder with a table and `benchmark.toml`, or one Python file that holds `BENCHMARK`.

name = "capitals"
ask = "generate"                                  # or "choose", "score", "rolling"
file = "questions.csv"
question = "What is the capital of {country}?"    # columns between braces
answer = "capital"                                # the column
check = "any_of"                                  # a name of `grading/checkers`
tags = ["continent"]
"""

import dataclasses
import importlib.util
import os
import re
import sys
import types
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.core import nearest
from itune_jax.core import own_modules
from itune_jax.core import tomltext
from itune_jax.evals import ask as ask_lib
from itune_jax.evals import folders
from itune_jax.evals import own_table
from itune_jax.evals import protocol
from itune_jax.evals import official

FILE = "benchmark.toml"
_PYTHON = ".py"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Own(official.Published):
  """A benchmark of the user's. path: the folder that all its files are in. most: items of it, 0 for all."""

  path: str
  most: int = 0

  def folder(self, roots: Any) -> folders.Folder:
    """Its own folder, whatever the roots are."""
    del roots
    return folders.Folder(self.path)

  def benchmark(self, roots: Any, settings: official.Settings = official.Settings()) -> protocol.Benchmark:
    """The benchmark, asked as the settings say, with as many items as it says itself where they do not."""
    if self.most and not settings.limit and not settings.limit_each:
      settings = dataclasses.replace(settings, limit=self.most)
    return super().benchmark(roots, settings)


def is_path(name: str) -> bool:
  """Whether a benchmark's name is the path of one of the user's own."""
  return name.endswith(_PYTHON) or "/" in name or os.path.isfile(os.path.join(name, FILE))


def find(path: str) -> official.Published:
  """The benchmark behind a path. Raises InputError where there is none, or it is wrong."""
  if path.endswith(_PYTHON):
    return _of_python(path)
  file = os.path.join(path, FILE)
  check.require(os.path.isfile(file), f"{path}: no benchmark is there: it must hold {FILE}, or be a Python file")
  return _of_table(os.path.abspath(path), read(file))


def read(file: str) -> own_table.Spec:
  """What a `benchmark.toml` says. Raises InputError for what is no TOML, for unknown keys, and for wrong values."""
  given = tomltext.read(file)
  keys = [field.name for field in dataclasses.fields(own_table.Spec)]
  for key in given:
    if key not in keys:
      meant = nearest.meant(key, keys) or f"; keys are {', '.join(keys)}"
      raise errors.InputError(f"{file}: unknown key {jsontext.shown(key)}{meant}")
  for key in ("name", "file", "question"):
    check.require(key in given, f"{file}: `{key}` is missing")
  module, colon, _ = str(given.get("check", "")).partition(":")
  for folder in (os.path.dirname(file), os.getcwd()) if colon else ():
    own_modules.look_in(folder, module.split(".")[0])
  values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
  try:
    return own_table.Spec(**values)
  except errors.InputError as e:
    raise errors.InputError(f"{file}: {_in_toml(str(e))}") from None


def _in_toml(said: str) -> str:
  """A refusal of a value in words of TOML, which knows lists and texts."""
  words = {"tuple[str, ...]": "a list of texts", "str": "a text", "int": "a whole number"}
  found = re.fullmatch(r"Spec\.(\w+) = (.*) \(\w+\); it takes (.*)", said)
  return f"{found[1]} = {found[2]}; it takes {words.get(found[3], found[3])}" if found else said


def _of_table(folder: str, spec: own_table.Spec) -> Own:
  table = own_table.Table(folder, spec)
  shots = len(table.shots())
  return Own(
    name=spec.name,
    axis="own",
    files=tuple(name for name in (FILE, spec.file, spec.shots) if name),
    source=spec.source or folder,
    licence=spec.licence,
    size="",
    metric=spec.figures[0],
    make=lambda _, settings: table.benchmark(settings),
    shots=shots,
    most_shots=shots,
    version=spec.version,
    path=folder,
    most=spec.limit,
  )


def _of_python(path: str) -> official.Published:
  check.require(os.path.isfile(path), f"{path}: there is no such file")
  found = vars(_imported(path)).get("BENCHMARK")
  if isinstance(found, official.Published):
    return found
  if not isinstance(found, protocol.Benchmark):
    kind = "none" if found is None else f"a {type(found).__name__}"
    raise errors.InputError(f"{path}: BENCHMARK must be a protocol.Benchmark or a official.Published; it holds {kind}")
  return Own(
    name=found.name,
    axis=found.axis,
    files=(os.path.basename(path),),
    source=found.source or path,
    licence=found.licence,
    size="",
    metric=next(iter(found.metrics)),
    make=lambda _, settings: _asked(found, settings),
    version=found.version,
    path=os.path.dirname(os.path.abspath(path)),
  )


def _asked(benchmark: protocol.Benchmark, settings: official.Settings) -> protocol.Benchmark:
  """A finished benchmark, asked as the settings say."""
  own = benchmark.ask
  if isinstance(own, ask_lib.Generate):
    thinks, budget = settings.thinks or own.thinks, settings.thinking_budget or own.budget
    settings = dataclasses.replace(settings, thinks=thinks, thinking_budget=budget)
    return dataclasses.replace(benchmark, ask=official.generate(settings, **vars(own)))
  if isinstance(own, ask_lib.Choose):
    return dataclasses.replace(benchmark, ask=official.choose(settings, **vars(own)))
  return benchmark


def _imported(path: str) -> types.ModuleType:
  """The module of a file; it may import what lies beside it."""
  name = f"itune_own_{os.path.basename(path).removesuffix(_PYTHON)}"
  spec = importlib.util.spec_from_file_location(name, path)
  check.require(spec is not None and spec.loader is not None, f"{path}: is no Python file")
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  folder = os.path.dirname(os.path.abspath(path))
  if folder not in sys.path:
    sys.path.append(folder)
  sys.modules[name] = module  # dataclasses of the file look for their module there
  try:
    spec.loader.exec_module(module)
  except errors.InputError:
    raise
  except (Exception, SystemExit) as e:  # whatever the user's file raises
    raise errors.InputError(f"{path}: {type(e).__name__}: {jsontext.said(e)}") from e
  return module
