"""Root-mean-square normalisation (Zhang & Sennrich 2019), in float32 whatever the compute dtype."""

from flax import nnx
import jax
import jax.numpy as jnp

from itune_jax.core import numerics


class RMSNorm(nnx.Module):
  """y = w · x / sqrt(mean(x²) + eps)."""

  def __init__(self, width: int, *, eps: float, dtype=jnp.float32):
    self.eps = eps
    self.scale = nnx.Param(jnp.ones((width,), dtype), axes=("embed",))

  def __call__(self, x_BTD):
    """Normalises the last axis; keeps the dtype."""
    x32 = x_BTD.astype(jnp.float32)
    x32 *= jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=-1, keepdims=True) + self.eps)
    return (numerics.align(self.scale[...].astype(jnp.float32), x32) * x32).astype(x_BTD.dtype)
