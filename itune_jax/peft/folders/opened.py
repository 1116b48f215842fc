"""Base parameters that train, in a PEFT folder: norms on their own, biases and whole modules beside another method."""

from collections.abc import Mapping
import re
from typing import Any, NamedTuple

import numpy as np

from itune_jax.core import errors
from itune_jax.peft import attach
from itune_jax.peft.folders import codec

_PREFIX = "base_model.model."
_WRAPPED = (".ln_tuning_layers", ".base_layer", ".modules_to_save", ".original_module")  # between a module and its leaf
_COPIES = (".base_layer.weight", ".original_module.weight", ".original_module.bias")  # of what did not train
_ROUNDING = 2.0**-7  # of a base that was kept in bfloat16


class Place(NamedTuple):
  """Our parameter behind a tensor that peft stored whole, and its index. is_copy: of the base's own, not trained."""

  mapped: Any
  at: tuple[int, ...]
  is_copy: bool

  def read(self, tensor: np.ndarray, what: str) -> np.ndarray:
    """The tensor in our shape. Raises InputError when it has another."""
    if tensor.shape != self.mapped.their_shape:
      raise errors.InputError(f"{what} is {tensor.shape}, and {self.mapped.their_shape} in this model")
    return self.mapped.from_hf(tensor)


def place(key: str, known: Mapping[str, Any]) -> Place | None:
  """Where a tensor that peft stored whole belongs, or None."""
  is_copy = key.endswith(_COPIES)
  for word in _WRAPPED:
    key = key.replace(word + ".", ".")
  if key not in known:
    return None
  mapped, at = known[key]
  return Place(mapped, at, is_copy)


def check_copies(params: Mapping[str, Any], copies: Mapping[str, list[tuple[tuple[int, ...], np.ndarray]]]) -> None:
  """Raises InputError when a folder's copy of the base's weights is not of this base. Packed ones cannot be told."""
  for path, places in copies.items():
    for at, value in places:
      if path not in params:
        continue
      mine = np.asarray(params[path][at], np.float32)
      if np.abs(mine - value).max() > _ROUNDING * max(np.abs(mine).max(), 1e-30):
        raise errors.InputError(
          f"the folder holds another {path} of the base than this one: an adapter of another base"
        )


def check_saved(config: Mapping[str, Any], tensors: Mapping[str, Any], path: str) -> None:
  """Raises InputError when the file lacks a module that modules_to_save names."""
  saved = config.get("modules_to_save") or []
  for name in [saved] if isinstance(saved, str) else saved:
    if not any(re.match(rf"(^|.*\.){name}\.", key) for key in tensors):
      raise errors.InputError(f"{path}: modules_to_save names {name}, of which the file holds nothing")


def write_norms(attached, method, layout) -> tuple[codec.Arrays, dict[str, Any]]:
  """peft's LN_TUNING. Raises InputError when other parameters train too."""
  opened = _opened(attached, method, layout)
  if other := [name for name, (mapped, _) in opened.items() if not mapped.norm]:
    raise errors.InputError(
      f"{other[0]} trains, and peft has nothing for full tuning but of norms: export --format=hf, a whole model"
    )
  split = lambda name: name.rsplit(".", 1)
  tensors = {".ln_tuning_layers.".join(split(_PREFIX + name)): value for name, (_, value) in opened.items()}
  return tensors, {"target_modules": sorted({split(name)[0] for name in opened})}


def write(attached, method, layout) -> tuple[codec.Arrays, dict[str, Any]]:
  """Biases by peft's `bias`, the rest by modules_to_save: all of a module's parameters."""
  opened = _opened(attached, method, layout)
  adapted = {n.split("/adapters/")[0] for n in attached.params if "/adapters/" in n}
  tensors, modules = {}, set()
  for name, (mapped, value) in opened.items():
    module, leaf = name.rsplit(".", 1)
    if leaf == "bias" and mapped.ours.rsplit("/", 1)[0] in adapted:
      module += ".base_layer"
    elif leaf != "bias":
      modules.add(module)
    tensors[f"{_PREFIX}{module}.{leaf}"] = value
    if attached.module.cfg.tied and module == layout("embed"):  # peft would part the tables
      tensors[f"{_PREFIX}{layout('head')}.{leaf}"] = value
      modules.add(layout("head"))
  biases = {"bias": "all"} if any(name.endswith(".bias") for name in tensors) else {}
  return tensors, {"modules_to_save": sorted(modules) or None, **biases}


def _opened(attached, method, layout) -> dict[str, tuple[Any, np.ndarray]]:
  names = set(method.opens(attach.base_names(attached.params)))
  return {
    theirs: (mapped, mapped.to_hf(np.asarray(attached.params[mapped.ours][at], np.float32)))
    for theirs, (mapped, at) in layout.tensors(attached.module).items()
    if mapped.ours in names
  }
