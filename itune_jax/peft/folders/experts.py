"""LoRA on the experts' stacked parameters of transformers (`target_parameters`), as LoRA on every expert's projections.

peft wraps the module of all experts once a parameter, the first inside the second, and lays factors out as
[E · r, in] (expert by expert) and [out, r · E] (rank by rank). Gate and up are one parameter: they share A.
"""

from collections.abc import Mapping, Sequence
import re
from typing import Any

import numpy as np

from itune_jax.core import errors
from itune_jax.peft.folders import codec

_LEAVES = {"gate_up_proj": ("gate", "up"), "down_proj": ("down",)}


def unfused(
  config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], modules: Mapping[str, str], prefix: str
) -> codec.Arrays:
  """Tensors of a folder with `target_parameters`, under the names of single experts.

  Args:
    modules: our expanded site of every HF module.

  Raises:
    InputError for parameters other than experts'.
  """
  wanted = [name.rsplit(".", 1)[-1] for name in config["target_parameters"]]
  unknown = sorted(set(wanted) - set(_LEAVES))
  modules_of = _places(modules)
  if unknown or not modules_of:
    raise errors.InputError(
      f"target_parameters = {list(config['target_parameters'])}: supported are {list(_LEAVES)} of experts"
      + ("" if modules_of else ", and this model has no experts")
    )
  by_expert = dict(tensors)
  for stem, experts in modules_of.items():
    order = [name for name in _LEAVES if _is_named(config["target_parameters"], f"{stem}.{name}")]
    for depth, name in enumerate(order):
      where = f"{prefix}{stem}." + "base_layer." * (len(order) - 1 - depth)
      a, b = (_taken(by_expert, f"{where}lora_{x}.weight", f"{stem}.{name}") for x in "AB")
      by_expert |= _apart(config, a, b, f"{stem}.{name}", experts, _LEAVES[name], prefix)
  return by_expert


def _is_named(targets: Sequence[str], parameter: str) -> bool:
  """Whether peft puts an adapter on a parameter: by the end of its name, with a layer's number for that layer alone."""
  same = lambda target: target.rsplit(".", 1)[-1] == parameter.rsplit(".", 1)[-1]
  return any(same(one) and (not re.search(r"\.\d+\.", one) or f".{parameter}".endswith(f".{one}")) for one in targets)


def _taken(tensors: codec.Arrays, key: str, parameter: str) -> np.ndarray:
  if key not in tensors:
    raise errors.InputError(f"{key} is missing, and target_parameters names {parameter}: save the adapter again")
  return tensors.pop(key)


def _places(modules) -> dict[str, dict[tuple[str, int], str]]:
  """HF modules of single experts by (projection, expert), under the module that holds them all in memory."""
  by_stem: dict[str, dict[tuple[str, int], str]] = {}
  for module, site in modules.items():
    if match := re.fullmatch(r".*/experts/(\d+)/(gate|up|down)", site):
      stem = module[: module.index(".experts.")].replace(".block_sparse_moe", ".mlp") + ".experts"
      by_stem.setdefault(stem, {})[match[2], int(match[1])] = module
  return by_stem


def _apart(config, a, b, name, experts, leaves, prefix) -> codec.Arrays:
  E = 1 + max(expert for _, expert in experts)
  a_ERD = a.reshape(E, -1, a.shape[-1])
  b_FRE = b.reshape(b.shape[0], -1, E)
  alpha = lambda key: codec.pattern(config.get("alpha_pattern"), key, config["lora_alpha"])
  tensors = {}
  for leaf, b_fRE in zip(leaves, np.split(b_FRE, len(leaves)), strict=True):
    for e in range(E):
      module = experts[leaf, e]
      tensors[f"{prefix}{module}.lora_A.weight"] = a_ERD[e]
      tensors[f"{prefix}{module}.lora_B.weight"] = b_fRE[..., e] * np.float32(alpha(name) / alpha(module))
  return tensors
