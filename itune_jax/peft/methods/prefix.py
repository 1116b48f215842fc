"""Prefix tuning (Li & Liang 2021) and P-tuning v2 (Liu et al. 2022): learned keys and values in front of every layer's.

They are not rotated, and the tokens start at position P behind them. Attention over them is merged with attention
over the tokens by log-sum-exp, so all segments of a packed row see one prefix and no kernel needs to know of it.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import ranges
from itune_jax.nn.attention import kernels
from itune_jax.nn import site
from itune_jax.nn import taps
from itune_jax.peft.folders import codec
from itune_jax.peft import method as method_lib


class Shift(site.Adapter):
  """Of the tap `positions` [B, T]: tokens start behind P learned ones."""

  def __init__(self, count: int):
    self.count = count

  def post(self, x, y, w, ctx):
    return y + self.count


class PrefixAdapter(site.Adapter):
  """Keys and values [P, K, H] of one layer, or what makes them of the bank's hidden vectors [P, hidden] (prefix
  tuning's MLP): w [hidden, 2, K, H] and b [2, K, H]."""

  def __init__(self, spec: site.SiteSpec, key, method: "Prefix"):
    self.shape, self.owner, self.projects = (method.count, *spec.out_shape), method.name, method.hidden > 0
    axes = (None, *spec.out_axes)
    if self.projects:
      w = jax.random.normal(key, (method.hidden, 2, *spec.out_shape)) * method.hidden**-0.5
      self.w = site.AdapterParam(w, axes=(None, *axes))
      self.b = site.AdapterParam(jnp.zeros((2, *spec.out_shape)), axes=axes)
    else:
      k, v = jax.random.normal(key, (2, *self.shape)) * method.scale
      self.k, self.v = site.AdapterParam(k, axes=axes), site.AdapterParam(v, axes=axes)

  def post(self, x: taps.Queries, y: taps.Attended, w, ctx) -> taps.Attended:
    k, v = self.pair(ctx.bank)
    k_KHP, v_KPH = jnp.transpose(k, (1, 2, 0)), jnp.swapaxes(v, 0, 1)
    how = dict(scale=x.scale, softcap=x.softcap, window=x.window)
    out_BTNH, lse_BTN = kernels.in_front(x.q_BTNH, k_KHP, v_KPH, ctx, **how)
    return taps.Attended(*kernels.merge(*y, out_BTNH, lse_BTN))

  def pair(self, bank):
    """Keys and values [P, K, H]."""
    if not self.projects:
      return self.k[...], self.v[...]
    read = lambda name: bank[f"{self.owner}_{name}"][...]
    hidden = jnp.tanh(read("vectors") @ read("w") + read("b")[None])
    both = jnp.einsum("ph,hckd->cpkd", hidden, self.w[...]) + self.b[...][:, None]
    return both[0], both[1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prefix(method_lib.SiteMethod, codec.ModelCodec):
  """The method: `count` learned tokens. hidden: of the MLP that makes them of vectors of this width (0: none, which is
  P-tuning v2). scale: of the random start; the model is another at first.

  count: learned tokens in front of every layer.
  """

  count: int = 20
  hidden: int = 0
  scale: ranges.NonNegativeFloat = 0.02
  name: str = "prefix"
  sites: str = r"positions|blocks/\d+/attn/mix"
  kinds = ("tap",)
  shared_trains = ("vectors", "w", "b")
  peft_type = "PREFIX_TUNING"

  def __post_init__(self):
    super().__post_init__()
    check.require(
      self.count > 0 and self.hidden >= 0, f"Prefix(count={self.count}, hidden={self.hidden}): count > 0, hidden >= 0"
    )

  def shared(self, specs, key) -> dict[str, Any]:
    """The first layer of the MLP, which the model's layers share."""
    if not self.hidden:
      return {}
    k_v, k_w = jax.random.split(key)
    h = self.hidden
    w = jax.random.normal(k_w, (h, h)) * h**-0.5
    return {"vectors": jax.random.normal(k_v, (self.count, h)), "w": w, "b": jnp.zeros((h,))}

  def make(self, spec: site.SiteSpec, key) -> site.Adapter:
    """The prefix of one layer, or the shift of the positions."""
    return Shift(self.count) if spec.name == "positions" else PrefixAdapter(spec, key, self)

  def peft_whole(self, adapters: Mapping[str, Any], bank, cfg) -> tuple[codec.Arrays, dict[str, Any]]:
    """[P, 2·L·K·H]: keys, then values, layer by layer; those that an MLP makes, as it makes them."""
    (stack,) = [adapter for path, adapter in adapters.items() if path != "positions"]
    k, v = jax.vmap(lambda adapter: adapter.pair(bank))(stack)
    rows = np.asarray(jnp.stack([k, v], axis=1), np.float32)  # [L, 2, P, K, H]
    flat = np.moveaxis(rows, 2, 0).reshape(self.count, -1)
    return {"prompt_embeddings": flat}, prompt_config(self.count, cfg) | {
      "prefix_projection": False,
      "encoder_hidden_size": cfg.width,
    }

  @classmethod
  def from_peft_whole(cls, config, tensors: codec.Arrays, cfg) -> tuple[Self, dict[str, np.ndarray]]:
    """The method of a folder, and its arrays by path."""
    rows = whole(tensors, (config["num_virtual_tokens"], 2 * cfg.depth * cfg.kv_heads * cfg.head_dim))
    parts = rows.reshape(len(rows), cfg.depth, 2, cfg.kv_heads, cfg.head_dim)
    k, v = np.moveaxis(parts, 0, 2)[:, 0], np.moveaxis(parts, 0, 2)[:, 1]
    stem = "blocks/attn/mix/adapters/{name}"
    return cls(count=len(rows)), {f"{stem}/k": k, f"{stem}/v": v}


def whole(tensors: codec.Arrays, shape: tuple[int, int]) -> np.ndarray:
  """The one tensor of a folder of learned tokens. Raises InputError when it is not there, or another model's."""
  tensor = tensors.get("prompt_embeddings")
  if tensor is None or tensor.shape != shape:
    there = "no prompt_embeddings" if tensor is None else f"prompt_embeddings of {tensor.shape}"
    raise errors.InputError(f"the folder has {there}; this model's are {shape}")
  return tensor.astype(np.float32)


def prompt_config(count: int, cfg) -> dict[str, Any]:
  """What peft wants to know of the model in a folder of learned tokens."""
  return {
    "num_virtual_tokens": count,
    "token_dim": cfg.width,
    "num_transformer_submodules": 1,
    "num_attention_heads": cfg.heads,
    "num_layers": cfg.depth,
  }
