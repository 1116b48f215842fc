"""The table of methods: one row each. Checkpoints name them by these names, and a user's own by where its class is."""

from collections.abc import Mapping
import dataclasses
import importlib
import operator
from typing import Any, TypeVar

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.peft import method as method_lib
from itune_jax.peft.methods import adalora
from itune_jax.peft.methods import boft
from itune_jax.peft.methods import bottleneck
from itune_jax.peft.methods import c3a
from itune_jax.peft.methods import delora
from itune_jax.peft.methods import fourierft
from itune_jax.peft.methods import full
from itune_jax.peft.methods import gralora
from itune_jax.peft.methods import hira
from itune_jax.peft.methods import hra
from itune_jax.peft.methods import ia3
from itune_jax.peft.methods import loha
from itune_jax.peft.methods import lokr
from itune_jax.peft.methods import lora
from itune_jax.peft.methods import miss
from itune_jax.peft.methods import mixlora
from itune_jax.peft.methods import mode
from itune_jax.peft.methods import mora
from itune_jax.peft.methods import oft
from itune_jax.peft.methods import prefix
from itune_jax.peft.methods import prompt
from itune_jax.peft.methods import randlora
from itune_jax.peft.methods import reft
from itune_jax.peft.methods import regressor
from itune_jax.peft.methods import road
from itune_jax.peft.methods import routed
from itune_jax.peft.methods import shira
from itune_jax.peft.methods import tokens
from itune_jax.peft.methods import vblora
from itune_jax.peft.methods import vera

METHODS: dict[str, type[method_lib.Method]] = {
  "AdaLora": adalora.AdaLora,
  "Boft": boft.Boft,
  "Bottleneck": bottleneck.Bottleneck,
  "C3a": c3a.C3a,
  "Delora": delora.Delora,
  "FourierFT": fourierft.FourierFT,
  "Full": full.Full,
  "Gralora": gralora.Gralora,
  "Hira": hira.Hira,
  "Hra": hra.Hra,
  "Ia3": ia3.Ia3,
  "Loha": loha.Loha,
  "Lokr": lokr.Lokr,
  "Lora": lora.Lora,
  "Miss": miss.Miss,
  "MixLora": mixlora.MixLora,
  "Mode": mode.Mode,
  "Mora": mora.Mora,
  "Oft": oft.Oft,
  "Prefix": prefix.Prefix,
  "Prompt": prompt.Prompt,
  "RandLora": randlora.RandLora,
  "Reft": reft.Reft,
  "Regressor": regressor.Regressor,
  "Road": road.Road,
  "Routed": routed.Routed,
  "Shira": shira.Shira,
  "Tokens": tokens.Tokens,
  "VbLora": vblora.VbLora,
  "Vera": vera.Vera,
}


Kind = TypeVar("Kind", bound=type[method_lib.Method])


def register(kind: Kind) -> Kind:
  """Adds a user's method to the table, under the name of its class; may stand above the class as a decorator.

  Raises InputError when another method is called so.
  """
  if METHODS.setdefault(kind.__name__, kind) is not kind:
    raise errors.InputError(f"there is a method called {kind.__name__} already: give {kind.__module__}'s another name")
  return kind


def to_json(method: method_lib.Method) -> dict[str, Any]:
  """A method as data: its name in the table or, of a class that is not there, where to import it from, and its fields.

  Raises InputError for a class that no other process could import.
  """
  kind = type(method)
  name = kind.__name__
  if METHODS.get(name) is not kind:
    name = f"{kind.__module__}:{kind.__qualname__}"
    if kind.__module__ == "__main__" or "<locals>" in name:
      raise errors.InputError(
        f"{name} could not be imported by who reads this checkpoint: move the class to the top of a module, or "
        "registry.register it in every process"
      )
  return {"type": name, **dataclasses.asdict(method)}


def from_json(data: Mapping[str, Any]) -> method_lib.Method:
  """The method again. Raises InputError for an unknown type, or one that cannot be imported."""
  fields = dict(data)
  name = fields.pop("type", None)
  if name in METHODS:
    return check.rebuild(METHODS[name], fields)
  if not isinstance(name, str) or ":" not in name:
    raise errors.InputError(
      f"unknown method {name!r}; methods are {', '.join(METHODS)}: if it is your own, import what registers it first"
    )
  return check.rebuild(_imported(name), fields)


def _imported(path: str) -> type[method_lib.Method]:
  """The class at "module:Class"."""
  module, _, name = path.partition(":")
  try:
    kind = operator.attrgetter(name)(importlib.import_module(module))
  except Exception as e:  # whatever the user's module raises
    raise errors.InputError(
      f"method {path} cannot be imported ({type(e).__name__}: {e}): install {module}, or name its folder in PYTHONPATH"
    ) from e
  if not (isinstance(kind, type) and issubclass(kind, method_lib.Method)):
    raise errors.InputError(f"the method {path} is no subclass of peft.method.Method")
  return kind
