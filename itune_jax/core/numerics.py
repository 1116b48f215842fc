"""Precision policy, and the vocabulary loss that never holds [B, T, V]."""

import dataclasses
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from itune_jax.core import check

Dtype = Literal["float32", "bfloat16"]
BLOCK = 128  # words of a block in which the largest is sought
CHUNK, WORDS = 256, 49_152  # positions that are projected onto a vocabulary of at most so many words at a time


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
  block = _first(made(jnp.max(blocks, axis=-1)))
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
def made(x):
  """x, made once for all that use it; its gradient is as it is. On CPU XLA makes cheap sums and products, and copies of
  what a layer kept, again wherever they are met, as part of loops that are slow for it; elsewhere such loops are what
  saves memory, and x is left to the compiler."""
  return jax.lax.platform_dependent(x, cpu=jax.lax.optimization_barrier, default=lambda x: x)


made.defvjp(lambda x: (made(x), None), lambda _, d_x: (d_x,))


def dot_rows(x_TO, y_TO):
  """Σ_T x·y [O]. On CPU as dot products, as `dot_last`; give it what is `made`."""
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


def chunk_for(vocab: int) -> int:
  """Positions that are projected at a time unless said otherwise: fewer onto a larger vocabulary, so that memory does
  not grow with it."""
  return max(1, CHUNK * WORDS // max(vocab, WORDS))


def chunk_over(vocab: int, shards: tuple[int, int], chunk: int = 0) -> int:
  """Positions projected at a time on all devices, over so many shards of the rows and of the vocabulary: each holds
  no more logits than one alone would. A vocabulary that its shards do not divide lies whole on each."""
  return (chunk or chunk_for(vocab) * (shards[1] if vocab % shards[1] == 0 else 1)) * shards[0]


def span_of(B: int, T: int, chunk: int) -> int:
  """How many positions of each of B rows `chunked_losses` projects at a time."""
  return min(T, max(1, chunk // B))


def chunked_losses(
  project: Callable,
  hidden_BTD,
  targets_BT,
  weights_BT,
  *,
  chunk: int = 0,
  shards: tuple[int, int] = (1, 1),
  z_loss: float = 0.0,
):
  """Weighted cross-entropy of the positions that carry weight, a chunk of the vocabulary matmul at a time.

  Args:
    project: logits [..., V] of hidden states [..., D]. Differentiated through, closed-over weights included.
    hidden_BTD: final hidden states. targets_BT, weights_BT: next token and its weight.
    chunk: positions projected at a time by each shard of the rows; 0 for `chunk_for` the vocabulary.
    shards: of the rows, and of the vocabulary: `Ctx.logit_shards`.
    z_loss: coefficient of (log-sum-exp)^2, weighted like the loss.

  Returns:
    (Σ w·(nll + z·lse²), nll_BT, is_argmax_BT). The last two are zero where the weight is zero and carry no
    gradient. The gradient is made in the forward pass (the loss is linear in its cotangent), so logits exist
    once and are never kept.
  """
  B, T = targets_BT.shape
  shaped = lambda span: jax.ShapeDtypeStruct((B, span, hidden_BTD.shape[-1]), hidden_BTD.dtype)
  span = span_of(B, T, chunk_over(jax.eval_shape(project, shaped(1)).shape[-1], shards, chunk))
  example = shaped(span)
  # Only closed-over weights that are being differentiated are hoisted: a frozen head costs no dW.
  project, weights_of_head = jax.closure_convert(project, example)
  run = _make_chunked(project, span, z_loss)
  return run(tuple(weights_of_head), hidden_BTD, targets_BT, weights_BT.astype(jnp.float32))


def _make_chunked(project, span, z_loss):
  def sweep(head, hidden, targets, weights, with_grad):
    B, T = targets.shape
    order = jnp.argsort(weights == 0, axis=1, stable=True)  # trained positions first, row by row
    order = jnp.pad(order, ((0, 0), (0, -T % span)), constant_values=T)
    trips = -(-jnp.max(jnp.sum(weights != 0, axis=1)) // span)
    rows = jnp.arange(B)[:, None]

    def body(i, carry):
      loss, nll, hit, d_head, d_hidden = carry
      at = jax.lax.dynamic_slice_in_dim(order, i * span, span, axis=1)
      take = lambda x, fill: x.at[rows, at].get(mode="fill", fill_value=fill)
      h, t, w = take(hidden, 0), take(targets, 0), take(weights, 0)
      logits, pull = jax.vjp(lambda head, h: project(h, *head), head, h) if with_grad else (project(h, *head), None)
      logits32 = logits.astype(jnp.float32)
      parts, total, lse = softmax_parts(logits32)
      nll_chunk = lse - at_target(logits32, t)
      best = first_largest(logits32)
      loss += jnp.sum(w * (nll_chunk + z_loss * lse**2))
      put = lambda x, value: x.at[rows, at].set(value.astype(x.dtype), mode="drop")
      nll = put(nll, jnp.where(w != 0, nll_chunk, 0))
      hit = put(hit, (w != 0) & (best == t))
      if pull is not None:
        # (1 + 2 z lse) softmax - target, the division kept off the vocabulary
        share = (1 + 2 * z_loss * lse[..., None]) / total
        d_logits = w[..., None] * (parts * share - is_target(logits, t))
        more_head, more_hidden = pull(d_logits.astype(logits.dtype))
        d_head = jax.tree.map(lambda total, more: total + more.astype(jnp.float32), d_head, more_head)
        d_hidden = put(d_hidden, more_hidden)
      return loss, nll, hit, d_head, d_hidden

    zeros = lambda x: jnp.zeros(x.shape, jnp.float32)
    start = (
      jnp.float32(0),
      zeros(targets),
      jnp.zeros(targets.shape, bool),
      jax.tree.map(zeros, head) if with_grad else (),
      jnp.zeros_like(hidden) if with_grad else (),
    )
    return jax.lax.fori_loop(0, trips, body, start)

  @jax.custom_vjp
  def losses(head, hidden, targets, weights):
    return sweep(head, hidden, targets, weights, False)[:3]

  def forward(head, hidden, targets, weights):
    *out, d_head, d_hidden = sweep(head, hidden, targets, weights, True)
    return tuple(out), (jax.tree.map(lambda g, x: g.astype(x.dtype), d_head, head), d_hidden)

  def backward(saved, cotangents):
    scale = cotangents[0]
    d_head, d_hidden = jax.tree.map(lambda g: g * scale.astype(g.dtype), saved)
    return d_head, d_hidden, None, None

  losses.defvjp(forward, backward)
  return losses
