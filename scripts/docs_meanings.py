"""What the values of the configuration mean, read from the code: names, types, defaults, and docstrings."""

from collections.abc import Callable, Iterator
import dataclasses
import importlib
import inspect
import pathlib
import re
import typing
from typing import Any

from itune_jax.core import check
from itune_jax.core import conversation
from itune_jax.peft import registry
from itune_jax.run import meanings

ROOT = pathlib.Path(__file__).parent.parent
GIN = ROOT / "gin_configs"
_IMPORT = re.compile(r"^(?:from (?P<package>[\w.]+) )?import (?P<module>[\w.]+)", re.MULTILINE)
_NAMED = re.compile(r"(?:^|@)(?:\w+/)?(?P<module>[a-z]\w*)\.(?P<name>\w+)(?=\.\w+ =|\(\))", re.MULTILINE)
_NONE = dataclasses.MISSING
# Types of values that commands take from files and flags, not from recipes.
_NOT_OF_RECIPES = {conversation.Conversation}


@dataclasses.dataclass(frozen=True)
class Value:
  """One value: `default` is as it is written in Python, "" where one must be given."""

  name: str
  type: str
  default: str
  meaning: str


@dataclasses.dataclass(frozen=True)
class Macro:
  """A name in capitals: what it is, and the parts that set it."""

  name: str
  meaning: str
  files: tuple[str, ...]


def configurables() -> list[Callable]:
  """All that gin sets: what the files of gin_configs name, every method, and the classes of their fields' types."""
  found: dict[Callable, None] = {}
  for path in sorted(GIN.rglob("*.gin")):
    found |= dict.fromkeys(_named(path))
  found |= dict.fromkeys(registry.METHODS.values())
  for one in list(found):
    found |= dict.fromkeys(_reached(one))
  # A class with an underscore is made by another of its module, and by no recipe.
  return sorted((one for one in found if not one.__name__.startswith("_")), key=where)


def where(one: Callable) -> str:
  """The name by which a recipe knows it: module and name, the last two parts of where it is imported from."""
  return f"{one.__module__.rsplit('.', 1)[-1]}.{one.__name__}"


def summary(one: Callable) -> str:
  """The first paragraph of what it says of itself."""
  return " ".join(meanings.doc(one).split("\n\n")[0].split())


def values(one: Callable) -> list[Value]:
  """The fields of a class, or the parameters of a function, in their order."""
  if dataclasses.is_dataclass(one):
    return [
      Value(f.name, _type(f.type), _default(f), meanings.of(one, f.name)) for f in dataclasses.fields(one) if f.init
    ]
  parameters = inspect.signature(one).parameters.values()
  return [Value(p.name, _type(p.annotation), _written(p.default), meanings.of(one, p.name)) for p in parameters]


def macros() -> list[Macro]:
  """All names in capitals that files of gin_configs set or refer to; their meanings stand in gin_configs/README.md."""
  setters: dict[str, list[str]] = {}
  for path in sorted(GIN.rglob("*.gin")):
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r"^([A-Z][A-Z0-9_]*) =", text, re.MULTILINE):
      setters.setdefault(name, []).append(str(path.relative_to(GIN)))
    for name in re.findall(r"%([A-Z][A-Z0-9_]*)", text):
      setters.setdefault(name, [])
  told = dict(re.findall(r"^\| `([A-Z][A-Z0-9_]*)` \| (.*?) \|", (GIN / "README.md").read_text("utf-8"), re.MULTILINE))
  return [Macro(name, told.get(name, ""), tuple(files)) for name, files in sorted(setters.items())]


def _named(path: pathlib.Path) -> Iterator[Callable]:
  text = path.read_text(encoding="utf-8")
  for include in re.findall(r'^include "(.*)"', text, re.MULTILINE):
    text += "\n".join(re.findall(r"^from .*", (GIN / include).read_text(encoding="utf-8"), re.MULTILINE)) + "\n"
  modules = {m["module"]: ".".join(filter(None, (m["package"], m["module"]))) for m in _IMPORT.finditer(text)}
  for found in _NAMED.finditer(text):
    if found["module"] in modules:
      yield getattr(importlib.import_module(modules[found["module"]]), found["name"])


def _reached(one: Callable, seen: frozenset = frozenset()) -> Iterator[type]:
  """The dataclasses of this project that the types of its values name, those that derive from them, and theirs."""
  if one in seen:
    return
  for hint in typing.get_type_hints(one if inspect.isfunction(one) else _init_of(one)).values():
    for inner in _flat(hint):
      for kind in _kinds(inner):
        yield kind
        yield from _reached(kind, seen | {one})


def _init_of(one: Callable) -> Any:
  return one if dataclasses.is_dataclass(one) else type(one).__call__


def _kinds(hint: Any) -> list[type]:
  """The dataclasses that a value of this type may be of: itself, or what derives from it where it is abstract."""
  if not isinstance(hint, type) or not hint.__module__.startswith("itune_jax."):
    return []
  if inspect.isabstract(hint):
    return [kind for derived in hint.__subclasses__() for kind in _kinds(derived)]
  return [hint] if dataclasses.is_dataclass(hint) and hint not in _NOT_OF_RECIPES else []


def _flat(hint: Any) -> Iterator[Any]:
  yield hint
  for inner in typing.get_args(hint):
    yield from _flat(inner)


def _default(field: dataclasses.Field) -> str:
  if field.default_factory is not _NONE:
    return _written(field.default_factory())
  return "" if field.default is _NONE else _written(field.default)


def _written(value: Any) -> str:
  if value is inspect.Parameter.empty:
    return ""
  return f'"{value}"' if isinstance(value, str) else repr(value)


def _type(annotation: Any) -> str:
  if not isinstance(annotation, str) and any(typing.get_origin(one) is typing.Annotated for one in _flat(annotation)):
    return check.say(annotation)
  text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
  return re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", text)
