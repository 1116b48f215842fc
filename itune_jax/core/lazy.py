"""Modules that are imported when something of them is first used: a command that does not come to it does without."""

import importlib
import types
from typing import Any

from itune_jax.core import errors


# Packages that an extra other than `eval` brings.
_OF_DATA = frozenset(
  ["ftfy", "json_repair", "jsonschema", "lightgbm", "lingua", "pyarrow", "rapidfuzz", "rensa", "sklearn", "zstandard"]
)
_OF_TEXTS = {"janome": "mifeval", "spacy": "mifeval", "emoji": "ifbench", "syllapy": "ifbench"}


def module(name: str) -> Any:
  """A module by its full name, imported at the first look at one of its attributes.

  `tests/test_floors.py` reads these names as it reads import statements: what is below stays below.
  """
  return _Lazy(name)


class _Lazy(types.ModuleType):
  """Stands for a module until it is asked for something."""

  def __getattr__(self, name: str) -> Any:
    if name.startswith("__"):  # what Python itself asks of every module, such as `__path__`
      raise AttributeError(name)
    try:
      return getattr(importlib.import_module(self.__name__), name)
    except ModuleNotFoundError as e:
      package = self.__name__.partition(".")[0]
      if e.name != package or package == "itune_jax":
        raise
      extra = "data" if package in _OF_DATA else _OF_TEXTS.get(package, "eval")
      raise errors.InputError(f"{package} is not installed: pip install 'itune_jax[{extra}]' brings it") from None
