"""Hugging Face layouts: tensors by the rows of a family, and config.json in both directions.

A projection's HF weight is [out, in]; ours is [*in, *out]. The rearrangement follows from the site itself, so a
row only pairs names.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import difflib
import itertools
import math
from typing import Any

import numpy as np
import transformers

from itune_jax.core import errors
from itune_jax.models import decoder
from itune_jax.models import zoo
from itune_jax.nn import moe
from itune_jax.nn import rope as rope_lib
from itune_jax.nn import tree as nn_tree

_LEAF = {
  ("proj", "kernel"): "weight",
  ("proj", "bias"): "bias",
  ("conv1d", "kernel"): "weight",
  ("conv1d", "bias"): "bias",
  ("table", "table"): "weight",
  ("norm", "scale"): "weight",
  ("norm", "bias"): "bias",
}


@dataclasses.dataclass(frozen=True)
class Mapped:
  """One of our parameters and the HF tensors it is made of (one for each index of its leading, stacked axes)."""

  ours: str
  theirs: tuple[str, ...]
  lead: tuple[int, ...]
  num_in: int  # contracted axes of a projection's kernel; 0 otherwise
  transposed: bool  # whether HF stores [out, in]
  shape: tuple[int, ...]  # ours, without the leading axes

  @property
  def their_shape(self) -> tuple[int, ...]:
    """Shape of one HF tensor."""
    if self.num_in:
      two = (math.prod(self.shape[: self.num_in]), math.prod(self.shape[self.num_in :]))
      return two[::-1] if self.transposed else two
    return self.shape if self.ours.endswith("/table") else (math.prod(self.shape),)

  def from_hf(self, tensor: np.ndarray) -> np.ndarray:
    """One HF tensor in our shape."""
    return (tensor.T if self.transposed else tensor).reshape(self.shape)

  def to_hf(self, array: np.ndarray) -> np.ndarray:
    """One of ours in HF's shape."""
    if not self.transposed:
      return array.reshape(self.their_shape)
    return array.reshape(self.their_shape[::-1]).T


def family_of(cfg: Any) -> zoo.Family:
  """The family a config belongs to."""
  return zoo.FAMILIES[cfg.family]


def parameters(shapes: Mapping[str, Any], cfg: Any, sites: Mapping[str, Any]) -> Iterator[Mapped]:
  """The mapping of every base parameter. `shapes` are ours by path; `sites` give the contracted axes."""
  for row in family_of(cfg).rows:
    lead = nn_tree.lead(row.ours, cfg.stacks)
    for (kind, leaf), their_leaf in _LEAF.items():
      ours = f"{row.ours}/{leaf}"
      if kind != row.kind or ours not in shapes:
        continue
      names = tuple(f"{row.theirs.format(*at)}.{their_leaf}" for at in itertools.product(*map(range, lead)))
      num_in = sites[row.ours].num_in if leaf == "kernel" else 0
      shape = tuple(shapes[ours].shape[len(lead) :])
      yield Mapped(ours, names, lead, num_in, bool(num_in) and kind == "proj", shape)


@dataclasses.dataclass(frozen=True)
class Layout:
  """The HF module names of a family, as PEFT folders need them."""

  family: str

  def __call__(self, site: str) -> str | None:
    """The HF module of a site (`blocks/attn/q` to `model.layers.{}.self_attn.q_proj`), or None."""
    return next((row.theirs for row in zoo.FAMILIES[self.family].rows if row.ours == site), None)

  @property
  def fan_in_fan_out(self) -> bool:
    """Whether kernels are stored [in, out], as GPT-2 does."""
    return any(row.kind == "conv1d" for row in zoo.FAMILIES[self.family].rows)

  @property
  def task_type(self) -> str:
    """peft's word for the kind of model."""
    return zoo.FAMILIES[self.family].task_type


# --- config.json --------------------------------------------------------------------------------------------


def config_from_hf(config: Mapping[str, Any], where: str) -> Any:
  """Reads a config.json. Raises InputError naming the key, what was found and what is supported."""
  family = config.get("model_type")
  if family not in zoo.FAMILIES:
    near = difflib.get_close_matches(str(family), zoo.FAMILIES, 1, 0.3)
    hint = f"; the nearest supported is {near[0]!r}" if near else ""
    raise errors.InputError(f"{where}: model_type is {family!r}; supported are {', '.join(zoo.FAMILIES)}{hint}")
  row = zoo.FAMILIES[family]
  if config.get("quantization_config"):
    kind = config["quantization_config"].get("quant_method")
    raise errors.InputError(f"{where}: quantization_config ({kind!r}) is not supported; load the full weights")
  _check_rope_types(config, where)
  full = _with_defaults(config, where)
  for key, accepted in row.demands.items():
    if full.get(key, accepted[0]) not in accepted:
      raise errors.InputError(f"{where}: {key} is {full[key]!r}; supported is {accepted[0]!r}")
  try:
    return _read(row, family, full, where)
  except KeyError as e:
    raise errors.InputError(f"{where}: the key {e} is missing") from None


def _read(row: zoo.Family, family: str, full, where) -> decoder.DecoderConfig:
  fields: dict[str, Any] = {}
  for ours, key in {**zoo.COMMON, **row.keys}.items():
    key = zoo.Key(key) if isinstance(key, str) else key
    if key is not None and full.get(key.theirs) is not None:
      fields[ours] = key.read(full[key.theirs])
  found = fields.get("activation", "silu")
  if found not in zoo.ACTIVATIONS.values():
    raise errors.InputError(f"{where}: the activation is {found!r}; supported are {', '.join(zoo.ACTIVATIONS)}")
  for needed in ("vocab", "width", "depth", "heads", "max_length"):
    if needed not in fields:
      raise KeyError({**zoo.COMMON, **row.keys}[needed])
  fields.setdefault("kv_heads", fields["heads"])
  fields.setdefault("head_dim", fields["width"] // fields["heads"])
  fields.setdefault("mlp", 4 * fields["width"])
  for name in ("norm_eps", "embed_scale", "residual_scale", "logit_scale", "attention_scale"):
    if name in fields:
      fields[name] = float(fields[name])
  if row.embeds_by_root_width:
    fields["embed_scale"] = fields["width"] ** 0.5
  if row.moe:
    keep = row.moe["renormalise"]
    fields["moe"] = moe.MoeSpec(
      experts=full[row.moe["experts"]],
      top_k=full["num_experts_per_tok"],
      renormalise=keep if isinstance(keep, bool) else bool(full[keep]),
    )
  fields |= _read_layers(row, full, fields["depth"])
  return decoder.DecoderConfig(family=family, **{**fields, **row.fixed})


def _read_layers(row, full, depth) -> dict[str, Any]:
  """Windows and rotary settings."""
  fields: dict[str, Any] = {}
  window = full.get("sliding_window") or 0
  if row.windows == "all" and window:
    fields["windows"] = (window,) * depth
  elif row.windows == "layer_types" and window:
    windows = tuple(window if kind == "sliding_attention" else 0 for kind in full["layer_types"])
    fields["windows"] = windows if any(windows) else ()
  rope = full.get("rope_parameters")
  if rope and "full_attention" in rope:
    fields["rope"] = _rope_from_hf(rope["full_attention"], full)
    fields["local_rope"] = _rope_from_hf(rope["sliding_attention"], full)
  elif rope:
    fields["rope"] = _rope_from_hf(rope, full)
  return fields


_ROPE_TYPES = {
  "default": "none",
  "linear": "linear",
  "dynamic": "dynamic",
  "yarn": "yarn",
  "longrope": "longrope",
  "su": "longrope",
  "llama3": "llama3",
}


def _check_rope_types(config, where) -> None:
  """Before transformers sees it: it only warns."""
  for key in ("rope_parameters", "rope_scaling"):
    found = config.get(key) or {}
    for part in (found, *(v for v in found.values() if isinstance(v, Mapping))):
      kind = part.get("rope_type", part.get("type", "default"))
      if kind not in _ROPE_TYPES:
        raise errors.InputError(f"{where}: {key}.rope_type is {kind!r}; supported are {', '.join(_ROPE_TYPES)}")


def _with_defaults(config, where) -> dict[str, Any]:
  """config.json with what its family leaves unsaid, in the spelling of today's transformers."""
  try:
    rest = {k: v for k, v in config.items() if k != "model_type"}
    full = transformers.AutoConfig.for_model(config["model_type"], **rest)
    return full.to_dict() | {older: getattr(full, older, None) for older in full.attribute_map}
  except Exception as e:  # the library raises many kinds, all about the file's content
    reason = " ".join(str(e).split()) or type(e).__name__
    raise errors.InputError(f"{where}: not a valid {config['model_type']} config ({reason})") from None


def _rope_from_hf(found, full) -> rope_lib.Rope:
  kind = _ROPE_TYPES[found.get("rope_type", "default")]
  fields: dict[str, Any] = {
    "base": float(found["rope_theta"]),
    "partial": float(found.get("partial_rotary_factor") or 1),
  }
  if kind == "none":
    return rope_lib.Rope(**fields)
  longest = full["max_position_embeddings"]
  original = found.get("original_max_position_embeddings") or full.get("original_max_position_embeddings")
  fields |= {"original_length": int(longest if kind == "dynamic" else original or longest)}
  fields |= {"factor": float(found.get("factor") or longest / fields["original_length"])}
  for ours, theirs in _ROPE_KEYS.items():
    if found.get(theirs) is not None:
      fields[ours] = tuple(map(float, found[theirs])) if ours.startswith(("short", "long")) else found[theirs]
  if kind == "yarn" and "attention_factor" not in fields and found.get("mscale") and found.get("mscale_all_dim"):
    size = lambda m: 0.1 * m * math.log(fields["factor"]) + 1 if fields["factor"] > 1 else 1.0
    fields["attention_factor"] = size(found["mscale"]) / size(found["mscale_all_dim"])
  fields = {k: float(v) if isinstance(v, int) and k in _ROPE_FLOATS else v for k, v in fields.items()}
  return rope_lib.Rope(scaling=kind, **fields)  # pyright: ignore[reportArgumentType]


_ROPE_KEYS = {
  "low_freq_factor": "low_freq_factor",
  "high_freq_factor": "high_freq_factor",
  "beta_fast": "beta_fast",
  "beta_slow": "beta_slow",
  "truncate": "truncate",
  "attention_factor": "attention_factor",
  "short_factor": "short_factor",
  "long_factor": "long_factor",
}
_ROPE_FLOATS = ("low_freq_factor", "high_freq_factor", "beta_fast", "beta_slow", "attention_factor")
_ROPE_OF = {
  "none": (),
  "linear": ("factor",),
  "dynamic": ("factor",),
  "yarn": ("factor", "beta_fast", "beta_slow", "truncate", "attention_factor", "original"),
  "longrope": ("factor", "short_factor", "long_factor", "attention_factor", "original"),
  "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original"),
}


def _rope_to_hf(rope: rope_lib.Rope) -> dict[str, Any]:
  found: dict[str, Any] = {"rope_type": "default" if rope.scaling == "none" else rope.scaling, "rope_theta": rope.base}
  for name in _ROPE_OF[rope.scaling]:
    if name == "original":
      found["original_max_position_embeddings"] = rope.original_length
    elif name != "attention_factor" or rope.attention_factor:
      value = getattr(rope, name)
      found[name] = list(value) if isinstance(value, tuple) else value
  if rope.partial != 1:
    found["partial_rotary_factor"] = rope.partial
  return found


def config_to_hf(cfg: Any, dtype: str, tokens: Mapping[str, Any]) -> dict[str, Any]:
  """A config.json that transformers reads. `tokens` adds bos, eos and pad ids."""
  row = family_of(cfg)
  found: dict[str, Any] = {"architectures": [row.architecture], "model_type": cfg.family, **row.also}
  for ours, key in {**zoo.COMMON, **row.keys}.items():
    key = zoo.Key(key) if isinstance(key, str) else key
    if key is not None:
      value = key.write(getattr(cfg, ours))
      if found.get(key.theirs, value) != value:
        raise errors.InputError(f"{cfg.family} has one key, {key.theirs}, for {ours} and another field; they differ")
      found[key.theirs] = value
  if row.moe:
    found |= {str(row.moe["experts"]): cfg.moe.experts, "num_experts_per_tok": cfg.moe.top_k}
    if isinstance(row.moe["renormalise"], str):
      found[row.moe["renormalise"]] = cfg.moe.renormalise
  if row.windows != "none":
    found["sliding_window"] = max(cfg.windows, default=0) or None
  if row.windows == "layer_types" and cfg.windows:
    found["layer_types"] = ["sliding_attention" if w else "full_attention" for w in cfg.windows]
    found["max_window_layers"] = next((i for i, w in enumerate(cfg.windows) if w), cfg.depth)
  elif row.windows == "layer_types":
    found |= dict.fromkeys(row.also, False)
    found["layer_types"] = ["full_attention"] * cfg.depth
  if cfg.positions == "rope":
    found |= _ropes_to_hf(cfg)
  # Dropout is a matter of the run, not of the weights: none is written.
  special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
  return {**found, "attention_dropout": 0.0, "torch_dtype": dtype, "dtype": dtype, **special, **tokens}


def _ropes_to_hf(cfg) -> dict[str, Any]:
  """Today's key, and beside it the ones that versions before 5 read."""
  rope = _rope_to_hf(cfg.rope)
  scaling = {k: v for k, v in rope.items() if k not in ("rope_theta", "partial_rotary_factor")}
  older = {"rope_theta": cfg.rope.base, "rope_scaling": None if cfg.rope.scaling == "none" else scaling}
  if cfg.local_rope is not None:
    nested = {"full_attention": rope, "sliding_attention": _rope_to_hf(cfg.local_rope)}
    return {"rope_parameters": nested, "rope_theta": cfg.rope.base, "rope_local_base_freq": cfg.local_rope.base}
  if cfg.family == "gpt_neox":
    return {"rope_parameters": rope, "rotary_pct": cfg.rope.partial, "rotary_emb_base": cfg.rope.base}
  if cfg.rope.scaling == "longrope":
    older["original_max_position_embeddings"] = cfg.rope.original_length
  if cfg.rope.partial != 1:
    older["partial_rotary_factor"] = cfg.rope.partial
  if cfg.rope.scaling in ("longrope", "yarn"):  # the older key would shadow the newer one and lose what it lacks
    older.pop("rope_scaling")
  return {"rope_parameters": rope, **older}
