"""Precision policy, and sums and products written so that XLA makes quick loops of them."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from itune_jax.core import check

Dtype = Literal["float32", "bfloat16"]
BLOCK = 128  # words of a block in which the largest is sought


@dataclasses.dataclass(frozen=True, kw_only=True)
class Precision:
  """Which dtype holds what.

  `frozen`: base weights that are not trained. `trained`: master weights (and so the optimizer's moments).
  `compute`: activations; weights are cast to it at use. Losses and norms accumulate in float32 always.
  `matmul`: how a TPU or GPU multiplies float32 when `compute` is float32; left alone, JAX would round the operands to
  10 bits of mantissa on a GPU and 7 on a TPU ("tensorfloat32", "bfloat16": faster, and no longer float32).
  """

  frozen: Dtype = "float32"
  trained: Dtype = "float32"
  compute: Dtype = "float32"
  matmul: Literal["float32", "tensorfloat32", "bfloat16"] = "float32"

  def __post_init__(self):
    check.check_types(self)
    check.require(
      self.matmul == "float32" or self.compute == "float32",
      f"Precision.matmul={self.matmul!r} says how float32 is multiplied, but Precision.compute is {self.compute!r}",
    )


def align(x, like):
  """x with leading axes of one, so that it meets the trailing axes of `like` (rank promotion is an error here)."""
  return jnp.expand_dims(x, tuple(range(like.ndim - x.ndim)))


def align_front(x, like):
  """x with trailing axes of one, so that it meets the leading axes of `like`."""
  return jnp.expand_dims(x, tuple(range(x.ndim, like.ndim)))


def first_largest(x):
  """Where the largest of the last axis is, the first of equals; somewhere, where one is no number. By reductions: they
  stay local where the axis is sharded, and XLA's argmax is a scalar loop on CPU. There the largest of each block is
  found first (local, too, where a shard is whole blocks): one pass over x, and no array of places is made."""
  by_blocks = _first_by_blocks if x.shape[-1] % BLOCK == 0 else _first
  return jax.lax.platform_dependent(x, cpu=by_blocks, default=_first)


def _first(x):
  place = jax.lax.broadcasted_iota(jnp.int32, x.shape, x.ndim - 1)
  return jnp.min(jnp.where(x == jnp.max(x, axis=-1, keepdims=True), place, x.shape[-1] - 1), axis=-1)


def _first_by_blocks(x):
  blocks = x.reshape(*x.shape[:-1], -1, BLOCK)
  block = _first(optimization_barrier(jnp.max(blocks, axis=-1)))
  return block * BLOCK + _first(jnp.take_along_axis(blocks, block[..., None, None], axis=-2)[..., 0, :])


def at_target(logits, targets):
  """The logit [...] of each target, 0 for one outside the vocabulary. A reduction over the vocabulary, which stays
  local where that is sharded; on CPU looked up, which is one number in place of a pass over all."""

  def looked_up(logits):
    inside = (targets >= 0) & (targets < logits.shape[-1])
    found = jnp.take_along_axis(logits, jnp.where(inside, targets, 0)[..., None], axis=-1)[..., 0]
    return jnp.where(inside, found, 0)

  among = lambda logits: jnp.sum(jnp.where(is_target(logits, targets), logits, 0), axis=-1)
  return jax.lax.platform_dependent(logits, cpu=looked_up, default=among)


def is_target(logits, targets):
  """Which logit [..., V] is that of the target [...]."""
  return jax.lax.broadcasted_iota(targets.dtype, logits.shape, logits.ndim - 1) == targets[..., None]


@jax.custom_vjp
def optimization_barrier(x):
  """x, computed once for all that use it; its gradient passes as it is. On CPU XLA computes cheap sums and products,
  and copies of what a layer kept, again wherever they are used, as part of loops that are slow for it. Elsewhere such
  loops are what saves memory, and x is left to the compiler."""
  return jax.lax.platform_dependent(x, cpu=jax.lax.optimization_barrier, default=lambda x: x)


optimization_barrier.defvjp(lambda x: (optimization_barrier(x), None), lambda _, d_x: (d_x,))


def dot_rows(x_TO, y_TO):
  """Σ_T x·y [O]. On CPU as dot products, as `dot_last`; give it what is behind an `optimization_barrier`."""
  product = lambda x, y: jnp.einsum("TO,TO->O", x, y)
  return jax.lax.platform_dependent(x_TO, y_TO, cpu=product, default=lambda x, y: jnp.sum(x * y, axis=0))


def dot_last(x, y):
  """Σ x·y over the last axis. On CPU as a dot product: XLA's sum of a product takes twelve times as long there."""
  product = lambda x, y: jnp.einsum("...D,...D->...", x, y)
  return jax.lax.platform_dependent(x, y, cpu=product, default=lambda x, y: jnp.sum(x * y, axis=-1))


@jax.custom_vjp
def scale_rows(x, factor):
  """x [..., D] times a number for each row [...]; the gradient of the numbers is a `dot_last`."""
  return x * factor[..., None]


def _scale_rows_forward(x, factor):
  return scale_rows(x, factor), (x, factor)


def _scale_rows_backward(saved, d_y):
  x, factor = saved
  return d_y * factor[..., None], dot_last(x, d_y)


scale_rows.defvjp(_scale_rows_forward, _scale_rows_backward)


def softmax_parts(logits):
  """exp(logits - max), its sum and the log-sum-exp, over the last axis. On CPU the exponentials are made once;
  elsewhere making them again beats writing them down."""
  top = jnp.max(logits, axis=-1, keepdims=True)
  parts = jax.lax.platform_dependent(
    jnp.exp(logits - top), cpu=jax.lax.optimization_barrier, default=lambda parts: parts
  )
  total = jnp.sum(parts, axis=-1, keepdims=True)
  return parts, total, (top + jnp.log(total))[..., 0]
