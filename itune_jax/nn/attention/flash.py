"""Attention on GPU by our own kernels (Pallas, through Triton), behind the same rules as `kernels.packed`.

A program holds one block of queries (or of keys, for their gradients) and walks over the blocks that its segments and
window let it see, so work grows with Σ(segment length)² and nothing of [T, T] exists (FlashAttention-2: Dao 2023). The
log-sum-exp is a result like any other: its cotangent enters the backward pass as a shift of Σ dO∘O.
"""

import functools
from typing import Any, NamedTuple

import jax
from jax import ad_checkpoint
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
import jax.numpy as jnp

from itune_jax.nn.attention import mask

PRECISION = "jax_default_matmul_precision"
LEAST = 16  # rows and columns of the smallest matrix product


class Tiles(NamedTuple):
  """Queries and keys of a block, and how Triton runs it."""

  q: int
  k: int
  warps: int
  stages: int


class How(NamedTuple):
  """What is fixed: scale of the scores, softcap (0 for none), blocks forwards and backwards, interpreter or not."""

  scale: float
  softcap: float
  forward: Tiles
  backward: Tiles
  interpret: bool


def tiles(head_dim: int, itemsize: int) -> tuple[Tiles, Tiles]:
  """Blocks forwards and backwards that fit a core's shared memory."""
  if itemsize > 2:  # float32 products are exact here, without matrix units
    return Tiles(64, 32, 4, 1), Tiles(32, 32, 4, 1)
  if head_dim <= 64:
    return Tiles(128, 64, 4, 3), Tiles(64, 64, 4, 2)
  if head_dim <= 128:
    return Tiles(128, 64, 8, 2), Tiles(64, 64, 8, 1)
  return Tiles(64, 32, 8, 1), Tiles(32, 32, 8, 1)


def packed(
  how: tuple[float, float], q_BTNH, k_BTKH, v_BTKH, segments_BT, window=None, interpret: bool = False, by=None
):
  """Causal attention inside segments on one device; heads are grouped without repeating keys.

  Args:
    how: (scale of the scores, softcap or 0). q_BTNH, k_BTKH, v_BTKH, segments_BT, window: as for `kernels.packed`.
    interpret: run the kernels as XLA operations, for tests without a GPU. by: blocks in place of `tiles`' own.

  Returns:
    out [B, T, N, H] in q's dtype, log-sum-exp [B, T, N] float32.
  """
  T, H = q_BTNH.shape[1], q_BTNH.shape[-1]
  wide = pl.next_power_of_2(max(H, LEAST))  # Triton's arrays have powers of two
  most = pl.next_power_of_2(max(T, LEAST))
  cut = lambda t: Tiles(min(t.q, most), min(t.k, most), t.warps, t.stages)
  forward, backward = by or tiles(wide, q_BTNH.dtype.itemsize)
  fixed = How(*how, cut(forward), cut(backward), interpret)
  largest = max(fixed.forward.q, fixed.forward.k, fixed.backward.q, fixed.backward.k)
  T_all = -(-T // largest) * largest
  pad = lambda x: jnp.pad(x, ((0, 0), (0, T_all - T), (0, 0), (0, wide - H)))
  segments = jnp.pad(segments_BT, ((0, 0), (0, T_all - T)))
  reach = jnp.full((1,), T_all if window is None else window, jnp.int32)
  attend: Any = _attend
  out, lse = attend(fixed, pad(q_BTNH), pad(k_BTKH), pad(v_BTKH), segments, reach)
  return out[:, :T, :, :H], lse[:, :T]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(how, q_BTNH, k_BTKH, v_BTKH, segments_BT, reach):
  return _forward(how, q_BTNH, k_BTKH, v_BTKH, segments_BT, reach)[0]


def _forward(how, q, k, v, segments, reach):
  B, T, N, H = q.shape
  G, tile = N // k.shape[2], how.forward
  by_query, row = _one_head(tile.q, H), _whole_row(T, H, G)
  run: Any = pl.pallas_call(
    functools.partial(_forward_kernel, how),
    grid=(T // tile.q, N, B),
    in_specs=[_bound(), _scalar(), by_query, row, row, _ids(T)],
    out_specs=[by_query, _of_rows(tile.q)],
    out_shape=[jax.ShapeDtypeStruct(q.shape, q.dtype), jax.ShapeDtypeStruct((B, N, T), jnp.float32)],
    **_run(how, tile, "attention_forward"),
  )
  out, lse_BNT = run(_begins(segments, reach)[:, :: tile.q] // tile.k, reach, q, k, v, segments)
  # Named, so that a rematerialisation policy can keep them and never run the kernel twice.
  out = ad_checkpoint.checkpoint_name(out, "attn_out")
  lse_BNT = ad_checkpoint.checkpoint_name(lse_BNT, "attn_lse")
  return (out, lse_BNT.transpose(0, 2, 1)), (q, k, v, segments, reach, out, lse_BNT)


def _backward(how, saved, cotangents):
  q, k, v, segments, reach, out, lse_BNT = saved
  d_out, d_lse = cotangents
  B, T, N, H = q.shape
  K, tile = k.shape[2], how.backward
  # dS = P ∘ (dP - rowsum(dO ∘ O) + dlse)
  drop = jnp.sum(d_out.astype(jnp.float32) * out.astype(jnp.float32), axis=-1) - d_lse
  drop_BNT = drop.transpose(0, 2, 1)
  given, row = (q, k, v, segments, d_out, lse_BNT, drop_BNT), _whole_row(T, H, N // K)
  by_query, by_row = _one_head(tile.q, H), _of_rows(tile.q)
  d_q = pl.pallas_call(
    functools.partial(_query_kernel, how),
    grid=(T // tile.q, N, B),
    in_specs=[_bound(), _scalar(), by_query, row, row, _ids(T), by_query, by_row, by_row],
    out_specs=by_query,
    out_shape=jax.ShapeDtypeStruct(q.shape, q.dtype),
    **_run(how, tile, "attention_backward_q"),
  )(_begins(segments, reach)[:, :: tile.q] // tile.k, reach, *given)
  group = pl.BlockSpec((None, T, N // K, H), lambda j, h, b: (b, 0, h, 0))
  group_rows = pl.BlockSpec((None, N // K, T), lambda j, h, b: (b, h, 0))
  by_key = _one_head(tile.k, H)
  last = _ends(segments, reach)[:, tile.k - 1 :: tile.k]
  d_k, d_v = pl.pallas_call(
    functools.partial(_key_kernel, how),
    grid=(T // tile.k, K, B),
    in_specs=[_bound(), _scalar(), group, by_key, by_key, _ids(T), group, group_rows, group_rows],
    out_specs=[by_key, by_key],
    out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (k, v)],
    **_run(how, tile, "attention_backward_kv"),
  )(-(-last // tile.q), reach, *given)
  return d_q, d_k, d_v, None, None


_attend.defvjp(_forward, _backward)


# --- the kernels. Their first argument: which blocks of the other side to walk over, from or up to. ----------------


def _forward_kernel(how, first_ref, reach_ref, q_ref, k_ref, v_ref, ids_ref, out_ref, lse_ref):
  q, at, k_step, stop = _queries(how.forward, q_ref, ids_ref)

  def step(j, carry):
    out, top, total = carry
    keys = pl.ds(j * k_step, k_step)
    scores, seen, _ = _scores(how, q, k_ref[keys, :], at, _at(j * k_step, k_step, ids_ref), reach_ref[0])
    new_top = jnp.maximum(top, jnp.max(scores, axis=1))
    p = jnp.where(seen, jnp.exp(scores - new_top[:, None]), 0.0)
    fade = jnp.exp(top - new_top)
    out = out * fade[:, None] + _dot(p.astype(v_ref.dtype), v_ref[keys, :], 1, 0)
    return out, new_top, total * fade + jnp.sum(p, axis=1)

  rows = q.shape[0]
  start = (jnp.zeros(q.shape, jnp.float32), jnp.full((rows,), mask.NEG, jnp.float32), jnp.zeros((rows,), jnp.float32))
  out, top, total = jax.lax.fori_loop(first_ref[0], stop, step, start)
  some = jnp.maximum(total, 1e-37)
  out_ref[...] = (out / some[:, None]).astype(out_ref.dtype)
  lse_ref[...] = jnp.where(total > 0, top + jnp.log(some), mask.NEG)


def _query_kernel(how, first_ref, reach_ref, q_ref, k_ref, v_ref, ids_ref, d_ref, lse_ref, drop_ref, d_q_ref):
  q, at, k_step, stop = _queries(how.backward, q_ref, ids_ref)
  d_out, lse, drop = d_ref[...], lse_ref[...], drop_ref[...]

  def step(j, d_q):
    keys = pl.ds(j * k_step, k_step)
    k, v, k_at = k_ref[keys, :], v_ref[keys, :], _at(j * k_step, k_step, ids_ref)
    _, d_s = _gradient(how, q, k, v, at, k_at, reach_ref[0], d_out, lse, drop)
    return d_q + _dot(d_s.astype(k.dtype), k, 1, 0)

  d_q = jax.lax.fori_loop(first_ref[0], stop, step, jnp.zeros(q.shape, jnp.float32))
  d_q_ref[...] = d_q.astype(d_q_ref.dtype)


def _key_kernel(how, last_ref, reach_ref, q_ref, k_ref, v_ref, ids_ref, d_ref, lse_ref, drop_ref, d_k_ref, d_v_ref):
  j, (q_step, k_step) = pl.program_id(0), how.backward[:2]
  k, v, at = k_ref[...], v_ref[...], _at(j * k_step, k_step, ids_ref)
  first, last = j * k_step // q_step, last_ref[0]
  each = jnp.maximum(last - first, 0)

  def step(turn, carry):
    d_k, d_v = carry
    head, i = turn // each, first + turn % each
    rows = pl.ds(i * q_step, q_step)
    q, d_out = q_ref[rows, head, :], d_ref[rows, head, :]
    q_at = _at(i * q_step, q_step, ids_ref)
    p, d_s = _gradient(how, q, k, v, q_at, at, reach_ref[0], d_out, lse_ref[head, rows], drop_ref[head, rows])
    return d_k + _dot(d_s.astype(q.dtype), q, 0, 0), d_v + _dot(p.astype(d_out.dtype), d_out, 0, 0)

  zero = jnp.zeros(k.shape, jnp.float32)
  d_k, d_v = jax.lax.fori_loop(0, each * q_ref.shape[1], step, (zero, zero))
  d_k_ref[...], d_v_ref[...] = d_k.astype(d_k_ref.dtype), d_v.astype(d_v_ref.dtype)


def _queries(tile, q_ref, ids_ref):
  """A block's queries, their segments and positions, the keys of a step, and where the walk over keys ends."""
  i = pl.program_id(0)
  stop = ((i + 1) * tile.q + tile.k - 1) // tile.k
  return q_ref[...], _at(i * tile.q, tile.q, ids_ref), tile.k, stop


def _at(start, count, ids_ref):
  return ids_ref[pl.ds(start, count)], start + jax.lax.broadcasted_iota(jnp.int32, (count,), 0)


def _scores(how, q, k, q_at, k_at, reach):
  """Masked scores [queries, keys] float32, who sees whom, and the softcap's derivative (1 without one)."""
  scores, slope = _dot(q, k, 1, 1) * how.scale, 1.0
  if how.softcap:
    bent = jnp.tanh(scores / how.softcap)
    scores, slope = how.softcap * bent, 1 - bent * bent
  seen = mask.visible(q_at[0], k_at[0], q_at[1], k_at[1], reach)
  return jnp.where(seen, scores, mask.NEG), seen, slope


def _gradient(how, q, k, v, q_at, k_at, reach, d_out, lse, drop):
  """Probabilities of a pair of blocks, and the gradient of q kᵀ."""
  scores, seen, slope = _scores(how, q, k, q_at, k_at, reach)
  p = jnp.where(seen, jnp.exp(scores - lse[:, None]), 0.0)
  return p, p * (_dot(d_out, v, 1, 1) - drop[:, None]) * slope * how.scale


def _dot(a, b, on_a, on_b):
  shorter = getattr(jax.config, PRECISION) in ("tensorfloat32", "bfloat16")  # asked for
  precision = jax.lax.Precision.HIGHEST if a.dtype == jnp.float32 and not shorter else None
  return jax.lax.dot_general(
    a, b, (((on_a,), (on_b,)), ((), ())), precision=precision, preferred_element_type=jnp.float32
  )


# --- which part of each array a program gets; the grid is (block, head, row) ---------------------------------------


def _one_head(block, H):
  return pl.BlockSpec((None, block, None, H), lambda i, h, b: (b, i, h, 0))


def _whole_row(T, H, G):
  return pl.BlockSpec((None, T, None, H), lambda i, h, b: (b, 0, h // G, 0))


def _of_rows(block):
  return pl.BlockSpec((None, None, block), lambda i, h, b: (b, h, i))


def _ids(T):
  return pl.BlockSpec((None, T), lambda i, h, b: (b, 0))


def _bound():
  return pl.BlockSpec((None, 1), lambda i, h, b: (b, i))


def _scalar():
  return pl.BlockSpec((1,), lambda i, h, b: (0,))


def _run(how, tile, name) -> dict[str, Any]:
  compiler = triton.CompilerParams(num_warps=tile.warps, num_stages=tile.stages)
  return dict(compiler_params=compiler, interpret=how.interpret, name=name)


def _begins(segments_BT, reach):
  """The first position that each query sees; it never falls along a row."""
  index = jnp.arange(segments_BT.shape[1], dtype=jnp.int32)[None]
  new = jnp.concatenate([jnp.ones_like(segments_BT[:, :1], bool), segments_BT[:, 1:] != segments_BT[:, :-1]], axis=1)
  start = jax.lax.cummax(jnp.where(new, index, 0), axis=1)
  return jnp.maximum(start, index - reach[0] + 1)


def _ends(segments_BT, reach):
  """The position behind the last query that sees each key; it never falls along a row."""
  T = segments_BT.shape[1]
  index = jnp.arange(T, dtype=jnp.int32)[None]
  final = jnp.concatenate([segments_BT[:, 1:] != segments_BT[:, :-1], jnp.ones_like(segments_BT[:, :1], bool)], axis=1)
  end = jax.lax.cummin(jnp.where(final, index + 1, T), axis=1, reverse=True)
  return jnp.minimum(end, index + reach[0])
