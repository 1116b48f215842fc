"""MoRA (Jiang et al. 2024), type 6: one square matrix M, inputs cut into pieces that are rotated by their place.

y = W x + decompress(M · compress(x)): x is cut into pieces of M's width, piece i is turned by the rotary angle of
place i, M acts on each, and the outputs are laid side by side, cut or repeated to the number of outputs.
"""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np

from itune_jax.core import check
from itune_jax.core import numerics
from itune_jax.nn import site
from itune_jax.peft import ranks
from itune_jax.peft import method as method_lib


def side(fan_in: int, fan_out: int, rank: int) -> int:
  """The width of M that has as many values as a LoRA of this rank: √((in + out) r), even, so that pairs turn."""
  width = round(math.sqrt((fan_in + fan_out) * rank))
  return width - width % 2


class MoraAdapter(site.Adapter):
  """One matrix m [r̂, r̂]."""

  def __init__(self, spec: site.SiteSpec, width: int):
    self.num_in, self.out_shape = len(spec.in_shape), spec.out_shape
    self.fan_in, self.fan_out = math.prod(spec.in_shape), math.prod(spec.out_shape)
    self.m = site.AdapterParam(jnp.zeros((width, width)), axes=(None, None))

  def post(self, x, y, w, ctx):
    lead = x.shape[: x.ndim - self.num_in]
    return y + self._added(x.reshape(*lead, self.fan_in)).reshape(*lead, *self.out_shape)

  def merge(self, w, bank):
    return w + self._added(jnp.eye(self.fan_in)).reshape(w.shape)

  def _added(self, x):
    width = self.m.shape[0]
    pieces = -(-self.fan_in // width)
    lead = x.shape[:-1]
    short = pieces * width - self.fan_in  # the last piece is filled up with the first inputs
    x = jnp.concatenate([x, x[..., :short]], axis=-1).reshape(*lead, pieces, width)
    angle = np.arange(pieces)[:, None] * 10000.0 ** -(np.arange(0, width, 2) / width)
    cos, sin = (np.concatenate([f(angle)] * 2, axis=-1).astype(np.float32) for f in (np.cos, np.sin))
    half = jnp.concatenate([-x[..., width // 2 :], x[..., : width // 2]], axis=-1)
    x = x * numerics.align(jnp.asarray(cos, x.dtype), x) + half * numerics.align(jnp.asarray(sin, x.dtype), x)
    out = (x @ self.m[...].astype(x.dtype)).reshape(*lead, pieces * width)
    repeats = -(-self.fan_out // out.shape[-1])
    return jnp.concatenate([out] * repeats, axis=-1)[..., : self.fan_out]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mora(method_lib.SiteMethod):
  """The method, with as many values as a LoRA of this rank. peft has no such method.

  rank: of the LoRA that has as many values.
  """

  rank: int = 8
  sites: str = ranks.PROJECTIONS
  name: str = "mora"

  def __post_init__(self):
    super().__post_init__()
    check.require(self.rank > 0, f"Mora.rank must be positive, not {self.rank}")

  def make(self, spec: site.SiteSpec, key) -> MoraAdapter:
    """The adapter of one layer; m is zero, so the model is unchanged at first."""
    fan_in, fan_out = math.prod(spec.in_shape), math.prod(spec.out_shape)
    width = side(fan_in, fan_out, self.rank)
    check.require(
      width <= fan_in, f"Mora.rank = {self.rank} means a matrix of {width}; {spec.name} has {fan_in} inputs"
    )
    return MoraAdapter(spec, width)
