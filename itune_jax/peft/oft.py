"""OFT (Qiu et al. 2023; Liu et al. 2024): the inputs of a projection are rotated in blocks, x R.

R is the Cayley transform of a skew-symmetric Q for every block, exact or by its Neumann series, as peft has it: its
series is that of the exact one's transpose, so a folder says which of both it was trained with.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Any, Self

import jax.numpy as jnp
import numpy as np

from itune_jax.core import check
from itune_jax.core import linalg
from itune_jax.nn import site
from itune_jax.peft import codec
from itune_jax.peft import ranks


def skew(vectors, size: int):
  """Skew-symmetric matrices [n, size, size] of the values above their diagonals [n, size (size - 1) / 2]."""
  rows, columns = np.triu_indices(size, 1)
  upper = jnp.zeros((vectors.shape[0], size, size), vectors.dtype).at[:, rows, columns].set(vectors)
  return upper - jnp.swapaxes(upper, 1, 2)


def cayley(q):
  """(I - Q)(I + Q)⁻¹ of matrices [n, size, size], orthogonal where Q is skew-symmetric."""
  eye = jnp.eye(q.shape[-1], dtype=q.dtype)[None]
  return (eye - q) @ linalg.inverse(eye + q)


def neumann(q, terms: int):
  """I + 2Q + 2Q² + … of so many terms, the last of them once (peft's series)."""
  total, power = jnp.broadcast_to(jnp.eye(q.shape[-1], dtype=q.dtype), q.shape), q
  for term in range(1, terms):
    total = total + (1 if term == terms - 1 and term > 2 else 2) * power
    power = power @ q
  return total


def rotate(x, blocks, num_in: int):
  """x [..., *in] with every block of its flattened inputs times its matrix of `blocks` [n, size, size]."""
  n, size, _ = blocks.shape
  lead = x.shape[: x.ndim - num_in]
  cut = x.reshape(*lead, n, size)
  return jnp.einsum("...nb,nbc->...nc", cut, blocks.astype(x.dtype)).reshape(x.shape)


class OftAdapter(site.Adapter):
  """Values above the diagonal of Q, [blocks, size (size - 1) / 2]."""

  def __init__(self, spec: site.SiteSpec, size: int, share: bool, terms: int):
    self.num_in, self.size, self.terms = len(spec.in_shape), size, terms
    self.blocks = math.prod(spec.in_shape) // size
    self.q = site.AdapterParam(jnp.zeros((1 if share else self.blocks, size * (size - 1) // 2)), axes=(None, None))

  def pre(self, x, ctx):
    return rotate(x, self._rotation(), self.num_in)

  def merge(self, w, bank):
    turned = jnp.einsum("nbc,nco->nbo", self._rotation(), w.reshape(self.blocks, self.size, -1))
    return turned.reshape(w.shape)

  def _rotation(self):
    q = skew(self.q[...].astype(jnp.float32), self.size)
    turned = neumann(q, self.terms) if self.terms else cayley(q)
    return jnp.broadcast_to(turned, (self.blocks, self.size, self.size))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Oft:
  """The method. share: one block for all. terms: of the Neumann series, 0 for the exact transform."""

  block_size: int = 32
  share: bool = False
  terms: int = 5
  sites: str = ranks.PROJECTIONS
  name: str = "oft"
  peft_type = "OFT"
  peft_names = ("oft_R.weight",)
  peft_plain = {"coft": False}

  def __post_init__(self):
    check.check_types(self)
    check.require(self.block_size > 1, f"Oft.block_size = {self.block_size}; a rotation takes at least 2")
    check.require(self.terms == 0 or self.terms > 2, f"Oft.terms = {self.terms}; 0 (exact), or more than 2")

  def make(self, spec: site.SiteSpec, key, w=None) -> OftAdapter:
    """The adapter of one layer: Q is zero, so the model is unchanged at first."""
    fan_in = math.prod(spec.in_shape)
    check.require(
      fan_in % self.block_size == 0, f"Oft.block_size = {self.block_size} does not divide the {fan_in} of {spec.name}"
    )
    return OftAdapter(spec, self.block_size, self.share, self.terms)

  def peft_write(self, part: codec.Part) -> codec.Arrays:
    """As they are."""
    return {"oft_R.weight": part.leaves["q"]}

  def peft_config(self, parts: Sequence[codec.Part]) -> dict[str, Any]:
    """Blocks, and which transform."""
    return {
      "r": 0,
      "oft_block_size": self.block_size,
      "block_share": self.share,
      "coft": False,
      "use_cayley_neumann": self.terms > 0,
      "num_cayley_neumann_terms": self.terms or 5,
      "module_dropout": 0.0,
    }

  @classmethod
  def from_peft(cls, config: Mapping[str, Any], parts: Sequence[codec.Part]) -> Self:
    """The method of a folder; the size of its blocks follows from the tensors."""
    pairs = {part.tensors["oft_R.weight"].shape[1] for part in parts}
    check.require(len(pairs) == 1, f"oft_R: blocks of several sizes ({sorted(pairs)} values) in one folder")
    return cls(
      block_size=(1 + math.isqrt(1 + 8 * pairs.pop())) // 2,
      share=bool(config.get("block_share")),
      terms=config.get("num_cayley_neumann_terms", 5) if config.get("use_cayley_neumann", True) else 0,
      sites=codec.sites_of(parts),
    )

  def peft_read(self, part: codec.Part) -> codec.Arrays:
    """As they are."""
    return {"q": part.tensors["oft_R.weight"]}
