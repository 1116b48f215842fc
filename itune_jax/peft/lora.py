"""LoRA (Hu et al. 2021): y = W x + s · B A dropout(x), with s = α/r, or α/√r (rsLoRA, Kalajdzievski 2023).

DoRA (Liu et al. 2024) gives every output a length of its own: W' = m · V/‖V‖ with V = W + s · B A.
"""

import dataclasses
import math
import re
from typing import Any

import jax
from jax import ad_checkpoint
import jax.numpy as jnp
import numpy as np

from itune_jax.core import check
from itune_jax.core import numerics
from itune_jax.core import rng
from itune_jax.nn import site

PROJECTIONS = r"(blocks|encoder|decoder)/\d+/((attn|cross)/(q|k|v|o|qkv)|mlp/(gate|up|down|gate_up))"


class LoraAdapter(site.Adapter):
  """Low-rank factors a [*in, R] and b [R, *out].

  `scale` and `rank_mask_R` are arrays: layers of one stack differ in them, and swapping adapters of another
  scale or rank compiles nothing. Columns outside the mask give nothing and get no gradient.
  """

  def __init__(self, spec: site.SiteSpec, key, *, rank: int, scale, rank_mask, dropout: float, name: str):
    fan_in = math.prod(spec.in_shape)
    bound = fan_in**-0.5  # kaiming_uniform(a=√5), as peft draws it
    self.a = site.AdapterParam(
      jax.random.uniform(key, (*spec.in_shape, rank), jnp.float32, -bound, bound), axes=(*spec.in_axes, "rank")
    )
    self.b = site.AdapterParam(jnp.zeros((rank, *spec.out_shape)), axes=("rank", *spec.out_axes))
    self.scale = site.AdapterParam(jnp.asarray(scale, jnp.float32), axes=(), trainable=False)
    self.rank_mask = site.AdapterParam(jnp.asarray(rank_mask, jnp.float32), axes=("rank",), trainable=False)
    self.dropout = site.AdapterParam(jnp.float32(dropout), axes=(), trainable=False)
    self.has_dropout, self.num_in, self.stream = dropout > 0, len(spec.in_shape), f"{spec.name}/{name}"

  def post(self, x, y, w, ctx):
    return y + self._added(self._dropped(x, ctx))

  def merge(self, w):
    return w + site.contract(self._scaled_a(), self.b[...].astype(jnp.float32), 1)

  def _dropped(self, x, ctx):
    if not self.has_dropout or ctx.key is None:
      return x
    keep = 1.0 - self.dropout[...]
    mask = jax.random.bernoulli(rng.named(ctx.key, self.stream), keep, x.shape)
    return jnp.where(mask, x / keep.astype(x.dtype), 0)

  def _added(self, x):
    """s · B A x."""
    u = site.contract(x, self.a[...].astype(x.dtype), self.num_in)
    u *= numerics.align((self.scale[...] * self.rank_mask[...]).astype(x.dtype), u)
    return site.contract(u, self.b[...].astype(x.dtype), 1)

  def _scaled_a(self):
    """s · A [*in, R], float32."""
    a = self.a[...].astype(jnp.float32)
    return a * numerics.align(self.scale[...] * self.rank_mask[...], a)


class DoraAdapter(LoraAdapter):
  """`LoraAdapter` with a magnitude m [*out] and the squared lengths of W's outputs, which do not change.

  ‖V‖ is no path of the gradient, as in the paper, and is made of factors, so that nothing of W's size is:

      ‖V‖² = ‖W‖² + 2 Σ_R b ∘ (aᵀ W) + Σ_R b ∘ (aᵀ a b)        with a scaled by s

  Dropped inputs are those of W as well as of A: y + (m/‖V‖ - 1) W dropout(x) + m/‖V‖ · s B A dropout(x).
  """

  def __init__(self, spec: site.SiteSpec, key, *, w, **given):
    super().__init__(spec, key, **given)
    squares = jnp.sum(jnp.square(w.astype(jnp.float32)), axis=tuple(range(len(spec.in_shape))))
    self.magnitude = site.AdapterParam(jnp.sqrt(squares), axes=spec.out_axes)
    self.squares = site.AdapterParam(squares, axes=spec.out_axes, trainable=False)

  def post(self, x, y, w, ctx):
    dropped, ratio = self._dropped(x, ctx), self._ratio(w.value).astype(y.dtype)
    if dropped is x:
      return _times(y + self._added(x), ratio)
    plain = site.contract(dropped, w.value, self.num_in)
    return y - plain + _times(plain + self._added(dropped), ratio)

  def merge(self, w):
    v = super().merge(w)
    return v * numerics.align(self._ratio(w), v)

  def _ratio(self, w):
    """m/‖V‖ [*out], float32; 1 in a layer without rank."""
    shape, R = self.squares.shape, self.rank_mask.shape[0]
    a = jax.lax.stop_gradient(self._scaled_a()).reshape(-1, R)
    b = jax.lax.stop_gradient(self.b[...].astype(jnp.float32)).reshape(R, -1)
    w = jax.lax.stop_gradient(w).reshape(a.shape[0], -1)
    along_w = jnp.dot(a.T.astype(w.dtype), w, preferred_element_type=jnp.float32)
    squares = self.squares[...].reshape(-1) + jnp.sum(b * (2 * along_w + a.T @ a @ b), axis=0)
    ratio = self.magnitude[...].astype(jnp.float32) / jnp.sqrt(squares).reshape(shape)
    return jnp.where(jnp.max(self.rank_mask[...]) > 0, ratio, 1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lora:
  """The method. `rank_pattern` and `alpha_pattern` map regexes over expanded site names to values (first match)."""

  rank: int = 8
  alpha: float = 16.0
  sites: str = PROJECTIONS
  rslora: bool = False
  dora: bool = False
  dropout: float = 0.0
  rank_pattern: dict[str, int] = dataclasses.field(default_factory=dict)
  alpha_pattern: dict[str, float] = dataclasses.field(default_factory=dict)
  name: str = "lora"

  def __post_init__(self):
    check.check_types(self)
    check.require(self.rank > 0, f"Lora.rank = {self.rank}; it must be positive")
    check.require(0 <= self.dropout < 1, f"Lora.dropout = {self.dropout}; it is a share in [0, 1)")
    check.require(all(r > 0 for r in self.rank_pattern.values()), "Lora.rank_pattern: ranks must be positive")

  @property
  def needs_weight(self) -> bool:
    """DoRA starts from the lengths of the base's outputs."""
    return self.dora

  def rank_of(self, site_name: str) -> int:
    """The rank at one expanded site name."""
    return _first(self.rank_pattern, site_name, self.rank)

  def scale_of(self, site_name: str) -> float:
    """α/r or α/√r at one expanded site name."""
    rank, alpha = self.rank_of(site_name), _first(self.alpha_pattern, site_name, self.alpha)
    return alpha / math.sqrt(rank) if self.rslora else alpha / rank

  def layer_values(self, spec: site.SiteSpec, matched: np.ndarray) -> dict[str, np.ndarray]:
    """Scale [L] and rank mask [L, R] of a site; a layer that is not matched has rank 0."""
    ranks = [self.rank_of(name) if on else 0 for name, on in zip(spec.layers, matched, strict=True)]
    limit = min(math.prod(spec.in_shape), math.prod(spec.out_shape))
    check.require(
      max(ranks) <= limit, f"Lora rank {max(ranks)} at {spec.name} is larger than the matrix (at most {limit})"
    )
    mask = np.arange(max(ranks)) < np.array(ranks)[:, None]
    return {
      "scale": np.array([self.scale_of(name) for name in spec.layers], np.float32),
      "rank_mask": mask.astype(np.float32),
    }

  def make(self, spec: site.SiteSpec, key, *, scale, rank_mask, w=None) -> LoraAdapter:
    """The adapter of one layer: A uniform, B zero, so the model is unchanged at first."""
    given: dict[str, Any] = dict(
      rank=rank_mask.shape[-1], scale=scale, rank_mask=rank_mask, dropout=self.dropout, name=self.name
    )
    return DoraAdapter(spec, key, w=w, **given) if self.dora else LoraAdapter(spec, key, **given)


@jax.custom_vjp
def _times(z, ratio):
  """z · ratio over the last axes. What ratio's gradient needs is read off the result, so z is never made again.

  A ratio of exactly zero gets no gradient.
  """
  return z * numerics.align(ratio, z)


def _times_forward(z, ratio):
  out = ad_checkpoint.checkpoint_name(_times(z, ratio), "adapter_out")
  return out, (out, ratio)


def _times_backward(saved, d_out):
  out, ratio = saved
  rows = (d_out.astype(jnp.float32) * out.astype(jnp.float32)).reshape(-1, ratio.size)
  # A sum over rows as a matmul: on CPU a reduction along columns is slow.
  total = (jnp.ones((1, rows.shape[0])) @ rows).reshape(ratio.shape)
  d_ratio = jnp.where(ratio == 0, 0, total / ratio.astype(jnp.float32))
  return d_out * numerics.align(ratio, d_out), d_ratio.astype(ratio.dtype)


_times.defvjp(_times_forward, _times_backward)


def _first(patterns, name, default):
  return next((value for pattern, value in patterns.items() if re.fullmatch(pattern, name)), default)
