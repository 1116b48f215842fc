"""Relative position bias by logarithmic buckets (Raffel et al. 2020), and the attention that T5 builds on it."""

import math

from flax import nnx
import jax
import jax.numpy as jnp

from itune_jax.nn.attention import kernels
from itune_jax.nn import site


def bucket(distance, *, both_ways: bool, buckets: int, longest: int):
  """The bucket of key position minus query position: exact up to a half (a quarter both ways), then logarithmic."""
  found = jnp.zeros_like(distance)
  if both_ways:
    buckets //= 2
    found += (distance > 0) * buckets
    distance = jnp.abs(distance)
  else:
    distance = jnp.maximum(-distance, 0)
  exact = buckets // 2
  ratio = jnp.log(jnp.maximum(distance, 1).astype(jnp.float32) / exact) / math.log(longest / exact)
  far = jnp.minimum(exact + (ratio * (buckets - exact)).astype(jnp.int32), buckets - 1)
  return found + jnp.where(distance < exact, distance, far)


class RelativeBias(nnx.Module):
  """A bias for every head and bucket, shared by all layers of a stack."""

  def __init__(self, buckets: int, longest: int, heads: int, both_ways: bool, key, *, dtype=jnp.float32):
    self.buckets, self.longest, self.both_ways = buckets, longest, both_ways
    self.table = site.Embed(buckets, heads, key, dtype=dtype)

  def __call__(self, q_positions_BT, k_positions_BS, ctx):
    """Bias [B, N, T, S], float32."""
    distance_BTS = k_positions_BS[:, None, :] - q_positions_BT[:, :, None]
    at_BTS = bucket(distance_BTS, both_ways=self.both_ways, buckets=self.buckets, longest=self.longest)
    return self.table(at_BTS, ctx.replace(noise_BT=None)).astype(jnp.float32).transpose(0, 3, 1, 2)


class Attention(nnx.Module):
  """softmax(q kᵀ + bias) v without a scale, over the row itself or over another sequence."""

  def __init__(self, width: int, heads: int, head_dim: int, key, *, dtype=jnp.float32):
    k_q, k_k, k_v, k_o = jax.random.split(key, 4)
    D, N, H = width, heads, head_dim
    axes = ("embed", "heads", "head_dim")
    self.q = site.Proj("...D,DNH->...NH", (D, N, H), axes, k_q, dtype=dtype)
    self.k = site.Proj("...D,DNH->...NH", (D, N, H), axes, k_k, dtype=dtype)
    self.v = site.Proj("...D,DNH->...NH", (D, N, H), axes, k_v, dtype=dtype)
    self.o = site.Proj("...NH,NHD->...D", (N, H, D), ("heads", "head_dim", "embed"), k_o, dtype=dtype)

  def __call__(self, x_BTD, source_BSD, ctx, seen_BTS, bias_BNTS=None):
    """Attends from x to source (which may be x). Returns (y_BTD, (k, v)) so that a caller can cache them."""
    k, v = self.k(source_BSD, ctx), self.v(source_BSD, ctx)
    out, _ = kernels.dense(self.q(x_BTD, ctx), k, v, seen_BTS, scale=1.0, bias_BNTS=bias_BNTS)
    return self.o(out, ctx), (k, v)

  def cached(self, x_BTD, ctx, cache, layer, q_positions_BT, bias_BNTS=None):
    """One new token a row over a cache that already holds its key and value."""
    k_BKHS, v_BKSH = cache.read(layer)
    out, _ = kernels.cached(
      self.q(x_BTD, ctx), k_BKHS, v_BKSH, q_positions_BT, cache.positions_BS, scale=1.0, bias_BNTS=bias_BNTS
    )
    return self.o(out, ctx)
