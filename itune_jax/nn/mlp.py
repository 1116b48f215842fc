"""The gated feed-forward block SwiGLU (Shazeer 2020)."""

from flax import nnx
import jax
import jax.numpy as jnp

from itune_jax.nn import site


class SwiGlu(nnx.Module):
  """down(silu(gate(x)) · up(x))."""

  def __init__(self, width: int, mlp: int, key, *, bias: bool = False, dtype=jnp.float32):
    k_gate, k_up, k_down = jax.random.split(key, 3)
    make = dict(bias=bias, dtype=dtype)
    self.gate = site.Proj("...D,DF->...F", (width, mlp), ("embed", "mlp"), k_gate, **make)
    self.up = site.Proj("...D,DF->...F", (width, mlp), ("embed", "mlp"), k_up, **make)
    self.down = site.Proj("...F,FD->...D", (mlp, width), ("mlp", "embed"), k_down, **make)
    self.tap_gate = site.Tap("mlp_gate", ("batch", "length", "act_mlp"))
    self.tap_up = site.Tap("mlp_up", ("batch", "length", "act_mlp"))

  def __call__(self, x_BTD, ctx):
    """Applies the block; [B, T, D] in and out."""
    gate = self.tap_gate(self.gate(x_BTD, ctx), ctx)
    return self.down(jax.nn.silu(gate) * self.tap_up(self.up(x_BTD, ctx), ctx), ctx)
