"""Hugging Face names and layouts, as rows: one table serves loading, saving, and PEFT folders.

A projection's HF weight is [out, in]; ours is [*in, *out]. The rearrangement follows from the site itself, so a
row only pairs names.
"""

from collections.abc import Iterator, Mapping
import dataclasses
from typing import Any, Literal

import numpy as np

from itune_jax.core import errors
from itune_jax.models import decoder
from itune_jax.nn import rope as rope_lib


@dataclasses.dataclass(frozen=True)
class Row:
  """One module: our path, its HF name (`{}` is the layer), and its kind."""

  ours: str
  theirs: str
  kind: str  # "proj", "table" or "scale"


LLAMA = (
  Row("embed", "model.embed_tokens", "table"),
  Row("blocks/attn_norm", "model.layers.{}.input_layernorm", "scale"),
  Row("blocks/attn/q", "model.layers.{}.self_attn.q_proj", "proj"),
  Row("blocks/attn/k", "model.layers.{}.self_attn.k_proj", "proj"),
  Row("blocks/attn/v", "model.layers.{}.self_attn.v_proj", "proj"),
  Row("blocks/attn/o", "model.layers.{}.self_attn.o_proj", "proj"),
  Row("blocks/mlp_norm", "model.layers.{}.post_attention_layernorm", "scale"),
  Row("blocks/mlp/gate", "model.layers.{}.mlp.gate_proj", "proj"),
  Row("blocks/mlp/up", "model.layers.{}.mlp.up_proj", "proj"),
  Row("blocks/mlp/down", "model.layers.{}.mlp.down_proj", "proj"),
  Row("norm", "model.norm", "scale"),
  Row("head", "lm_head", "proj"),
)

_LEAF = {
  ("proj", "kernel"): "weight",
  ("proj", "bias"): "bias",
  ("table", "table"): "weight",
  ("scale", "scale"): "weight",
}


@dataclasses.dataclass(frozen=True)
class Mapped:
  """One of our parameters and the HF tensors it is made of (one a layer if stacked)."""

  ours: str
  theirs: tuple[str, ...]
  stacked: bool
  num_in: int  # contracted axes of a projection's kernel; 0 otherwise
  shape: tuple[int, ...]  # ours, without the stacked axis

  @property
  def their_shape(self) -> tuple[int, ...]:
    """Shape of one HF tensor."""
    if not self.num_in:
      return self.shape
    return (int(np.prod(self.shape[self.num_in :])), int(np.prod(self.shape[: self.num_in])))

  def from_hf(self, tensor: np.ndarray) -> np.ndarray:
    """[out, in] to [*in, *out]."""
    return tensor.T.reshape(self.shape) if self.num_in else tensor.reshape(self.shape)

  def to_hf(self, array: np.ndarray) -> np.ndarray:
    """[*in, *out] to [out, in]."""
    if not self.num_in:
      return array
    return array.reshape(self.their_shape[::-1]).T


def parameters(shapes: Mapping[str, Any], cfg: decoder.DecoderConfig, sites: Mapping[str, Any]) -> Iterator[Mapped]:
  """The mapping of every base parameter. `shapes` are ours by path; `sites` give the contracted axes."""
  for row in LLAMA:
    for (kind, leaf), their_leaf in _LEAF.items():
      ours = f"{row.ours}/{leaf}"
      if kind != row.kind or ours not in shapes:
        continue
      stacked = "{}" in row.theirs
      names = tuple(f"{row.theirs.format(i)}.{their_leaf}" for i in range(cfg.depth if stacked else 1))
      num_in = sites[row.ours].num_in if leaf == "kernel" else 0
      yield Mapped(ours, names, stacked, num_in, tuple(shapes[ours].shape[1 if stacked else 0 :]))


def module_names(site: str) -> str | None:
  """The HF module of a site (`blocks/attn/q` to `model.layers.{}.self_attn.q_proj`), or None."""
  return next((row.theirs for row in LLAMA if row.ours == site), None)


_KNOWN_ROPE: dict[str, Literal["none", "linear", "llama3"]] = {
  "default": "none",
  "linear": "linear",
  "llama3": "llama3",
}


def config_from_hf(config: Mapping[str, Any], where: str) -> decoder.DecoderConfig:
  """Reads a config.json. Raises InputError naming the key, what was found and what is supported."""
  if config.get("model_type") != "llama":
    raise errors.InputError(f"{where}: model_type is {config.get('model_type')!r}; supported is 'llama'")
  if config.get("hidden_act", "silu") != "silu":
    raise errors.InputError(f"{where}: hidden_act is {config['hidden_act']!r}; supported is 'silu'")
  try:
    heads = config["num_attention_heads"]
    return decoder.DecoderConfig(
      vocab=config["vocab_size"],
      width=config["hidden_size"],
      depth=config["num_hidden_layers"],
      heads=heads,
      kv_heads=config.get("num_key_value_heads") or heads,
      head_dim=config.get("head_dim") or config["hidden_size"] // heads,
      mlp=config["intermediate_size"],
      max_length=config["max_position_embeddings"],
      norm_eps=float(config["rms_norm_eps"]),
      rope=_rope_from_hf(config, where),
      tied=bool(config.get("tie_word_embeddings", False)),
      attention_bias=bool(config.get("attention_bias", False)),
      mlp_bias=bool(config.get("mlp_bias", False)),
    )
  except KeyError as e:
    raise errors.InputError(f"{where}: the key {e} is missing") from None


def _rope_from_hf(config, where) -> rope_lib.Rope:
  # transformers 5 nests both in rope_parameters; earlier versions wrote rope_theta and rope_scaling.
  found = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
  base = float(found.get("rope_theta", config.get("rope_theta", 10_000.0)))
  kind = found.get("rope_type", found.get("type", "default"))
  if kind not in _KNOWN_ROPE:
    raise errors.InputError(f"{where}: rope_type is {kind!r}; supported are {', '.join(_KNOWN_ROPE)}")
  if kind == "default":
    return rope_lib.Rope(base=base)
  more = (
    {}
    if kind == "linear"
    else {
      "low_freq_factor": float(found["low_freq_factor"]),
      "high_freq_factor": float(found["high_freq_factor"]),
      "original_length": int(found["original_max_position_embeddings"]),
    }
  )
  return rope_lib.Rope(base=base, scaling=_KNOWN_ROPE[kind], factor=float(found["factor"]), **more)


def config_to_hf(cfg: decoder.DecoderConfig, dtype: str, tokens: Mapping[str, Any]) -> dict[str, Any]:
  """A config.json that transformers 4 and 5 both read. `tokens` adds bos, eos and pad ids."""
  rope = cfg.rope
  scaling = None
  if rope.scaling != "none":
    scaling = {"rope_type": rope.scaling, "factor": rope.factor}
    if rope.scaling == "llama3":
      scaling |= {
        "low_freq_factor": rope.low_freq_factor,
        "high_freq_factor": rope.high_freq_factor,
        "original_max_position_embeddings": rope.original_length,
      }
  return {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "vocab_size": cfg.vocab,
    "hidden_size": cfg.width,
    "num_hidden_layers": cfg.depth,
    "num_attention_heads": cfg.heads,
    "num_key_value_heads": cfg.kv_heads,
    "head_dim": cfg.head_dim,
    "intermediate_size": cfg.mlp,
    "max_position_embeddings": cfg.max_length,
    "rms_norm_eps": cfg.norm_eps,
    "rope_theta": rope.base,
    "rope_scaling": scaling,
    "rope_parameters": {"rope_theta": rope.base, **(scaling or {"rope_type": "default"})},
    "tie_word_embeddings": cfg.tied,
    "attention_bias": cfg.attention_bias,
    "mlp_bias": cfg.mlp_bias,
    "attention_dropout": 0.0,
    "initializer_range": 0.02,
    "torch_dtype": dtype,
    "dtype": dtype,
    **tokens,
  }
