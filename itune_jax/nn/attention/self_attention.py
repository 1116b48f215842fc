"""Grouped-query self-attention over packed rows or over a cache."""

import dataclasses
import functools
from typing import Any, Literal

from flax import nnx
import jax
import jax.numpy as jnp

from itune_jax.nn.attention import grouped
from itune_jax.nn.attention import kernels
from itune_jax.nn.attention import mask
from itune_jax.nn import norm
from itune_jax.nn.attention import ring
from itune_jax.nn import rope as rope_lib
from itune_jax.nn import site
from itune_jax.nn import taps


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spec:
  """What is fixed of an attention block.

  qkv: how the family stores the three projections, and so which sites there are: "split"; one site "qkv" of
  "concat" heads (Phi-3: all q, then k, then v), "stacked" (GPT-2: a q, k and v of all heads) or "interleaved"
  (GPT-NeoX: q, k and v of each head in turn). qk_norm: over each "head", or over "all" heads at once, or "none".
  scale: of the scores, 0 for 1/√H. softcap: c·tanh(score/c), 0 for none.
  """

  width: int
  heads: int
  kv_heads: int
  head_dim: int
  qkv: Literal["split", "concat", "stacked", "interleaved"] = "split"
  bias: bool = False
  out_bias: bool = False
  qk_norm: Literal["none", "head", "all"] = "none"
  norm_eps: float = 1e-6
  norm_offset: bool = False
  scale: float = 0.0
  softcap: float = 0.0
  prefix_lm: bool = False


class Attention(nnx.Module):
  """softmax(q kᵀ / √H) v with rotary positions (Vaswani et al. 2017; Ainslie et al. 2023 for groups).

  The tap `mix` sees the result and the rotated queries (`taps.Attended`, `taps.Queries`): a learned prefix merges
  itself there.
  """

  def __init__(self, spec: Spec, key, *, dtype=jnp.float32):
    self.spec = spec
    D, N, K, H = spec.width, spec.heads, spec.kv_heads, spec.head_dim
    k_q, k_k, k_v, k_o = jax.random.split(key, 4)
    make = dict(bias=spec.bias, dtype=dtype)
    if spec.qkv == "split":
      self.q = site.Proj("...D,DNH->...NH", (D, N, H), ("embed", "heads", "head_dim"), k_q, **make)
      self.k = site.Proj("...D,DKH->...KH", (D, K, H), ("embed", "kv_heads", "head_dim"), k_k, **make)
      self.v = site.Proj("...D,DKH->...KH", (D, K, H), ("embed", "kv_heads", "head_dim"), k_v, **make)
    elif spec.qkv == "concat":
      self.qkv = site.Proj("...D,DNH->...NH", (D, N + 2 * K, H), ("embed", "heads", "head_dim"), k_q, **make)
    elif spec.qkv == "stacked":
      self.qkv = site.Proj("...D,DCNH->...CNH", (D, 3, N, H), ("embed", None, "heads", "head_dim"), k_q, **make)
    else:
      self.qkv = site.Proj("...D,DNCH->...NCH", (D, N, 3, H), ("embed", "heads", None, "head_dim"), k_q, **make)
    self.o = site.Proj(
      "...NH,NHD->...D", (N, H, D), ("heads", "head_dim", "embed"), k_o, bias=spec.out_bias, dtype=dtype
    )
    if spec.qk_norm != "none":
      of = lambda heads: H if spec.qk_norm == "head" else heads * H
      make_norm = functools.partial(
        norm.RMSNorm, eps=spec.norm_eps, offset=spec.norm_offset, axis="head_dim", dtype=dtype
      )
      self.q_norm, self.k_norm = make_norm(of(N)), make_norm(of(K))
    self.tap_q = site.Tap("attn_q", ("batch", "length", "act_heads", "head_dim"))
    self.tap_k = site.Tap("attn_k", ("batch", "length", "kv_heads", "head_dim"))
    self.tap_v = site.Tap("attn_v", ("batch", "length", "kv_heads", "head_dim"))
    self.mix = site.Tap("attn_mix", width={"kv_heads": K, "head_dim": H})

  def __call__(self, x_BTD, ctx, tables, cache=None, layer=None, window=None):
    """Returns (y_BTD, cache). With a cache, T > 1 are prompts that start empty rows of it (or stand behind
    them: `ctx.is_behind`), T = 1 continues each row.

    tables: of the rotation, or None. window: how many positions a query sees, itself included; None for all.
    """
    q, k, v = self._project(x_BTD, ctx)
    if tables is not None:
      q, k = rope_lib.rotate(q, tables), rope_lib.rotate(k, tables)
    q, k, v = self.tap_q(q, ctx), self.tap_k(k, ctx), self.tap_v(v, ctx)
    ctx.show(q=q, k=k, v=v)
    how = dict(scale=self.spec.scale or self.spec.head_dim**-0.5, softcap=self.spec.softcap)
    if cache is not None and ctx.branches_GT is None:
      if x_BTD.shape[1] == 1:  # what enters the cache lies as its rows do
        k, v = (ctx.constrain(x, ("rows", None, "kv_heads", None)) for x in (k, v))
      cache = cache.write(layer, k, v, ctx.positions_BT, ctx.segments_BT != 0, ctx.cache_rows_BT, ctx)
    if self.spec.prefix_lm and ctx.prefix_BT is not None:
      out, lse = kernels.dense(q, k, v, _prefix_sees(ctx, window), **how)
    elif cache is None or x_BTD.shape[1] > 1 or ctx.is_behind:
      attend = ring.packed if ring.applies(ctx, x_BTD.shape[1]) else kernels.packed
      out, lse = attend(q, k, v, mask.Rows.of(ctx), ctx, window=window, **how)
    else:
      out, lse = _over_cache(q, ctx, cache, layer, window=window, **how)
    if cache is not None and ctx.is_behind:
      before = _before if ctx.goes_on else _before_branches
      out, lse = kernels.merge(out, lse, *before(q, ctx, cache, layer, window=window, **how))
    how["window"] = window
    if ctx.lead is not None:
      k_KHP, v_KPH = (jax.lax.dynamic_index_in_dim(store, ctx.layer, keepdims=False) for store in ctx.lead)
      front = kernels.in_front(q, k_KHP, v_KPH, ctx, **how)
      out, lse = kernels.merge(out, lse, front[0], front[1])
    out, _ = self.mix(taps.Attended(out, lse), ctx, x=taps.Queries(q, **how))
    return self.o(out, ctx), cache

  def _project(self, x_BTD, ctx) -> tuple[Any, Any, Any]:
    """Queries, keys and values [B, T, heads, H], normalised, not yet rotated."""
    N, K = self.spec.heads, self.spec.kv_heads
    if self.spec.qkv == "split":
      q, k, v = self.q(x_BTD, ctx), self.k(x_BTD, ctx), self.v(x_BTD, ctx)
    else:
      y = self.qkv(x_BTD, ctx)
      if self.spec.qkv == "concat":
        q, k, v = y[..., :N, :], y[..., N : N + K, :], y[..., N + K :, :]
      else:
        q, k, v = (jnp.take(y, i, axis=-3 if self.spec.qkv == "stacked" else -2) for i in (0, 1, 2))
    if self.spec.qk_norm == "none":
      return q, k, v
    flat = (lambda x: x) if self.spec.qk_norm == "head" else (lambda x: x.reshape(*x.shape[:2], -1))
    return self.q_norm(flat(q)).reshape(q.shape), self.k_norm(flat(k)).reshape(k.shape), v


def _over_cache(q_BTNH, ctx, cache, layer, **how):
  """Attention of one token a row: queries go to where the rows of the cache lie, and results come back."""
  k_BKHS, v_BKSH = cache.read(layer)
  q_BTNH = ctx.constrain(q_BTNH, ("rows", None, "act_heads", None))
  out, lse = kernels.cached(q_BTNH, k_BKHS, v_BKSH, ctx.positions_BT, cache.positions_BS, **how)
  if cache.prompts is not None:
    out, lse = kernels.merge(out, lse, *grouped.over_prompts(q_BTNH, ctx, cache.prompts, layer, **how))
  return ctx.constrain(out, ("batch", None, "act_heads", None)), ctx.constrain(lse, ("batch", None, "act_heads"))


def _before(q_BTNH, ctx, cache, layer, **how):
  """Attention of rows over what their rows of the cache hold. Their own keys are there too, but not marked yet."""
  k_BKHS, v_BKSH = cache.read(layer)
  return kernels.in_blocks(q_BTNH, k_BKHS, v_BKSH, ctx.positions_BT, cache.positions_BS, **how)


def _before_branches(q_BTNH, ctx, cache, layer, **how):
  """Attention of branches over their rows of the cache: queries are laid out row by row for it, and back."""
  k_GKHS, v_GKSH = cache.read(layer)
  spread = lambda x, fill: jnp.take(x.reshape(-1, *x.shape[2:]), ctx.branches_GT, axis=0, mode="fill", fill_value=fill)
  at_GT = spread(ctx.positions_BT, -1)
  out, lse = kernels.in_blocks(spread(q_BTNH, 0), k_GKHS, v_GKSH, at_GT, cache.positions_BS, **how)
  places = ctx.branches_GT.reshape(-1)
  back = lambda x, fill: (
    jnp.full((q_BTNH.shape[0] * q_BTNH.shape[1], *x.shape[2:]), fill, x.dtype)
    .at[places]
    .set(x.reshape(-1, *x.shape[2:]), mode="drop")
    .reshape(*q_BTNH.shape[:2], *x.shape[2:])
  )
  return back(out, 0), back(lse, kernels.NEG)


def _prefix_sees(ctx, window):
  """Causal inside segments, and both ways among the tokens of a segment's prefix."""
  segments_BT, prefix_BT = ctx.segments_BT, ctx.prefix_BT != 0
  index = jnp.arange(segments_BT.shape[1])[None]
  same = (segments_BT[:, :, None] == segments_BT[:, None, :]) & (segments_BT[:, None, :] != 0)
  within = same & prefix_BT[:, :, None] & prefix_BT[:, None, :]
  rows = mask.Rows(segments_BT)
  return mask.visible(rows, rows, index, index, window) | within
