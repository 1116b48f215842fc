"""Bottleneck adapters: two small layers behind a block (Houlsby et al. 2019; Pfeiffer et al. 2021) or beside it (He et
al. 2022), f(h) = s · W_up φ(W_down h + b) + b'.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from itune_jax.core import check
from itune_jax.core import numerics
from itune_jax.core import ranges
from itune_jax.nn import mlp
from itune_jax.nn import site
from itune_jax.peft import method as method_lib

HOULSBY = r"blocks/\d+/(attn_out|mlp_out)"
PFEIFFER = r"blocks/\d+/mlp_out"


class BottleneckAdapter(site.Adapter):
  """down [D, R] with its bias, up [R, D] (zero at first) with its own."""

  def __init__(self, spec: site.SiteSpec, key, method: "Bottleneck"):
    (D,), (d,), R = spec.out_shape, spec.out_axes, method.width
    draw = jax.random.truncated_normal(key, -2, 2, (D, R)) * D**-0.5
    self.down, self.down_bias = site.AdapterParam(draw, axes=(d, None)), site.AdapterParam(jnp.zeros(R), axes=(None,))
    self.up, self.up_bias = (
      site.AdapterParam(jnp.zeros((R, D)), axes=(None, d)),
      site.AdapterParam(jnp.zeros(D), axes=(d,)),
    )
    self.scale = site.AdapterParam(jnp.float32(method.scale), axes=(), trainable=False)
    self.activation, self.beside = method.activation, method.placement == "parallel"

  def post(self, x, y, w, ctx):
    """Of a block's output y and its input x."""
    h = x if self.beside else y
    read = lambda parameter: parameter[...].astype(h.dtype)
    u = site.contract(h, read(self.down), 1)
    u = mlp.ACTIVATIONS[self.activation](u + numerics.align(read(self.down_bias), u))
    z = site.contract(u, read(self.up), 1)
    return y + read(self.scale) * (z + numerics.align(read(self.up_bias), z))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bottleneck(method_lib.SiteMethod):
  """The method. placement: "sequential" reads a block's output, "parallel" its input. peft has no such method.

  width: of the layer between the two matrices. activation: between them. scale: factor of what is added.
  """

  width: int = 64
  placement: Literal["sequential", "parallel"] = "sequential"
  activation: mlp.Activation = "gelu"
  scale: ranges.PositiveFloat = 1.0
  sites: str = HOULSBY
  name: str = "bottleneck"
  kinds = ("tap",)

  def __post_init__(self):
    super().__post_init__()
    check.require(self.width > 0, f"Bottleneck.width must be positive, not {self.width}")

  def make(self, spec: site.SiteSpec, key) -> BottleneckAdapter:
    """The adapter of one layer; up is zero, so the model is unchanged at first."""
    check.require(len(spec.out_shape) == 1, f"Bottleneck takes sites with one width; {spec.name} has {spec.out_shape}")
    return BottleneckAdapter(spec, key, self)
