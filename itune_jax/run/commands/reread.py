"""What an export says to others: its files by safetensors' own reader, and peft's formulas for LoRA in plain numpy.

An export is judged by this and not by the code that reads folders here: one mistake in both would go unseen. Whole
models, LoRA, DoRA, rows of tokens and modules saved whole are read so; other methods by their own code.
"""

from collections.abc import Mapping
import glob
import json
import math
import os
import re
from typing import Any

import jax
import numpy as np
import safetensors

from itune_jax.models import load as load_lib
from itune_jax.models.hf import config as config_lib
from itune_jax.models.hf import layout as layout_lib
from itune_jax.nn import skeleton

_PREFIX = "base_model.model."
_LORA = re.compile(r"(.*)\.(lora_A\.weight|lora_B\.weight|lora_B\.bias|lora_embedding_[AB]|lora_magnitude_vector)")
_TOKENS = re.compile(r"(.*?)(\.token_adapter)?\.trainable_tokens_delta")


def tensors(folder: str) -> dict[str, np.ndarray]:
  """All tensors of a folder's safetensors files, as float32 (bfloat16 by its bits)."""
  found: dict[str, np.ndarray] = {}
  for file in sorted(glob.glob(os.path.join(glob.escape(folder), "*.safetensors"))):
    with safetensors.safe_open(file, "numpy") as opened:
      found |= {name: np.asarray(opened.get_tensor(name), np.float32) for name in opened.keys()}  # noqa: SIM118
  return found


def model(folder: str, sharding: Any) -> tuple[Any, dict[str, Any]]:
  """The module of a model folder, and its parameters on a device."""
  with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
    cfg = config_lib.config_from_hf(json.load(f), folder)
  module, found = load_lib.skeleton(cfg), tensors(folder)
  _, shapes = skeleton.disassemble(module)
  params = {}
  for row in layout_lib.parameters(shapes, cfg, skeleton.sites(module)):
    parts = [row.from_hf(found.pop(name)) for name in row.theirs]
    params[row.ours] = jax.device_put(np.stack(parts).reshape(shapes[row.ours].shape), sharding)
  if found:
    raise ValueError(f"{folder}: {min(found)} has no place")
  return module, params


def adapter(folder: str, base: load_lib.Base, sharding: Any) -> tuple[Any, dict[str, Any]] | None:
  """A base with what a PEFT folder does to its weights, by peft's formulas; None for methods that are not read so."""
  with open(os.path.join(folder, "adapter_config.json"), encoding="utf-8") as f:
    config = json.load(f)
  ids = config.get("trainable_token_indices") or {}
  beyond = max((i for one in ids.values() for i in one), default=0) >= base.cfg.vocab
  if config["peft_type"] != "LORA" or config.get("target_parameters") or beyond:
    return None
  if any("/kernel/" in name for name in base.params):
    return None
  tied = base.cfg.tied
  base = load_lib.untied(base) if tied else base
  layout = layout_lib.Layout.of(base.cfg)
  places = layout.tensors(base.module)
  of = lambda name: places[name][0].to_hf(np.asarray(base.params[places[name][0].ours][places[name][1]], np.float32))
  stored = {key.removeprefix(_PREFIX): tensor for key, tensor in tensors(folder).items()}
  changed = _merged(config, stored, of, tied and (f"{layout('embed')}.weight", f"{layout('head')}.weight"))
  params = dict(base.params)
  for name, tensor in changed.items():
    mapped, at = places[name]
    if params[mapped.ours] is base.params[mapped.ours]:
      params[mapped.ours] = np.array(base.params[mapped.ours], np.float32)
    params[mapped.ours][at] = mapped.from_hf(tensor)
  return base.module, {name: jax.device_put(value, sharding) for name, value in params.items()}


def _merged(config: Mapping[str, Any], stored: Mapping[str, np.ndarray], of, tied) -> dict[str, np.ndarray]:
  """Tensors of the model that the adapter changes. tied: the table that is embedding and head, by both its names."""
  changed: dict[str, np.ndarray] = {}
  loras: dict[str, dict[str, np.ndarray]] = {}
  rows: dict[str, np.ndarray] = {}
  for key, tensor in stored.items():
    if match := _LORA.fullmatch(key):
      loras.setdefault(match[1], {})[match[2]] = tensor
    elif match := _TOKENS.fullmatch(key):
      rows[match[1]] = tensor
    else:
      changed[key.replace(".modules_to_save.", ".").replace(".base_layer.", ".")] = tensor
  for module, parts in loras.items():
    changed |= _lora(config, module, parts, lambda name: changed[name] if name in changed else of(name))
  for module, tensor in rows.items():
    name, ids = f"{module}.weight", config["trainable_token_indices"][module.rsplit(".", 1)[-1]]
    for each in tied if tied and name == tied[0] else (name,):
      table = np.array(changed[each] if each in changed else of(each))
      table[ids] = tensor
      changed[each] = table
  return changed


def _lora(config, module: str, parts: Mapping[str, np.ndarray], of) -> dict[str, np.ndarray]:
  """W + s · B A, DoRA's length, and a bias of B's."""
  first = lambda patterns, default: next(
    (v for k, v in (patterns or {}).items() if re.fullmatch(rf"(.*\.)?({k})", module)), default
  )
  rank = first(config.get("rank_pattern"), config["r"])
  alpha = first(config.get("alpha_pattern"), config["lora_alpha"])
  s = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
  name = f"{module}.weight"
  if "lora_embedding_A" in parts:
    return {name: of(name) + s * (parts["lora_embedding_B"] @ parts["lora_embedding_A"]).T}
  delta = s * (parts["lora_B.weight"] @ parts["lora_A.weight"])
  turned = config.get("fan_in_fan_out")
  weight = (of(name).T if turned else of(name)) + delta
  if "lora_magnitude_vector" in parts:
    weight = weight * (parts["lora_magnitude_vector"] / np.linalg.norm(weight, axis=1))[:, None]
  changed = {name: weight.T if turned else weight}
  if "lora_B.bias" in parts:
    changed[f"{module}.bias"] = of(f"{module}.bias") + s * parts["lora_B.bias"]
  return changed
