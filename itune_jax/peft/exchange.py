"""Hugging Face PEFT folders, both ways: adapter_config.json and adapter_model.safetensors.

HF's `lora_A.weight` is [r, in] and `lora_B.weight` [out, r], one pair a module; ours are [*in, R] and [R, *out],
stacked over layers. Layers of lower rank are written at their own rank, and layers without an adapter not at all.
DoRA's `lora_magnitude_vector` is [out]. Rows of single tokens go along as `trainable_token_indices`: [n, D], whole
rows despite their name in the file.
"""

from collections.abc import Iterable
import math
import os
import re
from typing import Any, Protocol

import numpy as np
import safetensors
import safetensors.numpy

from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.nn import tree as nn_tree
from itune_jax.peft import base as base_lib
from itune_jax.peft import lora as lora_lib
from itune_jax.peft import tokens as tokens_lib

_PREFIX = "base_model.model."
_KEY = re.compile(r"base_model\.model\.(.+)\.lora_(?:(A|B)\.weight|(magnitude)_vector)")
_TOKENS = re.compile(r"base_model\.model\.(.+)\.token_adapter\.trainable_tokens_delta")
# Options of peft's LoRA that change the function and that this importer does not know: refused by name.
_UNSUPPORTED = {
  "bias": "none",
  "lora_bias": False,
  "modules_to_save": None,
  "target_parameters": None,
  "layer_replication": None,
  "use_qalora": False,
  "alora_invocation_tokens": None,
  "arrow_config": None,
  "use_bdlora": None,
  "velora_config": None,
  "kasa_config": None,
  "monteclora_config": None,
}


class Layout(Protocol):
  """What this room needs to know of a family: HF module names by site, and two words of adapter_config.json."""

  task_type: str
  fan_in_fan_out: bool

  def __call__(self, site: str) -> str | None:
    """The HF module of a site (`model.layers.{}.self_attn.q_proj`), or None."""
    ...


def save(folder: str, attached: base_lib.Attached, layout: Layout, *, base: str) -> None:
  """Writes the LoRA of a model, and rows of new tokens, as a PEFT folder; `base` is its base_model_name_or_path.

  Raises:
    InputError when a method is neither or a site has no HF module. RunError when a weight is not finite.
  """
  kinds = sorted(type(m).__name__ for m in attached.methods)
  if kinds not in (["Lora"], ["Lora", "Tokens"]):
    raise errors.InputError(f"a PEFT folder holds one LoRA, and rows of new tokens; this model has {kinds}")
  method = next(m for m in attached.methods if isinstance(m, lora_lib.Lora))
  tensors, indices = _token_rows(attached, layout)
  ranks, alphas = {}, {}
  sites = nn_tree.sites(attached.module)
  for site, module, at in _places(attached, method, layout):
    read = lambda leaf, site=site, at=at: _layer(attached.params[f"{site}/adapters/{method.name}/{leaf}"], at)
    rank = int(read("rank_mask").sum())
    if not rank:
      continue
    num_in = sites[site].num_in
    a, b, scale = read("a"), read("b"), float(read("scale"))
    fan_in = math.prod(a.shape[:num_in])
    tensors[f"{_PREFIX}{module}.lora_A.weight"] = np.ascontiguousarray(a.reshape(fan_in, -1).T[:rank])
    tensors[f"{_PREFIX}{module}.lora_B.weight"] = np.ascontiguousarray(b.reshape(b.shape[0], -1)[:rank].T)
    if method.dora:
      tensors[f"{_PREFIX}{module}.lora_magnitude_vector"] = read("magnitude").reshape(-1)
    ranks[module], alphas[module] = rank, scale * (math.sqrt(rank) if method.rslora else rank)
  config = _config(method, ranks, alphas, base, layout, _modules(attached.module, layout))
  config["trainable_token_indices"] = indices or None
  bad = [name for name, tensor in tensors.items() if not np.isfinite(tensor).all()]
  if bad:
    raise errors.RunError(f"{bad[0]} holds a value that is not finite: refusing to export it")
  with files.whole_folder(folder) as partial:
    safetensors.numpy.save_file(tensors, os.path.join(partial, "adapter_model.safetensors"), metadata={"format": "pt"})
    files.write_json(os.path.join(partial, "adapter_config.json"), dict(sorted(config.items())))


def _token_rows(attached, layout) -> tuple[dict[str, np.ndarray], dict[str, list[int]]]:
  """Tensors of the rows of single tokens, and which tokens by module."""
  tensors, indices = {}, {}
  for method in attached.methods:
    if isinstance(method, tokens_lib.Tokens):
      if layout.task_type != "CAUSAL_LM":
        raise errors.InputError("peft has no rows of new tokens for encoder-decoders: export --format=hf, merged")
      for site, module, at in _places(attached, method, layout):
        tensors[f"{_PREFIX}{module}.token_adapter.trainable_tokens_delta"] = _layer(
          attached.params[f"{site}/adapters/{method.name}/rows"], at
        )
        indices[module.rsplit(".", 1)[-1]] = list(method.ids)
  return tensors, indices


# By expanded site, in HF's layout: "a", "b" (and "magnitude") of a LoRA, or "rows" of tokens.
Factors = dict[str, dict[str, np.ndarray]]


def load(folder: str, model: Any, layout: Layout) -> tuple[tuple[Any, ...], Factors]:
  """Reads a LoRA PEFT folder: the methods that fit `model`, and their values.

  Raises InputError, by name, for other methods, options that change the function, or modules this model lacks.
  """
  config = files.read_json(os.path.join(folder, "adapter_config.json"))
  if config.get("peft_type") != "LORA":
    raise errors.InputError(f"{folder}: peft_type is {config.get('peft_type')!r}; supported is 'LORA'")
  for option, plain in _UNSUPPORTED.items():
    if config.get(option, plain) not in (plain, None, {}, [], False):
      raise errors.InputError(f"{folder}: {option} = {config[option]!r} is not supported")
  path = os.path.join(folder, "adapter_model.safetensors")
  try:
    tensors = safetensors.numpy.load_file(path)
  except (OSError, safetensors.SafetensorError) as e:
    raise errors.InputError(f"{path}: missing, truncated or corrupt ({e})") from None
  back = _modules(model, layout)
  values: Factors = {}
  for key, tensor in tensors.items():
    match = _KEY.fullmatch(key) or _TOKENS.fullmatch(key)
    if not match or match.group(1) not in back:
      raise errors.InputError(f"{path}: {key} is no LoRA factor of a module of this model")
    what = (match.group(2) or match.group(3)).lower() if len(match.groups()) == 3 else "rows"
    values.setdefault(back[match.group(1)], {})[what] = tensor.astype(np.float32)
  pairs = {name: factors for name, factors in values.items() if "a" in factors}
  if bare := [name for name, factors in pairs.items() if config.get("use_dora") and "magnitude" not in factors]:
    raise errors.InputError(f"{path}: use_dora is set, but {bare[0]} has no lora_magnitude_vector")
  forward = {name: module for module, name in back.items()}
  rank = {name: factors["a"].shape[0] for name, factors in pairs.items()}
  alpha = {name: _pattern(config.get("alpha_pattern") or {}, forward[name], config["lora_alpha"]) for name in pairs}
  method = lora_lib.Lora(
    rank=config["r"],
    alpha=float(config["lora_alpha"]),
    sites="|".join(map(re.escape, sorted(pairs))),
    rslora=bool(config.get("use_rslora")),
    dora=bool(config.get("use_dora")),
    dropout=float(config.get("lora_dropout") or 0.0),
    rank_pattern={re.escape(n): r for n, r in rank.items() if r != config["r"]},
    alpha_pattern={re.escape(n): float(a) for n, a in alpha.items() if a != config["lora_alpha"]},
  )
  rows = [name for name, factors in values.items() if "rows" in factors]
  return ((method, _tokens(folder, config, values, rows)) if rows else (method,)), values


def _tokens(folder, config, values, rows) -> tokens_lib.Tokens:
  """The method of a folder's token rows; sorts the rows by id, as the method wants them."""
  given = config.get("trainable_token_indices") or []
  each = list(given.values()) if isinstance(given, dict) else [given]
  if not each or any(one != each[0] for one in each):
    raise errors.InputError(f"{folder}: trainable_token_indices differ by module; supported are the same for all")
  order = np.argsort(each[0])
  for name in rows:
    values[name]["rows"] = values[name]["rows"][order]
  return tokens_lib.Tokens(ids=tuple(sorted(each[0])), sites="|".join(map(re.escape, sorted(rows))))


def fill(attached: base_lib.Attached, values: Factors) -> dict[str, np.ndarray]:
  """The arrays of an attached LoRA and of token rows, by path, filled from a PEFT folder. Raises InputError on shapes,
  KeyError naming the place where this model has no such adapter."""
  arrays: dict[str, np.ndarray] = {}
  places = _expansion(attached.module)
  named = {type(m): m.name for m in attached.methods}
  for name, factors in values.items():
    site, at = places[name]
    if "rows" in factors:
      path = f"{site}/adapters/{named[tokens_lib.Tokens]}/rows"
      if attached.params[path].shape != factors["rows"].shape:
        raise errors.InputError(f"{name}: rows are {factors['rows'].shape}, expected {attached.params[path].shape}")
      arrays[path] = factors["rows"]
      continue
    base = f"{site}/adapters/{named[lora_lib.Lora]}"
    if "magnitude" in factors:
      path = f"{base}/magnitude"
      arrays.setdefault(path, np.array(attached.params[path], np.float32))
      arrays[path][at] = factors["magnitude"].reshape(arrays[path][at].shape)
    for leaf in ("a", "b"):
      path = f"{base}/{leaf}"
      if path not in arrays:
        arrays[path] = np.zeros(attached.params[path].shape, np.float32)
      slot = arrays[path][at]
      rank = factors["a"].shape[0]
      ours = factors[leaf].T
      target = slot.reshape(-1, slot.shape[-1])[:, :rank] if leaf == "a" else slot.reshape(slot.shape[0], -1)[:rank]
      if target.shape != ours.shape:
        raise errors.InputError(
          f"{name}: lora_{leaf.upper()} is {factors[leaf].shape}, expected {target.shape[::-1]}: another model's"
        )
      target[...] = ours
  return arrays


def _places(attached, method, layout):
  """(site, HF module, index into the stacked axes) of every single site that has the adapter."""
  stacks = attached.module.cfg.stacks
  for path, node in nn_tree.sites(attached.module).items():
    if method.name not in node.adapters:
      continue
    module = layout(path)
    if module is None:
      raise errors.InputError(f"{path} has no Hugging Face module: its adapter cannot be exported")
    for at in np.ndindex(*nn_tree.lead(path, stacks)):
      yield path, module.format(*at), at


def _modules(model, layout) -> dict[str, str]:
  """The expanded site of every HF module of a model."""
  found = {}
  for path in nn_tree.sites(model):
    module = layout(path)
    if module:
      indices = np.ndindex(*nn_tree.lead(path, model.cfg.stacks))
      names = nn_tree.expanded(path, model.cfg.stacks)
      found |= {module.format(*at): name for at, name in zip(indices, names, strict=True)}
  return found


def _expansion(model) -> dict[str, tuple[str, tuple[int, ...]]]:
  """Expanded site name to (site, index into its stacked axes)."""
  stacks, found = model.cfg.stacks, {}
  for path in nn_tree.sites(model):
    indices = np.ndindex(*nn_tree.lead(path, stacks))
    found |= {name: (path, at) for name, at in zip(nn_tree.expanded(path, stacks), indices, strict=True)}
  return found


def _layer(array, at):
  return np.asarray(array[at] if at else array, np.float32)


def _pattern(patterns, module, default):
  return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), default)


def _config(method, ranks, alphas, base, layout, modules):
  rank = max(set(ranks.values()), key=list(ranks.values()).count)
  alpha = max(set(alphas.values()), key=list(alphas.values()).count)
  whole = lambda x: int(x) if float(x).is_integer() else x
  return {
    "peft_type": "LORA",
    "task_type": layout.task_type,
    "base_model_name_or_path": base,
    "revision": None,
    "inference_mode": True,
    "auto_mapping": None,
    "r": rank,
    "lora_alpha": whole(round(alpha, 6)),
    "lora_dropout": method.dropout,
    "bias": "none",
    "use_rslora": method.rslora,
    "use_dora": method.dora,
    "fan_in_fan_out": layout.fan_in_fan_out,
    "init_lora_weights": True,
    "modules_to_save": None,
    "target_modules": _targets(list(ranks), modules),
    "layers_to_transform": None,
    "layers_pattern": None,
    "exclude_modules": None,
    "rank_pattern": {re.escape(m): r for m, r in ranks.items() if r != rank},
    "alpha_pattern": {re.escape(m): whole(round(a, 6)) for m, a in alphas.items() if abs(a - alpha) > 1e-6},
  }


def _targets(chosen: list[str], modules: Iterable[str]) -> list[str]:
  """Short names where they name no other module; full module names (which peft matches exactly) otherwise."""
  last = lambda module: module.rsplit(".", 1)[-1]
  short = {last(m) for m in chosen}
  return sorted(short) if {m for m in modules if last(m) in short} == set(chosen) else sorted(chosen)
