"""Feed-forward blocks: gated (Shazeer 2020), gated with one fused projection, or plain."""

from collections.abc import Callable
import functools
from typing import Any, Literal

from flax import nnx
import jax
import jax.numpy as jnp

from itune_jax.core import numerics
from itune_jax.nn import site
from itune_jax.nn import taps

Activation = Literal["silu", "gelu", "gelu_tanh", "relu", "quick_gelu"]
Layout = Literal["gated", "gated_fused", "plain"]

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
  "silu": jax.nn.silu,
  "gelu": lambda x: jax.nn.gelu(x, approximate=False),
  "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
  "relu": jax.nn.relu,
  "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
}


class Gated(nnx.Module):
  """down(act(gate(x)) · up(x))."""

  def __init__(
    self, width: int, mlp: int, key, *, activation: Activation = "silu", bias: bool = False, dtype=jnp.float32
  ):
    self.activation = activation
    k_gate, k_up, k_down = jax.random.split(key, 3)
    make = dict(bias=bias, dtype=dtype)
    self.gate = site.Proj("...D,DF->...F", (width, mlp), ("embed", "mlp"), k_gate, **make)
    self.up = site.Proj("...D,DF->...F", (width, mlp), ("embed", "mlp"), k_up, **make)
    self.down = site.Proj("...F,FD->...D", (mlp, width), ("mlp", "embed"), k_down, **make)
    self.tap_gate = site.Tap("mlp_gate", ("batch", "length", "act_mlp"))
    self.tap_up = site.Tap("mlp_up", ("batch", "length", "act_mlp"))
    self.mix = site.Tap("mlp_mix", width={"embed": width, "mlp": mlp})

  def __call__(self, x_BTD, ctx):
    """Applies the block; [B, T, D] in and out."""
    gate_BTF = self.tap_gate(self.gate(x_BTD, ctx), ctx)
    up_BTF = self.tap_up(self.up(x_BTD, ctx), ctx)
    return _finish(self, x_BTD, gate_BTF, up_BTF, ctx)


class GatedFused(nnx.Module):
  """As `Gated`, where one projection gives gate and up (Phi-3's layout), and so is one site."""

  def __init__(
    self, width: int, mlp: int, key, *, activation: Activation = "silu", bias: bool = False, dtype=jnp.float32
  ):
    self.activation = activation
    k_in, k_down = jax.random.split(key)
    axes = ("embed", None, "mlp")
    self.gate_up = site.Proj("...D,DCF->...CF", (width, 2, mlp), axes, k_in, bias=bias, dtype=dtype)
    self.down = site.Proj("...F,FD->...D", (mlp, width), ("mlp", "embed"), k_down, bias=bias, dtype=dtype)
    self.tap = site.Tap("mlp_gate", ("batch", "length", None, "act_mlp"))
    self.mix = site.Tap("mlp_mix", width={"embed": width, "mlp": mlp})

  def __call__(self, x_BTD, ctx):
    """Applies the block; [B, T, D] in and out."""
    both = self.tap(self.gate_up(x_BTD, ctx), ctx)
    return _finish(self, x_BTD, both[..., 0, :], both[..., 1, :], ctx)


def _finish(block, x_BTD, gate_BTF, up_BTF, ctx):
  """down(act(gate) · up). The tap `mix` sees it all before the last projection: an adapter may put another input of it
  in, and something beside its output."""
  activation = ACTIVATIONS[block.activation]
  before = taps.DownInput(_gated(activation, gate_BTF, up_BTF), None)
  h_BTF, beside_BTD = block.mix(before, ctx, x=taps.GateAndUp(x_BTD, gate_BTF, up_BTF, activation))
  y_BTD = block.down(h_BTF, ctx)
  return y_BTD if beside_BTD is None else y_BTD + beside_BTD


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _gated(activation, gate, up):
  """act(gate) · up, of one shape and dtype. Backwards the activation is made for each gradient by itself: on CPU a loop
  that reads three arrays and makes it is shorter than one that reads it too, and it is not written down."""
  return activation(gate) * up


def _gated_backward(activation, saved, d_y):
  gate, up = saved
  d_up = activation(numerics.optimization_barrier(gate)) * d_y
  d_gate = jax.vjp(activation, gate)[1](up * d_y)[0]
  return d_gate, d_up


_gated.defvjp(lambda activation, gate, up: (_gated(activation, gate, up), (gate, up)), _gated_backward)


class Plain(nnx.Module):
  """down(act(up(x)))."""

  def __init__(
    self, width: int, mlp: int, key, *, activation: Activation = "gelu", bias: bool = True, dtype=jnp.float32
  ):
    self.activation = activation
    k_up, k_down = jax.random.split(key)
    self.up = site.Proj("...D,DF->...F", (width, mlp), ("embed", "mlp"), k_up, bias=bias, dtype=dtype)
    self.down = site.Proj("...F,FD->...D", (mlp, width), ("mlp", "embed"), k_down, bias=bias, dtype=dtype)
    self.tap_up = site.Tap("mlp_up", ("batch", "length", "act_mlp"))

  def __call__(self, x_BTD, ctx):
    """Applies the block; [B, T, D] in and out."""
    return self.down(ACTIVATIONS[self.activation](self.tap_up(self.up(x_BTD, ctx), ctx)), ctx)


LAYOUTS: dict[str, Any] = {"gated": Gated, "gated_fused": GatedFused, "plain": Plain}
