"""OFT (Qiu et al. 2023; Liu et al. 2024): the inputs of a projection are rotated in blocks, x R.

R is the Cayley transform of a skew-symmetric Q for every block, exact or by its Neumann series, as peft has it: its
series is that of the exact one's transpose, so a folder says which of both it was trained with.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from itune_jax.core import check
from itune_jax.core import linalg
from itune_jax.nn import site
from itune_jax.peft.folders import codec
from itune_jax.peft import ranks
from itune_jax.peft import method as method_lib


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


UNROLLED = 64  # blocks up to which they are multiplied one by one on CPU: as one batch they are laid out anew first


def _turned(x, blocks):
  """Rows x [T, n · size] with every block times its matrix of `blocks` [n, size, size]."""
  n, size, _ = blocks.shape
  blocks = blocks.astype(x.dtype)
  batched = lambda x, blocks: jnp.einsum("tnb,nbc->tnc", x.reshape(-1, n, size), blocks).reshape(x.shape)
  singly = lambda x, blocks: jnp.concatenate([jnp.dot(*pair) for pair in zip(_cut(x, n), blocks, strict=True)], axis=1)
  return jax.lax.platform_dependent(x, blocks, cpu=singly if n <= UNROLLED else batched, default=batched)


def _outer(x, y, n: int):
  """Σ x yᵀ over rows, of each of n blocks: [n, size, size], float32."""
  inner = dict(preferred_element_type=jnp.float32)
  batched = lambda x, y: jnp.einsum("tnb,tnc->nbc", x.reshape(len(x), n, -1), y.reshape(len(y), n, -1), **inner)
  singly = lambda x, y: jnp.stack([jnp.dot(a.T, b, **inner) for a, b in zip(_cut(x, n), _cut(y, n), strict=True)])
  return jax.lax.platform_dependent(x, y, cpu=singly if n <= UNROLLED else batched, default=batched)


def _cut(x, n: int):
  return jnp.split(x, n, axis=1)


@jax.custom_vjp
def rotate(x, blocks):
  """Vectors x [..., n · size] with every block times its matrix of `blocks` [n, size, size]."""
  return _turned(x.reshape(-1, x.shape[-1]), blocks).reshape(x.shape)


def _rotate_backward(saved, d_y):
  x, blocks = saved
  rows, d_rows = x.reshape(-1, x.shape[-1]), d_y.reshape(-1, x.shape[-1])
  d_blocks = _outer(rows, d_rows, len(blocks)).astype(blocks.dtype)
  return _turned(d_rows, jnp.swapaxes(blocks, 1, 2)).reshape(x.shape), d_blocks


rotate.defvjp(lambda x, blocks: (rotate(x, blocks), (x, blocks)), _rotate_backward)


def rotate_kernel(w, blocks):
  """R W, in float32, of a kernel W [in, out]."""
  n, size, _ = blocks.shape
  cut = w.astype(jnp.float32).reshape(n, size, -1)
  return jnp.einsum("nbc,nco->nbo", blocks, cut).reshape(w.shape).astype(w.dtype)


@jax.custom_vjp
def contract(x, blocks, w):
  """x R W of vectors x [..., in] and a kernel W [in, out]. The kernel is rotated, and in the backward pass the vectors:
  R's gradient from the kernel's would cost another matmul."""
  return site.contract(x, rotate_kernel(w, blocks), 1)


def _contract_backward(saved, d_y):
  x, blocks, w = saved
  d_y = d_y.reshape(-1, d_y.shape[-1])
  d_x, d_blocks = _rotate_backward((x, blocks), jax.lax.dot_general(d_y, w, (((1,), (1,)), ((), ()))))
  d_w = rotate_kernel(x.reshape(-1, x.shape[-1]).T @ d_y, jnp.swapaxes(blocks, 1, 2))
  return d_x, d_blocks, d_w.astype(w.dtype)


contract.defvjp(lambda x, blocks, w: (contract(x, blocks, w), (x, blocks, w)), _contract_backward)


class RotatedWeight(site.Weight):
  """R W. What is smaller is rotated, the rows or the kernel; a quantised kernel stays packed."""

  def __init__(self, w: site.Weight, blocks):
    self._fan_in = blocks.shape[0] * blocks.shape[1]
    super().__init__(lambda: rotate_kernel(w.value.reshape(self._fan_in, -1), blocks).reshape(w.shape), w.shape)
    self._w, self._blocks = w, blocks

  def contract(self, x, num_in: int):
    out = self.shape[num_in:]
    flat = x.reshape(*x.shape[: x.ndim - num_in], self._fan_in)
    if isinstance(self._w, site.PackedWeight) or flat.size // self._fan_in < math.prod(out):
      return self._w.contract(rotate(flat, self._blocks).reshape(x.shape), num_in)
    return contract(flat, self._blocks, self._w.value.reshape(self._fan_in, -1)).reshape(*flat.shape[:-1], *out)


class OftAdapter(site.Adapter):
  """Values above the diagonal of Q, [blocks, size (size - 1) / 2]."""

  def __init__(self, spec: site.SiteSpec, size: int, share: bool, terms: int):
    self.size, self.terms = size, terms
    self.blocks = math.prod(spec.in_shape) // size
    self.q = site.AdapterParam(jnp.zeros((1 if share else self.blocks, size * (size - 1) // 2)), axes=(None, None))

  def weight(self, w, ctx):
    return RotatedWeight(w, self._rotation())

  def merge(self, w, bank):
    return rotate_kernel(w.reshape(self.blocks * self.size, -1), self._rotation()).reshape(w.shape)

  def _rotation(self):
    q = skew(self.q[...].astype(jnp.float32), self.size)
    turned = neumann(q, self.terms) if self.terms else cayley(q)
    return jnp.broadcast_to(turned, (self.blocks, self.size, self.size))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Oft(method_lib.SiteMethod, codec.ModuleCodec):
  """The method. share: one block for all. terms: of the Neumann series, 0 for the exact transform.

  block_size: width of a rotated block.
  """

  block_size: int = 32
  share: bool = False
  terms: int = 5
  sites: str = ranks.PROJECTIONS
  name: str = "oft"
  peft_type = "OFT"
  peft_names = ("oft_R.weight",)

  def __post_init__(self):
    super().__post_init__()
    check.require(self.block_size > 1, f"Oft.block_size = {self.block_size}; a rotation takes at least 2")
    check.require(self.terms == 0 or self.terms > 2, f"Oft.terms = {self.terms}; 0 (exact), or more than 2")

  def make(self, spec: site.SiteSpec, key) -> OftAdapter:
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
