"""Encoders of the BERT family (Devlin et al. 2019), which make vectors of texts: read from a Hugging Face folder.

They see both ways, and neither train nor decode here, so they are functions of their arrays alone. Post-norm blocks,
learned positions, GELU. A vector is the mean of the last hidden states (Reimers and Gurevych 2019), of length 1.
"""

from collections.abc import Mapping
import dataclasses
import os
from typing import Any

import jax
import jax.numpy as jnp

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import ranges
from itune_jax.core import tensors

Params = dict[str, Any]
_KEYS = {
  "vocab": "vocab_size",
  "width": "hidden_size",
  "depth": "num_hidden_layers",
  "heads": "num_attention_heads",
  "mlp": "intermediate_size",
  "positions": "max_position_embeddings",
  "kinds": "type_vocab_size",
  "norm_eps": "layer_norm_eps",
}
# What would be another function; a key that is not there has its value here.
_DEMANDS = {
  "hidden_act": "gelu",
  "position_embedding_type": "absolute",
  "is_decoder": False,
  "add_cross_attention": False,
}
_IN_LAYER = {
  "q": "attention.self.query",
  "k": "attention.self.key",
  "v": "attention.self.value",
  "o": "attention.output.dense",
  "o_norm": "attention.output.LayerNorm",
  "up": "intermediate.dense",
  "down": "output.dense",
  "down_norm": "output.LayerNorm",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class BertConfig:
  """Shape of an encoder, from its config.json. kinds: rows of the table of token types, of which the first is used."""

  vocab: int
  width: int
  depth: int
  heads: int
  mlp: int
  positions: int
  kinds: int = 2
  norm_eps: ranges.PositiveFloat = 1e-12

  def __post_init__(self):
    check.check_types(self)
    counts = (self.vocab, self.width, self.depth, self.heads, self.mlp, self.positions, self.kinds)
    check.require(min(counts) > 0 and self.width % self.heads == 0, f"BertConfig: {counts} is no shape of an encoder")


def load(folder: str) -> tuple[BertConfig, Params]:
  """The shape and the arrays of a folder with config.json and model.safetensors; layers are stacked [L, …].

  Raises InputError for another model, for a config that asks for another function, and for tensors that are missing, of
  another shape, or unknown.
  """
  path = os.path.join(folder, "config.json")
  config = files.read_object(path)
  check.require(config.get("model_type") == "bert", f"{path}: model_type is {config.get('model_type')!r}; bert is read")
  for key, wanted in _DEMANDS.items():
    got = config.get(key, wanted)
    check.require(got == wanted, f"{path}: {key} = {got!r} is another function than the one built here ({wanted!r})")
  lost = [key for key in _KEYS.values() if key not in config]
  check.require(not lost, f"{path}: {', '.join(lost)} is missing")
  cfg = BertConfig(**{ours: config[theirs] for ours, theirs in _KEYS.items()})
  return cfg, _params(cfg, os.path.join(folder, "model.safetensors"))


def _params(cfg: BertConfig, path: str) -> Params:
  check.require(os.path.exists(path), f"{path}: not there; an encoder is one safetensors file beside its config.json")
  places = {name.removeprefix("bert."): place for name, place in tensors.header(path).items()}
  left = {name for name in places if not name.startswith(("pooler.", "cls.")) and name != "embeddings.position_ids"}

  def take(name: str, shape: tuple[int, ...]) -> jax.Array:
    if name not in places:
      raise errors.InputError(f"{path}: {name} is missing")
    if places[name].shape != shape:
      raise errors.InputError(f"{path}: {name} is {places[name].shape}; the config says {shape}")
    left.discard(name)
    return jnp.asarray(tensors.read(places[name]), jnp.float32)

  D, F = cfg.width, cfg.mlp
  found = {f"embed/{k}": take(f"embeddings.{k}_embeddings.weight", (n, D)) for k, n in _tables(cfg).items()}
  found |= {f"embed_norm/{k}": take(f"embeddings.LayerNorm.{k}", (D,)) for k in ("weight", "bias")}
  shapes = {"up": (F, D), "down": (D, F), "o_norm": (D,), "down_norm": (D,)}
  for ours, theirs in _IN_LAYER.items():
    shape = shapes.get(ours, (D, D))
    for part, own in (("weight", shape), ("bias", shape[:1])):
      each = [take(f"encoder.layer.{i}.{theirs}.{part}", own) for i in range(cfg.depth)]
      found[f"{ours}/{part}"] = jnp.stack(each)
  check.require(not left, f"{path}: {', '.join(sorted(left)[:3])} is no tensor of a BERT encoder of this config")
  return found


def _tables(cfg: BertConfig) -> Mapping[str, int]:
  return {"word": cfg.vocab, "position": cfg.positions, "token_type": cfg.kinds}


def hidden(cfg: BertConfig, params: Params, tokens_BT: jax.Array, mask_BT: jax.Array) -> jax.Array:
  """The last hidden states [B, T, D] of tokens; where the mask is 0 nothing is looked at."""
  x_BTD = params["embed/word"][tokens_BT] + params["embed/position"][None, : tokens_BT.shape[1]]
  x_BTD = _norm(cfg, x_BTD + params["embed/token_type"][None, :1], params, "embed_norm")
  layers = {name: value for name, value in params.items() if not name.startswith("embed")}
  step = lambda x, layer: (_block(cfg, layer, x, mask_BT), None)
  return jax.lax.scan(step, x_BTD, layers)[0]


def vectors(cfg: BertConfig, params: Params, tokens_BT: jax.Array, mask_BT: jax.Array) -> jax.Array:
  """The mean of the last hidden states where the mask is 1, of length 1 [B, D]."""
  x_BTD = hidden(cfg, params, tokens_BT, mask_BT)
  weights_BT1 = mask_BT[..., None].astype(jnp.float32)
  mean_BD = (x_BTD * weights_BT1).sum(1) / jnp.maximum(weights_BT1.sum(1), 1e-9)
  return mean_BD / jnp.maximum(jnp.linalg.norm(mean_BD, axis=-1, keepdims=True), 1e-12)


def _block(cfg: BertConfig, layer: Params, x_BTD: jax.Array, mask_BT: jax.Array) -> jax.Array:
  """norm(x + attention(x)), then norm(x + mlp(x))."""
  heads = lambda name: _linear(layer, name, x_BTD).reshape(*x_BTD.shape[:2], cfg.heads, -1)
  y_BTNH = jax.nn.dot_product_attention(heads("q"), heads("k"), heads("v"), mask=mask_BT[:, None, None, :] != 0)
  x_BTD = _norm(cfg, x_BTD + _linear(layer, "o", y_BTNH.reshape(x_BTD.shape)), layer, "o_norm")
  y_BTF = jax.nn.gelu(_linear(layer, "up", x_BTD), approximate=False)
  return _norm(cfg, x_BTD + _linear(layer, "down", y_BTF), layer, "down_norm")


def _linear(params: Params, name: str, x: jax.Array) -> jax.Array:
  kernel = params[f"{name}/weight"]
  return jnp.einsum("...d,fd->...f", x, kernel, precision="highest") + _last(params[f"{name}/bias"], x)


def _norm(cfg: BertConfig, x: jax.Array, params: Params, name: str) -> jax.Array:
  x -= x.mean(-1, keepdims=True)
  x *= jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + cfg.norm_eps)
  return x * _last(params[f"{name}/weight"], x) + _last(params[f"{name}/bias"], x)


def _last(values, x):
  """The values of the last axis, with as many axes as x has."""
  return values.reshape((1,) * (x.ndim - 1) + values.shape)
