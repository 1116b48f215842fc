"""LoReFT and DiReFT (Wu et al. 2024): hidden states of some positions are moved inside a subspace of low rank.

LoReFT: h ← h + Rᵀ (W h + b - R h) with orthonormal rows R; DiReFT: h ← h + Rᵀ (W h + b).
"""

import dataclasses

import jax
import jax.numpy as jnp

from itune_jax.core import check
from itune_jax.core import linalg
from itune_jax.core import numerics
from itune_jax.nn import rope
from itune_jax.nn import site
from itune_jax.peft import method as method_lib


class ReftAdapter(site.Adapter):
  """w [D, R], b [R] and the matrix [D, R] whose columns, made orthonormal, are R."""

  def __init__(self, spec: site.SiteSpec, key, method: "Reft"):
    (D,), (d,), R = spec.out_shape, spec.out_axes, method.rank
    k_basis, k_w = jax.random.split(key)
    basis = linalg.orthonormal(jax.random.normal(k_basis, (D, R)))
    self.basis = site.AdapterParam(basis, axes=(d, None))
    # LoReFT starts with W = R, which moves nothing; DiReFT with W = 0.
    w = jnp.zeros((D, R)) if method.direct else basis
    self.w, self.b = site.AdapterParam(w, axes=(d, None)), site.AdapterParam(jnp.zeros(R), axes=(None,))
    self.direct, self.first, self.last = method.direct, method.first, method.last
    self.sees_ends = method.last > 0

  def post(self, x, y, w, ctx):
    h = y.astype(jnp.float32)
    basis = self.basis[...] if self.direct else linalg.orthonormal(self.basis[...])
    target = site.contract(h, self.w[...], 1)
    target = target + numerics.align(self.b[...], target)
    if not self.direct:
      target = target - site.contract(h, basis, 1)
    moved = (h + site.contract(target, basis.T, 1)).astype(y.dtype)
    if not self.first and not self.last:
      return moved
    return jnp.where(self._chosen(ctx)[..., None], moved, y)

  def _chosen(self, ctx):
    """The first and the last positions of every prompt, [B, T]; none of what is generated."""
    positions_BT, segments_BT = ctx.positions_BT, ctx.segments_BT
    inside_BT = jnp.broadcast_to(jnp.bool_(positions_BT.shape[1] > 1), positions_BT.shape)
    inside_BT &= segments_BT != 0
    if ctx.prefix_BT is not None:
      inside_BT &= ctx.prefix_BT != 0
    length_BT = rope.lengths(jnp.where(inside_BT, positions_BT, -1), segments_BT)
    return inside_BT & ((positions_BT < self.first) | (positions_BT >= length_BT - self.last))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reft(method_lib.SiteMethod):
  """The method. direct: whether it is DiReFT. first, last: how many positions of a prompt are moved; all of everything
  when both are 0. A prompt is what stands before the first trained token.

  rank: of the subspace in which hidden states are moved.
  """

  rank: int = 8
  direct: bool = False
  first: int = 0
  last: int = 0
  sites: str = r"blocks/\d+/tap_out"
  name: str = "reft"
  kinds = ("tap",)

  def __post_init__(self):
    super().__post_init__()
    check.require(
      self.rank > 0 and self.first >= 0 and self.last >= 0,
      f"Reft(rank={self.rank}, first={self.first}, last={self.last}): rank > 0, and no negative counts",
    )

  def make(self, spec: site.SiteSpec, key) -> ReftAdapter:
    """The adapter of one layer, with which the model is unchanged at first."""
    check.require(
      len(spec.out_shape) == 1 and self.rank <= spec.out_shape[0],
      f"Reft.rank = {self.rank} does not fit {spec.name}, whose width is {spec.out_shape}",
    )
    return ReftAdapter(spec, key, self)
