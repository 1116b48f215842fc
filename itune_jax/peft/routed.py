"""A mixture of LoRAs at every site, mixed token by token: y = W x + s · Σ_k g_k(x) B_k A_k x.

g is the softmax of a linear router, over all K (X-LoRA-style, Buehler & Buehler 2024, but from the site's own input, so
in one pass) or over the best few, summing to one (MixLoRA's and Mixtral's rule). A token's gates see that token only:
nothing leaks from later ones or other rows.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

from itune_jax.core import check
from itune_jax.nn import site
from itune_jax.peft import ranks
from itune_jax.peft import weight

_SPREAD = 0.02  # of the router at first, as MixLoRA's: experts must differ for any to be chosen


class RoutedAdapter(site.Adapter):
  """Factors a [*in, K·R] and b [K·R, *out], expert by expert, and a router [*in, K]."""

  def __init__(self, spec: site.SiteSpec, key, method: "Routed"):
    K, R, fan_in = method.experts, method.rank, math.prod(spec.in_shape)
    k_a, k_router = jax.random.split(key)
    a = weight.uniform(k_a, (*spec.in_shape, K * R), fan_in)
    self.a = site.AdapterParam(a, axes=(*spec.in_axes, None))
    self.b = site.AdapterParam(jnp.zeros((K * R, *spec.out_shape)), axes=(None, *spec.out_axes))
    router = _SPREAD * jax.random.normal(k_router, (*spec.in_shape, K))
    self.router = site.AdapterParam(router, axes=(*spec.in_axes, None))
    self.scale = site.AdapterParam(jnp.float32(method.alpha / R), axes=(), trainable=False)
    self.top, self.num_in = method.top, len(spec.in_shape)

  def post(self, x, y, w, ctx):
    gates = self._gates(x)
    u = site.contract(x, self.a[...].astype(x.dtype), self.num_in)
    u = u.reshape(*gates.shape, -1) * (gates * self.scale[...]).astype(x.dtype)[..., None]
    return y + site.contract(u.reshape(*gates.shape[:-1], -1), self.b[...].astype(x.dtype), 1)

  def _gates(self, x):
    """[..., K] in float32."""
    logits = site.contract(x.astype(jnp.float32), self.router[...].astype(jnp.float32), self.num_in)
    if self.top:
      least = jax.lax.top_k(logits, self.top)[0][..., -1:]
      logits = jnp.where(logits >= least, logits, -jnp.inf)
    return jax.nn.softmax(logits, axis=-1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Routed:
  """The method: `experts` LoRAs of rank `rank`; top: how many of them a token takes, 0 for all."""

  experts: int = 4
  rank: int = 8
  alpha: float = 16.0
  top: int = 2
  sites: str = ranks.PROJECTIONS
  name: str = "routed"

  def __post_init__(self):
    check.check_types(self)
    check.require(self.experts > 1 and self.rank > 0, f"Routed(experts={self.experts}, rank={self.rank}): > 1 and > 0")
    check.require(
      self.top == 0 or 2 <= self.top <= self.experts,
      f"Routed.top = {self.top}: 0 for all, or 2 to {self.experts} (the gate of one alone is 1, and would not learn)",
    )

  def make(self, spec: site.SiteSpec, key, w=None) -> RoutedAdapter:
    """The adapter of one layer; every B is zero, so the model is unchanged at first."""
    return RoutedAdapter(spec, key, self)
