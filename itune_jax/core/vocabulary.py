"""Functions of the logits of each position that never hold [B, T, V]: a chunk of positions is projected at a time.

`cross_entropy` makes its gradient while the logits of a chunk exist, since a loss that is a weighted sum is linear in
its cotangent. `over_vocabulary` takes any function of the logits of one position, of one model or of several
(distillation), and differentiates it exactly; `token_logprobs` is the commonest one.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from itune_jax.core import numerics

CHUNK, WORDS = 256, 49_152  # positions that are projected onto a vocabulary of at most so many words at a time


def chunk_for(vocab: int) -> int:
  """Positions that are projected at a time unless said otherwise: fewer onto a larger vocabulary, so that memory does
  not grow with it."""
  return max(1, CHUNK * WORDS // max(vocab, WORDS))


def chunk_over(vocab: int, shards: tuple[int, int], chunk: int = 0) -> int:
  """Positions projected at a time on all devices, over so many shards of the rows and of the vocabulary: each holds
  no more logits than one alone would. A vocabulary that its shards do not divide lies whole on each."""
  return (chunk or chunk_for(vocab) * (shards[1] if vocab % shards[1] == 0 else 1)) * shards[0]


def span_of(B: int, T: int, chunk: int) -> int:
  """How many positions of each of B rows are projected at a time."""
  return min(T, max(1, chunk // B))


def cross_entropy(
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
    project: logits [B, t, V] of hidden states [B, t, D] and of their places in their rows [B, t], by which units are
      dropped. Differentiated through, closed-over weights included.
    hidden_BTD: final hidden states. targets_BT, weights_BT: next token and its weight.
    chunk: positions projected at a time by each shard of the rows; 0 for `chunk_for` the vocabulary.
    shards: of the rows, and of the vocabulary: `Ctx.logit_shards`.
    z_loss: coefficient of (log-sum-exp)^2, weighted like the loss.

  Returns:
    (Σ w·(nll + z·lse²), nll_BT, is_argmax_BT). The last two are zero where the weight is zero. The gradient of the
    first is made in the forward pass (it is linear in its cotangent), so logits exist once and are never kept; who
    differentiates nll_BT as well pays for projecting once more. Weights carry no gradient.
  """
  project, head, span = _hoisted(project, hidden_BTD, targets_BT.shape, chunk, shards)
  run = _cross_entropy(project, span, z_loss)
  return run(head, hidden_BTD, targets_BT, weights_BT.astype(jnp.float32))


def _hoisted(project, hidden_BTD, shape, chunk, shards) -> tuple[Callable, tuple[Any, ...], int]:
  """The projection as a function of hidden states and of those closed-over weights that are being differentiated (a
  frozen head costs no dW), these weights, and how many positions of each row are projected at a time."""
  B, T = shape
  dim, dtype = hidden_BTD.shape[-1], hidden_BTD.dtype
  shaped = lambda span: (jax.ShapeDtypeStruct((B, span, dim), dtype), jax.ShapeDtypeStruct((B, span), jnp.int32))
  span = span_of(B, T, chunk_over(jax.eval_shape(project, *shaped(1)).shape[-1], shards, chunk))
  project, head = jax.closure_convert(project, *shaped(span))
  return project, tuple(head), span


def _cross_entropy(project, span, z_loss):
  def sweep(head, hidden, targets, weights, with_grad):
    at_chunk, trips = _chunks(weights != 0, span)

    def body(i, carry):
      loss, nll, hit, d_head, d_hidden = carry
      at, take, put = at_chunk(i)
      h, t, w = take(hidden), take(targets), take(weights)
      run = lambda head, h: project(h, at, *head)
      logits, pull = jax.vjp(run, head, h) if with_grad else (run(head, h), None)
      logits32 = logits.astype(jnp.float32)
      parts, total, lse = numerics.softmax_parts(logits32)
      nll_chunk = lse - numerics.at_target(logits32, t)
      best = numerics.first_largest(logits32)
      loss += jnp.sum(w * (nll_chunk + z_loss * lse**2))
      nll = put(nll, jnp.where(w != 0, nll_chunk, 0))
      hit = put(hit, (w != 0) & (best == t))
      if pull is not None:
        # (1 + 2 z lse) softmax - target, the division kept off the vocabulary
        share = (1 + 2 * z_loss * lse[..., None]) / total
        d_logits = w[..., None] * (parts * share - numerics.is_target(logits, t))
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
    given = head, hidden, targets, weights = _values((head, hidden, targets, weights))
    *out, d_head, d_hidden = sweep(head, hidden, targets, weights, True)
    return tuple(out), (jax.tree.map(lambda g, x: g.astype(x.dtype), d_head, head), d_hidden, given)

  def backward(saved, cotangents):
    d_head, d_hidden, (head, hidden, targets, weights) = saved
    d_loss, d_nll, _ = cotangents
    scaled = jax.tree.map(lambda g: g * _array(d_loss).astype(g.dtype), (d_head, d_hidden))
    if not isinstance(d_nll, jax.custom_derivatives.SymbolicZero):
      each = _over_vocabulary((project,), lambda logits, t: -_logprob(logits[0], t), span)
      _, pull = jax.vjp(lambda head, hidden: each(((head,), (hidden,)), weights != 0, targets), head, hidden)
      scaled = jax.tree.map(lambda a, b: a + b.astype(a.dtype), scaled, pull(d_nll))
    return *scaled, None, None

  losses.defvjp(forward, backward, symbolic_zeros=True)
  return losses


class Projection(NamedTuple):
  """A model's hidden states [B, T, D], and how they become logits (`project` of `cross_entropy`)."""

  project: Callable
  hidden_BTD: Any


def over_vocabulary(
  fn: Callable,
  projections: Sequence[Projection],
  where_BT,
  columns: Any = (),
  *,
  chunk: int = 0,
  shards: tuple[int, int] = (1, 1),
):
  """A function of the logits of each wanted position, with exact gradients; no logits are kept.

  Args:
    fn: (logits, columns) -> tree of values [B, t], for a chunk of t positions of each row: `logits` a tuple of float32
      arrays [B, t, V], one of each projection. It looks at each position by itself. Where the vocabulary is sharded it
      should reduce over it (`numerics.at_target`, `logsumexp`), so that it stays so.
    projections: one, or several models'. Hidden states and closed-over weights are differentiated where they are asked.
    where_BT: which positions; the values of others are 0. columns: a tree of arrays [B, T, ...], cut as the positions
      are, without gradient. chunk, shards: as for `cross_entropy`; the widest vocabulary counts.

  Returns:
    The tree of values [B, T].

  Raises TypeError where columns are differentiated: that gradient would be lost.
  """
  made = [_hoisted(p.project, p.hidden_BTD, where_BT.shape, chunk, shards) for p in projections]
  run = _over_vocabulary(tuple(project for project, _, _ in made), fn, min(span for _, _, span in made))
  heads = tuple(head for _, head, _ in made)
  return run((heads, tuple(p.hidden_BTD for p in projections)), where_BT, columns)


def token_logprobs(project: Callable, hidden_BTD, targets_BT, where_BT, *, temperature: float = 1.0, **how):
  """log p(target) [B, T] in nats of softmax(logits / temperature) at the wanted positions, 0 elsewhere."""
  fn = lambda logits, targets: _logprob(logits[0] / temperature, targets)
  return over_vocabulary(fn, (Projection(project, hidden_BTD),), where_BT, targets_BT, **how)


def _logprob(logits, targets):
  return numerics.at_target(logits, targets) - numerics.softmax_parts(logits)[2]


def _over_vocabulary(projects, fn, span):
  """`(heads, hiddens), where, columns -> values`, differentiable in the first two."""

  def values_of(at, models, columns):
    made = zip(projects, models[1], models[0], strict=True)
    return fn(tuple(project(h, at, *head).astype(jnp.float32) for project, h, head in made), columns)

  def cut(take, models, columns):
    heads, hiddens = models
    return (heads, tuple(map(take, hiddens))), jax.tree.map(take, columns)

  def empty(models, where, columns):
    first = lambda x: x[:, :1]
    at = jax.ShapeDtypeStruct((where.shape[0], 1), jnp.int32)
    example = jax.eval_shape(lambda at, m, c: values_of(at, *cut(first, m, c)), at, models, columns)
    return jax.tree.map(lambda x: jnp.zeros((*where.shape, *x.shape[2:]), x.dtype), example)

  @jax.custom_vjp
  def run(models, where, columns):
    at_chunk, trips = _chunks(where, span)

    def body(i, values):
      at, take, put = at_chunk(i)
      own = values_of(at, *cut(take, models, columns))
      keep = take(where)
      return jax.tree.map(lambda x, new: put(x, jnp.where(numerics.align_front(keep, new), new, 0)), values, own)

    return jax.lax.fori_loop(0, trips, body, empty(models, where, columns))

  def forward(models, where, columns):
    if any(leaf.perturbed for leaf in jax.tree.leaves(columns, is_leaf=_is_primal)):
      raise TypeError(
        "over_vocabulary: a column is differentiated, whose gradient would be lost; stop it, or use hidden"
      )
    models, where, columns = _values((models, where, columns))
    return run(models, where, columns), (models, where, columns)

  def backward(saved, cotangents):
    models, where, columns = saved
    at_chunk, trips = _chunks(where, span)
    cotangents = jax.tree.map(_array, cotangents, is_leaf=lambda x: isinstance(x, jax.custom_derivatives.SymbolicZero))

    def body(i, carry):
      d_heads, d_hiddens = carry
      at, take, put = at_chunk(i)
      own, seen = cut(take, models, columns)
      _, pull = jax.vjp(lambda own: values_of(at, own, seen), own)
      more_heads, more_hiddens = pull(_masked(jax.tree.map(take, cotangents), take(where)))[0]
      d_heads = jax.tree.map(lambda total, more: total + more.astype(jnp.float32), d_heads, more_heads)
      return d_heads, jax.tree.map(put, d_hiddens, more_hiddens)

    heads, hiddens = models
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), heads), jax.tree.map(jnp.zeros_like, hiddens)
    d_heads, d_hiddens = jax.lax.fori_loop(0, trips, body, zeros)
    return (jax.tree.map(lambda g, x: g.astype(x.dtype), d_heads, heads), d_hiddens), None, None

  run.defvjp(forward, backward, symbolic_zeros=True)
  return run


def _masked(values, where):
  return jax.tree.map(lambda x: jnp.where(numerics.align_front(where, x), x, 0), values)


def _chunks(where_BT, span: int):
  """Chunk i as (its places [B, t], what takes it out of an array [B, T, ...], what puts it back), wanted positions
  first, and how many chunks there are. Places behind a row's last are T."""
  B, T = where_BT.shape
  order = jnp.argsort(~where_BT, axis=1, stable=True).astype(jnp.int32)
  order = jnp.pad(order, ((0, 0), (0, -T % span)), constant_values=T)
  trips = -(-jnp.max(jnp.sum(where_BT, axis=1)) // span)
  rows = jnp.arange(B)[:, None]

  def at_chunk(i):
    at = jax.lax.dynamic_slice_in_dim(order, i * span, span, axis=1)
    take = lambda x: x.at[rows, at].get(mode="fill", fill_value=0)
    put = lambda x, value: x.at[rows, at].set(value.astype(x.dtype), mode="drop")
    return at, take, put

  return at_chunk, trips


def _is_primal(x) -> bool:
  return isinstance(x, jax.custom_derivatives.CustomVJPPrimal)


def _values(given):
  """What a rule with symbolic zeros was given, as arrays."""
  return jax.tree.map(lambda x: x.value, given, is_leaf=_is_primal)


def _array(cotangent):
  """A cotangent as an array."""
  if isinstance(cotangent, jax.custom_derivatives.SymbolicZero):
    like: Any = cotangent.aval
    return jnp.zeros(like.shape, like.dtype)
  return cotangent
