"""Grouped-query self-attention over packed rows or over a cache."""

from flax import nnx
import jax
import jax.numpy as jnp

from itune_jax.nn import kernels
from itune_jax.nn import rope as rope_lib
from itune_jax.nn import site


class Attention(nnx.Module):
  """softmax(q kᵀ / √H) v with rotary positions (Vaswani et al. 2017; Ainslie et al. 2023 for groups).

  The tap `mix` sees (out, log-sum-exp) and the rotated queries: a learned prefix merges itself there.
  """

  def __init__(
    self, width: int, heads: int, kv_heads: int, head_dim: int, key, *, bias: bool = False, dtype=jnp.float32
  ):
    k_q, k_k, k_v, k_o = jax.random.split(key, 4)
    make = dict(bias=bias, dtype=dtype)
    D, N, K, H = width, heads, kv_heads, head_dim
    self.q = site.Proj("...D,DNH->...NH", (D, N, H), ("embed", "heads", "head_dim"), k_q, **make)
    self.k = site.Proj("...D,DKH->...KH", (D, K, H), ("embed", "kv_heads", "head_dim"), k_k, **make)
    self.v = site.Proj("...D,DKH->...KH", (D, K, H), ("embed", "kv_heads", "head_dim"), k_v, **make)
    self.o = site.Proj("...NH,NHD->...D", (N, H, D), ("heads", "head_dim", "embed"), k_o, **make)
    self.tap_q = site.Tap("attn_q", ("batch", "length", "act_heads", "head_dim"))
    self.tap_k = site.Tap("attn_k", ("batch", "length", "kv_heads", "head_dim"))
    self.tap_v = site.Tap("attn_v", ("batch", "length", "kv_heads", "head_dim"))
    self.mix = site.Tap("attn_mix")

  def __call__(self, x_BTD, ctx, tables, cache=None, layer=None):
    """Returns (y_BTD, cache). With a cache, T > 1 are prompts that start empty rows of it, T = 1 continues each row."""
    q = self.tap_q(rope_lib.rotate(self.q(x_BTD, ctx), tables), ctx)
    k = self.tap_k(rope_lib.rotate(self.k(x_BTD, ctx), tables), ctx)
    v = self.tap_v(self.v(x_BTD, ctx), ctx)
    if cache is not None:
      cache = cache.write(layer, k, v, ctx.positions_BT, ctx.segments_BT != 0, ctx.cache_rows_BT)
    if cache is None or x_BTD.shape[1] > 1:
      out, lse = kernels.packed(q, k, v, ctx.segments_BT, ctx)
    else:
      k_BKSH, v_BKSH = cache.read(layer)
      out, lse = kernels.cached(q, k_BKSH, v_BKSH, ctx.positions_BT, cache.positions_BS)
    out, _ = self.mix((out, lse), ctx, x=q)
    return self.o(out, ctx), cache
