"""BOFT (Liu et al. 2024): a product of block rotations, each over another (butterfly) grouping of the inputs.

y = s ∘ W (x R), with R = R_m … R_1 and R_i = P_i diag(blocks) P_iᵀ. Applied to W factor by factor: the [in, in] matrix,
which peft multiplies out at every step, never exists, and tokens meet one kernel.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Any, Self

import jax.numpy as jnp
import numpy as np

from itune_jax.core import check
from itune_jax.nn import site
from itune_jax.peft.folders import codec
from itune_jax.peft.methods import oft
from itune_jax.peft import ranks
from itune_jax.peft import weight
from itune_jax.peft import method as method_lib


def butterfly(width: int, blocks: int, half: int) -> np.ndarray:
  """A permutation of `width` inputs that brings pairs of half-blocks together which are `width / blocks` apart."""
  group = width // blocks
  steps = group // half
  order = np.concatenate([np.arange(0, steps, 2), np.arange(1, steps, 2)])
  within = (order[:, None] * half + np.arange(half)).reshape(-1)
  return (np.arange(blocks)[:, None] * group + within).reshape(-1)


class BoftAdapter(weight.WeightAdapter):
  """Matrices r [factors, blocks, size, size], whose skew-symmetric part is Q, and a scale s [*out]."""

  def __init__(self, spec: site.SiteSpec, size: int, factors: int):
    super().__init__(spec)
    self.size = size
    self.r = site.AdapterParam(jnp.zeros((factors, self.fan_in // size, size, size)), axes=(None,) * 4)
    self.scale = site.AdapterParam(jnp.ones(spec.out_shape), axes=spec.out_axes)

  def changed(self, w, bank):
    r = self.r[...].astype(jnp.float32)
    factors, blocks, size, _ = r.shape
    turns = oft.cayley(((r - jnp.swapaxes(r, 2, 3)) / 2).reshape(-1, size, size)).reshape(r.shape)
    for i in range(factors):
      # P Λ Pᵀ of the rows, where (P v)_j = v_{p(j)}; with one factor nothing is moved.
      order = butterfly(self.fan_in, blocks // 2**i, size // 2) if factors > 1 else None
      rows = w if order is None else w[np.argsort(order)]
      w = jnp.einsum("nbc,nco->nbo", turns[i], rows.reshape(blocks, size, -1)).reshape(w.shape)
      w = w if order is None else w[order]
    return w * self.scale[...].reshape(1, -1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Boft(method_lib.SiteMethod, codec.ModuleCodec):
  """The method: `factors` rotations of blocks of `block_size`.

  block_size: width of a rotated block. factors: how many butterfly factors follow each other.
  """

  block_size: int = 4
  factors: int = 1
  sites: str = ranks.PROJECTIONS
  name: str = "boft"
  peft_type = "BOFT"
  peft_names = ("boft_R", "boft_s")

  def __post_init__(self):
    super().__post_init__()
    check.require(
      self.block_size > 1 and self.factors > 0,
      f"Boft(block_size={self.block_size}, factors={self.factors}): blocks of at least 2, at least one factor",
    )
    check.require(self.factors == 1 or self.block_size % 2 == 0, "Boft.block_size must be even for several factors")

  def make(self, spec: site.SiteSpec, key) -> BoftAdapter:
    """The adapter of one layer: no rotation, all scales one."""
    fan_in, span = math.prod(spec.in_shape), self.block_size * 2 ** (self.factors - 1)
    check.require(
      fan_in % span == 0,
      f"Boft(block_size={self.block_size}, factors={self.factors}) needs a multiple of {span} inputs; {spec.name} has "
      f"{fan_in}",
    )
    return BoftAdapter(spec, self.block_size, self.factors)

  def peft_write(self, part: codec.Part) -> codec.Arrays:
    """The matrices as they are, the scale as [out, 1]."""
    return {"boft_R": part.leaves["r"], "boft_s": part.leaves["scale"].reshape(-1, 1)}

  def peft_config(self, parts: Sequence[codec.Part]) -> dict[str, Any]:
    """Blocks and factors."""
    return {
      "boft_block_size": self.block_size,
      "boft_block_num": 0,
      "boft_n_butterfly_factor": self.factors,
      "boft_dropout": 0.0,
    }

  @classmethod
  def from_peft(cls, config: Mapping[str, Any], parts: Sequence[codec.Part]) -> Self:
    """The method of a folder; its blocks follow from the tensors."""
    sizes = {(p.tensors["boft_R"].shape[0], p.tensors["boft_R"].shape[-1]) for p in parts}
    check.require(len(sizes) == 1, "boft_R: blocks of several sizes in one folder are not supported")
    factors, size = sizes.pop()
    return cls(block_size=size, factors=factors, sites=codec.sites_of(parts))

  def peft_read(self, part: codec.Part) -> codec.Arrays:
    """As peft_write has them."""
    return {"r": part.tensors["boft_R"], "scale": codec.shaped(part.tensors["boft_s"], part.spec.out_shape, part)}
