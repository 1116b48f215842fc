"""Adapters that change the kernel: one matmul with W' in place of two with W and ΔW.

They see W as one matrix [in, out] in float32, whatever the shape and the dtype of the site.
"""

import math

import jax
import jax.numpy as jnp

from itune_jax.nn import site


class WeightAdapter(site.Adapter):
  """W' = changed(W). A subclass defines `changed`; what it holds is of the adapter's own shape."""

  def __init__(self, spec: site.SiteSpec):
    self.shape = (*spec.in_shape, *spec.out_shape)
    self.fan_in, self.fan_out = math.prod(spec.in_shape), math.prod(spec.out_shape)

  def changed(self, w, bank):
    """The new kernel [in, out], float32, of the old one; `bank` holds what all layers share."""
    raise NotImplementedError

  def weight(self, w, ctx):
    return site.Weight(lambda: self.merge(w.value, ctx.bank).astype(w.value.dtype), w.shape)

  def merge(self, w, bank):
    return self.changed(w.astype(jnp.float32).reshape(self.fan_in, self.fan_out), bank).reshape(self.shape)


def uniform(key, shape, fan_in: int):
  """Uniform values as torch's kaiming_uniform with a = √5 draws them: within ±1/√fan_in."""
  bound = fan_in**-0.5
  return jax.random.uniform(key, shape, jnp.float32, -bound, bound)
