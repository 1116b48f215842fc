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
from itune_jax.core import ranges
from itune_jax.nn import moe
from itune_jax.nn import site
from itune_jax.peft import ranks
from itune_jax.peft import weight
from itune_jax.peft import method as method_lib

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
    logits = site.contract(x.astype(jnp.float32), self.router[...].astype(jnp.float32), self.num_in)
    gates = route(logits, self.top, ctx)
    u = site.contract(x, self.a[...].astype(x.dtype), self.num_in)
    u = u.reshape(*gates.shape, -1) * (gates * self.scale[...]).astype(x.dtype)[..., None]
    return y + site.contract(u.reshape(*gates.shape[:-1], -1), self.b[...].astype(x.dtype), 1)


def route(logits_BTE, top: int, ctx):
  """Gates [B, T, E] that sum to one, of all or of the `top` best; the balance of experts is added to `ctx.aux`.

  Not from inside the experts of a model, where tokens have no rows.
  """
  E = logits_BTE.shape[-1]
  _, chosen_BTk = jax.lax.top_k(logits_BTE, top or E)
  if ctx.aux is not None and logits_BTE.shape[:-1] == ctx.segments_BT.shape:
    sums = moe.balance(jax.nn.softmax(logits_BTE, axis=-1), chosen_BTk, ctx)
    # Under names of their own: a model may have experts itself, and methods may differ in number.
    ctx.add_aux({name.replace("router", f"routed{E}"): value for name, value in sums.items()})
  if top:
    taken = jnp.sum(jax.nn.one_hot(chosen_BTk, E), axis=-2) > 0
    logits_BTE = jnp.where(taken, logits_BTE, -jnp.inf)
  return jax.nn.softmax(logits_BTE, axis=-1)


def check_experts(method) -> None:
  """Raises InputError unless a method's `experts`, `rank` and `top` can be."""
  name, most = type(method).__name__, method.experts
  check.require(most > 1 and method.rank > 0, f"{name}(experts={most}, rank={method.rank}): > 1 and > 0")
  check.require(
    method.top == 0 or 2 <= method.top <= most,
    f"{name}.top = {method.top}: 0 for all, or 2 to {most} (the gate of one alone is 1, and would not learn)",
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Routed(method_lib.SiteMethod):
  """The method: `experts` LoRAs of rank `rank`; top: how many of them a token takes, 0 for all.

  experts: LoRAs of every site. rank: of each. alpha: what is added is scaled by alpha / rank.
  """

  experts: int = 4
  rank: int = 8
  alpha: ranges.PositiveFloat = 16.0
  top: ranges.NonNegativeInt = 2
  sites: str = ranks.PROJECTIONS
  name: str = "routed"

  def __post_init__(self):
    super().__post_init__()
    check_experts(self)

  def make(self, spec: site.SiteSpec, key) -> RoutedAdapter:
    """The adapter of one layer; every B is zero, so the model is unchanged at first."""
    return RoutedAdapter(spec, key, self)
