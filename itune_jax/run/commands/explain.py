"""`itune config`: what a value of gin is, read from the code that takes it and the files that set it."""

import collections
from collections.abc import Iterator, Sequence
import dataclasses
import importlib
import importlib.util
import inspect
import os
import pkgutil
import re
import sys
import types
from typing import Any

import itune_jax
from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import nearest
from itune_jax.run import command
from itune_jax.run import gin_values
from itune_jax.run import macros
from itune_jax.run import meanings
from itune_jax.run import recipes

_NOTHING = inspect.Parameter.empty


def from_flags(args: command.Args) -> None:
  """Runs the command: prints what there is to say. Raises InputError for a name that nothing has."""
  if not args.name:
    for name, macro in macros.MACROS.items():
      print(f"{name:14}  {macro.purpose}{f'  (--{macro.flag})' if macro.flag else ''}")
    return
  mine = [sys.modules[one] for one in args.imports if one in sys.modules]
  print("\n".join(explained(args.name.removeprefix("--gin.").lstrip("%"), mine)))


def explained(name: str, mine: Sequence[types.ModuleType] = ()) -> list[str]:
  """The lines about a macro, a class, or a value of one, also of modules of the user's own. Raises InputError for a
  name that nothing has."""
  if re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
    return _of_macro(name)
  short = [macro for macro, told in macros.MACROS.items() if name.replace("-", "_") in (told.flag, macro.lower())]
  if short:
    return _of_macro(short[0])
  path = name.split("/")[-1].split(".")
  for length in (2, 3, 1):  # module.Class[.value], or a class by its bare name
    found = [*_classes(path[:length]), *_of_modules(mine, path[:length])] if len(path) >= length else []
    if found and len(path) - length <= 1:
      return [line for where, kind in found for line in _of_class(where, kind, path[length:])]
  raise errors.InputError(f"{name}: {_hint(name, path)}")


def _hint(name: str, path: list[str]) -> str:
  """Why nothing is called so, and what to ask for."""
  bare = name.removesuffix(".gin")
  if files := [one.name for one in recipes.entries() if bare in (one.name[:-4], one.name[:-4].partition("/")[2])]:
    return f"is no value but a file, {files[0]}: itune recipes says what it is for, and itune init DIR copies it"
  values = collections.Counter(line.partition("=")[0].strip().split("/")[-1] for _, line in _lines() if "=" in line)
  if found := [value for value, _ in values.most_common() if value.rpartition(".")[2] == name]:
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return f"several classes may have it: ask for {', '.join(found[:5])}{more}"
  close = nearest.meant(".".join(path[:2]), _all_classes())
  how = "; write it as gin does, like STEPS or schedule.Schedule.rate; for a module of your own give --import too"
  return f"nothing is called so{close or how}"


def _of_macro(name: str) -> list[str]:
  setters = list(_setters(name))
  if name not in macros.MACROS and not setters:
    raise errors.InputError(f"{name}: no macro is called so{nearest.meant(name, macros.MACROS)}")
  purpose = macros.MACROS[name].purpose if name in macros.MACROS else "a macro of gin_configs"
  uses = sorted({line.partition("=")[0].strip() for _, line in _lines() if re.search(rf"%{name}\b", line)})
  return [f"{name}: {purpose}", f"  set it by {macros.how(name)}", *_used(uses), *_set(setters)]


def _of_class(where: str, kind: Any, rest: list[str]) -> Iterator[str]:
  """A class or function, or one value of it."""
  hints, doc = gin_values.hints(kind), inspect.getdoc(kind) or ""
  parameters = {n: p for n, p in inspect.signature(kind).parameters.items() if n != "self"}
  if rest and rest[0] not in parameters:
    raise errors.InputError(nearest.lacks(where, rest[0], parameters))
  short = ".".join(where.split(".")[-2:])
  if not rest:
    yield f"{short}  ({where})"
    yield from (f"  {line}" for line in doc.splitlines())
  for name in rest or parameters:
    default = _default(kind, name, parameters[name])
    type_ = check.say(hints[name]) if name in hints else "a value"
    yield f"{'' if rest else '  '}{short}.{name}: {type_}{'' if default is _NOTHING else f' = {default!r}'}"
    if not rest and not meanings.clause(doc, name) and (meaning := meanings.of(kind, name)):
      yield f"    {meaning}"  # what a base class says of it
  if rest:
    if meaning := meanings.of(kind, rest[0]):
      yield f"  {meaning}"
    yield from _set(_setters(f"{short}.{rest[0]}"))


def _default(kind: Any, name: str, parameter: inspect.Parameter) -> Any:
  """What a parameter is when nothing is given; the factories of dataclasses are asked."""
  if dataclasses.is_dataclass(kind):
    field = next((f for f in dataclasses.fields(kind) if f.name == name), None)
    if field is not None and field.default_factory is not dataclasses.MISSING:
      return field.default_factory()
  return parameter.default


def _classes(path: list[str]) -> list[tuple[str, Any]]:
  """The classes and functions of the package that these last parts name."""
  *module, name = path
  found = []
  for info in pkgutil.walk_packages(itune_jax.__path__, "itune_jax."):
    if module and info.name.split(".")[-len(module) :] != module:
      continue
    if info.ispkg or info.name.endswith("tasks") or not _mentions(info, name):
      continue
    kind = getattr(importlib.import_module(info.name), name, None)
    if (inspect.isclass(kind) or inspect.isfunction(kind)) and kind.__module__ == info.name:
      found.append((f"{info.name}.{name}", kind))
  return found


def _of_modules(modules: Sequence[types.ModuleType], path: list[str]) -> list[tuple[str, Any]]:
  """The classes and functions of these modules that these last parts name."""
  *module, name = path
  found = []
  for one in modules:
    kind = vars(one).get(name)
    is_named = not module or one.__name__.split(".")[-len(module) :] == module
    if is_named and (inspect.isclass(kind) or inspect.isfunction(kind)) and kind.__module__ == one.__name__:
      found.append((f"{one.__name__}.{name}", kind))
  return found


def _all_classes() -> Iterator[str]:
  """ "module.Class" of every class of the package, by its text: nothing is imported."""
  for info in pkgutil.walk_packages(itune_jax.__path__, "itune_jax."):
    spec = importlib.util.find_spec(info.name)
    if spec is None or spec.origin is None:
      continue
    with open(spec.origin, encoding="utf-8") as f:
      yield from (
        f"{info.name.rsplit('.', 1)[-1]}.{found}" for found in re.findall(r"^class ([A-Z]\w*)", f.read(), re.M)
      )


def _mentions(info: Any, name: str) -> bool:
  """Whether a module defines something of this name, by its text: only then is it imported."""
  path = info.module_finder.find_spec(info.name).origin
  with open(path, encoding="utf-8") as f:
    return re.search(rf"^(class|def) {re.escape(name)}\b", f.read(), re.M) is not None


def _setters(name: str) -> Iterator[tuple[str, str]]:
  """(file, value) of every file of gin_configs that sets it."""
  for file, line in _lines():
    left, equals, value = line.partition("=")
    if equals and left.strip().split("/")[-1] == name:
      yield file, value.strip()


def _lines() -> Iterator[tuple[str, str]]:
  for folder, _, found in sorted(os.walk(recipes.root())):
    for name in sorted(n for n in found if n.endswith(".gin")):
      path = os.path.join(folder, name)
      with open(path, encoding="utf-8") as f:
        yield from ((os.path.relpath(path, recipes.root()), line) for line in f if not line.startswith("#"))


def _used(uses: list[str]) -> list[str]:
  return [f"  it is {', '.join(uses)}"] if uses else []


def _set(setters: Any) -> list[str]:
  found = list(setters)
  return [f"  set to {value} by gin_configs/{file}" for file, value in found] or ["  no file of gin_configs sets it"]
