"""Base parameters that train, in a PEFT folder: norms on their own, biases and whole modules beside another method."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from itune_jax.core import errors
from itune_jax.peft import attach
from itune_jax.peft.folders import codec

_PREFIX = "base_model.model."
_WRAPPED = (".ln_tuning_layers", ".base_layer", ".modules_to_save")  # what peft puts between a module and its leaf


def place(key: str, known: Mapping[str, Any]) -> Any | None:
  """Our parameter and index behind a tensor that peft stored whole, or None. A base layer's kernel is none: it is
  a copy that did not train."""
  if key.endswith(".base_layer.weight"):
    return None
  for word in _WRAPPED:
    key = key.replace(word + ".", ".")
  return known.get(key)


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
  biases = {"bias": "all"} if any(name.endswith(".bias") for name in tensors) else {}
  return tensors, {"modules_to_save": sorted(modules) or None, **biases}


def _opened(attached, method, layout) -> dict[str, tuple[Any, np.ndarray]]:
  names = set(method.opens(attach.base_names(attached.params)))
  return {
    theirs: (mapped, mapped.to_hf(np.asarray(attached.params[mapped.ours][at], np.float32)))
    for theirs, (mapped, at) in layout.tensors(attached.module).items()
    if mapped.ours in names
  }
