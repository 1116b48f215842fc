"""Normalisations, in float32 whatever the compute dtype."""

from typing import Literal

from flax import nnx
import jax
import jax.numpy as jnp

from itune_jax.core import numerics

Kind = Literal["rms", "rms_offset", "layer"]


class RMSNorm(nnx.Module):
  """y = w · x / sqrt(mean(x²) + eps) (Zhang & Sennrich 2019); with `offset` the factor is 1 + w (Gemma)."""

  def __init__(self, width: int, *, eps: float, offset: bool = False, axis: str = "embed", dtype=jnp.float32):
    self.eps, self.offset = eps, offset
    self.scale = nnx.Param((jnp.zeros if offset else jnp.ones)((width,), dtype), axes=(axis,))

  def __call__(self, x):
    """Normalises the last axis; keeps the dtype."""
    x32 = numerics.optimization_barrier(x).astype(jnp.float32)
    x32 = numerics.scale_rows(x32, jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=-1) + self.eps))
    scale = numerics.align(self.scale[...].astype(jnp.float32), x32)
    return ((scale + 1 if self.offset else scale) * x32).astype(x.dtype)


class LayerNorm(nnx.Module):
  """y = w · (x - mean) / sqrt(var + eps) + b (Ba et al. 2016)."""

  def __init__(self, width: int, *, eps: float, dtype=jnp.float32):
    self.eps = eps
    self.scale = nnx.Param(jnp.ones((width,), dtype), axes=("embed",))
    self.bias = nnx.Param(jnp.zeros((width,), dtype), axes=("embed",))

  def __call__(self, x):
    """Normalises the last axis; keeps the dtype."""
    x32 = x.astype(jnp.float32)
    x32 -= jnp.mean(x32, axis=-1, keepdims=True)
    x32 = numerics.scale_rows(x32, jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=-1) + self.eps))
    weight, bias = (numerics.align(p[...].astype(jnp.float32), x32) for p in (self.scale, self.bias))
    return (weight * x32 + bias).astype(x.dtype)


def make(kind: Kind, width: int, *, eps: float, dtype=jnp.float32):
  """The norm of a kind over the embedding axis."""
  if kind == "layer":
    return LayerNorm(width, eps=eps, dtype=dtype)
  return RMSNorm(width, eps=eps, offset=kind == "rms_offset", dtype=dtype)
