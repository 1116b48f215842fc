"""Attention on GPU by our own kernels (Pallas, through Triton), behind the same rules as `kernels.packed`.

A program holds one block of queries (or of keys, for their gradients) and walks over the blocks that its segments and
window let it see, so work grows with Σ(segment length)² and nothing of [T, T] exists (FlashAttention-2: Dao 2023).
Where rows have groups it walks over two ranges of blocks, one behind the other: a branch's trunk and its own segment; a
trunk's own segment and its branches. The log-sum-exp is a result like any other: its cotangent enters the backward pass
as a shift of Σ dO∘O.
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
  how: tuple[float, float], q_BTNH, k_BTKH, v_BTKH, rows: mask.Rows, window=None, interpret: bool = False, by=None
):
  """Attention of packed rows on one device; heads are grouped without repeating keys.

  Args:
    how: (scale of the scores, softcap or 0). q_BTNH, k_BTKH, v_BTKH, rows, window: as for `kernels.packed`.
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
  longer = jax.tree.map(lambda x: jnp.pad(x, ((0, 0), (0, T_all - T))), rows)
  attend: Any = _attend
  out, lse = attend(fixed, pad(q_BTNH), pad(k_BTKH), pad(v_BTKH), _seen(longer, window, fixed))
  return out[:, :T, :, :H], lse[:, :T]


class Seen(NamedTuple):
  """What a program reads of who sees whom, int32. `spans` [B, S, T] are the ranges that each query sees (`mask.Spans`:
  S = 1, or 3 where rows have groups). `keys` [B, S, blocks] is the walk of each block of queries, forwards, `keys_back`
  backwards: where its second range of blocks begins, and where rows have groups where the first begins and how many it
  holds. `queries` [B, S, blocks] is that of each block of keys: where its first range ends, and where the second begins
  and how many it holds.
  """

  spans: Any
  keys: Any
  keys_back: Any
  queries: Any


def _seen(rows: mask.Rows, window, how: How) -> Seen:
  spans, ends, branches = mask.spans(rows, window), _ends(rows.segments_BT, window), _branches(rows, window)
  ranges = jnp.stack([x for x in spans if x is not None], axis=1)
  keys, keys_back = _walks(spans, how.forward), _walks(spans, how.backward)
  return Seen(ranges, keys, keys_back, _by_keys(ends, branches, how.backward))


def _walks(spans: mask.Spans, tile: Tiles):
  """`Seen.keys` for these blocks."""
  first = _least(spans.first_BT, tile.q) // tile.k
  if spans.trunk_BT is None:
    return first[:, None]
  some, T = spans.trunk_BT < spans.behind_BT, spans.first_BT.shape[1]
  begin = _least(jnp.where(some, spans.trunk_BT, T), tile.q) // tile.k
  last = -(_least(-spans.behind_BT, tile.q) // tile.k)  # rounded up
  return jnp.stack([first, begin, jnp.maximum(jnp.minimum(last, first) - begin, 0)], axis=1)


def _by_keys(ends_BT, branches, tile: Tiles):
  """`Seen.queries` for these blocks."""
  last = -(_least(-ends_BT, tile.k) // tile.q)
  if branches is None:
    return last[:, None]
  begin, end = branches
  some, T = begin < end, ends_BT.shape[1]
  begin = jnp.maximum(_least(jnp.where(some, begin, T), tile.k) // tile.q, last)
  return jnp.stack([last, begin, jnp.maximum(-(_least(-end, tile.k) // tile.q) - begin, 0)], axis=1)


def _least(x_BT, block):
  return jnp.min(x_BT.reshape(x_BT.shape[0], -1, block), axis=2)


def _ends(segments_BT, window):
  """The position behind the last query of its segment that sees each key, [B, T]; 0 for padding."""
  T = segments_BT.shape[1]
  index = jnp.arange(T, dtype=jnp.int32)[None]
  final = jnp.concatenate([segments_BT[:, 1:] != segments_BT[:, :-1], jnp.ones_like(segments_BT[:, :1], bool)], axis=1)
  end = jax.lax.cummin(jnp.where(final, index + 1, T), axis=1, reverse=True)
  end = end if window is None else jnp.minimum(end, index + window)
  return jnp.where(segments_BT == 0, 0, end)


def _branches(rows: mask.Rows, window):
  """Where the queries of branches lie that see each key of a trunk, (begin, end) [B, T], equal where there are none;
  None where rows have no groups."""
  if rows.groups_BT is None:
    return None
  begin, end, position, is_there = mask.across(rows, rows.positions_BT)
  is_seen = is_there & (rows.groups_BT > 0)
  if window is not None:  # the first token of a branch sees most
    is_seen &= position - rows.positions_BT < window
  return jnp.where(is_seen, begin, 0), jnp.where(is_seen, end, 0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(how, q_BTNH, k_BTKH, v_BTKH, seen: Seen):
  return _forward(how, q_BTNH, k_BTKH, v_BTKH, seen)[0]


def _forward(how, q, k, v, seen: Seen):
  B, T, N, H = q.shape
  G, tile = N // k.shape[2], how.forward
  by_query, row = _one_head(tile.q, H), _whole_row(T, H, G)
  run: Any = pl.pallas_call(
    functools.partial(_forward_kernel, how),
    grid=(T // tile.q, N, B),
    in_specs=[_bounds(seen), by_query, row, row, _spans(seen)],
    out_specs=[by_query, _of_rows(tile.q)],
    out_shape=[jax.ShapeDtypeStruct(q.shape, q.dtype), jax.ShapeDtypeStruct((B, N, T), jnp.float32)],
    **_run(how, tile, "attention_forward"),
  )
  out, lse_BNT = run(seen.keys, q, k, v, seen.spans)
  # Named, so that a rematerialisation policy can keep them and never run the kernel twice.
  out = ad_checkpoint.checkpoint_name(out, "attn_out")
  lse_BNT = ad_checkpoint.checkpoint_name(lse_BNT, "attn_lse")
  return (out, lse_BNT.transpose(0, 2, 1)), (q, k, v, seen, out, lse_BNT)


def _backward(how, saved, cotangents):
  q, k, v, seen, out, lse_BNT = saved
  d_out, d_lse = cotangents
  B, T, N, H = q.shape
  K, tile = k.shape[2], how.backward
  # dS = P ∘ (dP - rowsum(dO ∘ O) + dlse)
  drop = jnp.sum(d_out.astype(jnp.float32) * out.astype(jnp.float32), axis=-1) - d_lse
  drop_BNT = drop.transpose(0, 2, 1)
  given, row = (q, k, v, seen.spans, d_out, lse_BNT, drop_BNT), _whole_row(T, H, N // K)
  by_query, by_row = _one_head(tile.q, H), _of_rows(tile.q)
  d_q = pl.pallas_call(
    functools.partial(_query_kernel, how),
    grid=(T // tile.q, N, B),
    in_specs=[_bounds(seen), by_query, row, row, _spans(seen), by_query, by_row, by_row],
    out_specs=by_query,
    out_shape=jax.ShapeDtypeStruct(q.shape, q.dtype),
    **_run(how, tile, "attention_backward_q"),
  )(seen.keys_back, *given)
  group = pl.BlockSpec((None, T, N // K, H), lambda j, h, b: (b, 0, h, 0))
  group_rows = pl.BlockSpec((None, N // K, T), lambda j, h, b: (b, h, 0))
  by_key = _one_head(tile.k, H)
  d_k, d_v = pl.pallas_call(
    functools.partial(_key_kernel, how),
    grid=(T // tile.k, K, B),
    in_specs=[_bounds(seen), group, by_key, by_key, _spans(seen), group, group_rows, group_rows],
    out_specs=[by_key, by_key],
    out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (k, v)],
    **_run(how, tile, "attention_backward_kv"),
  )(seen.queries, *given)
  return d_q, d_k, d_v, None


_attend.defvjp(_forward, _backward)


# --- the kernels. Their first argument: which blocks of the other side to walk over. -------------------------------


def _forward_kernel(how, walk_ref, q_ref, k_ref, v_ref, spans_ref, out_ref, lse_ref):
  q, own, at, k_step = _queries(how.forward, q_ref, spans_ref)

  def step(j, carry):
    out, top, total = carry
    keys = pl.ds(j * k_step, k_step)
    scores, seen, _ = _scores(how, q, k_ref[keys, :], own, at, _index(j * k_step, k_step))
    new_top = jnp.maximum(top, jnp.max(scores, axis=1))
    p = jnp.where(seen, jnp.exp(scores - new_top[:, None]), 0.0)
    fade = jnp.exp(top - new_top)
    out = out * fade[:, None] + _dot(p.astype(v_ref.dtype), v_ref[keys, :], 1, 0)
    return out, new_top, total * fade + jnp.sum(p, axis=1)

  rows = q.shape[0]
  start = (jnp.zeros(q.shape, jnp.float32), jnp.full((rows,), mask.NEG, jnp.float32), jnp.zeros((rows,), jnp.float32))
  out, top, total = _over_keys(how.forward, walk_ref, step, start)
  some = jnp.maximum(total, 1e-37)
  out_ref[...] = (out / some[:, None]).astype(out_ref.dtype)
  lse_ref[...] = jnp.where(total > 0, top + jnp.log(some), mask.NEG)


def _query_kernel(how, walk_ref, q_ref, k_ref, v_ref, spans_ref, d_ref, lse_ref, drop_ref, d_q_ref):
  q, own, at, k_step = _queries(how.backward, q_ref, spans_ref)
  d_out, lse, drop = d_ref[...], lse_ref[...], drop_ref[...]

  def step(j, d_q):
    keys = pl.ds(j * k_step, k_step)
    k, v = k_ref[keys, :], v_ref[keys, :]
    _, d_s = _gradient(how, q, k, v, own, at, _index(j * k_step, k_step), d_out, lse, drop)
    return d_q + _dot(d_s.astype(k.dtype), k, 1, 0)

  d_q = _over_keys(how.backward, walk_ref, step, jnp.zeros(q.shape, jnp.float32))
  d_q_ref[...] = d_q.astype(d_q_ref.dtype)


def _key_kernel(how, walk_ref, q_ref, k_ref, v_ref, spans_ref, d_ref, lse_ref, drop_ref, d_k_ref, d_v_ref):
  j, (q_step, k_step) = pl.program_id(0), how.backward[:2]
  k, v, at = k_ref[...], v_ref[...], _index(j * k_step, k_step)
  first = j * k_step // q_step
  near = jnp.maximum(walk_ref[0, 0] - first, 0)
  each, of = near, lambda s: first + s
  if walk_ref.shape[0] > 1:  # then the branches of a trunk
    each, of = near + walk_ref[2, 0], lambda s: jnp.where(s < near, first + s, walk_ref[1, 0] - near + s)

  def step(turn, carry):
    d_k, d_v = carry
    head, i = turn // each, of(turn % each)
    rows = pl.ds(i * q_step, q_step)
    q, d_out, own = q_ref[rows, head, :], d_ref[rows, head, :], _read(spans_ref, rows)
    q_at = _index(i * q_step, q_step)
    p, d_s = _gradient(how, q, k, v, own, q_at, at, d_out, lse_ref[head, rows], drop_ref[head, rows])
    return d_k + _dot(d_s.astype(q.dtype), q, 0, 0), d_v + _dot(p.astype(d_out.dtype), d_out, 0, 0)

  zero = jnp.zeros(k.shape, jnp.float32)
  d_k, d_v = jax.lax.fori_loop(0, each * q_ref.shape[1], step, (zero, zero))
  d_k_ref[...], d_v_ref[...] = d_k.astype(d_k_ref.dtype), d_v.astype(d_v_ref.dtype)


def _queries(tile, q_ref, spans_ref):
  """A block's queries, what they see and where they are, and the keys of a step."""
  start = pl.program_id(0) * tile.q
  return q_ref[...], _read(spans_ref, pl.ds(start, tile.q)), _index(start, tile.q), tile.k


def _over_keys(tile, walk_ref, step, carry):
  """Steps over the blocks of keys that a block of queries sees: those of trunks, if rows have groups, then its own."""
  first, stop = walk_ref[0, 0], ((pl.program_id(0) + 1) * tile.q + tile.k - 1) // tile.k
  if walk_ref.shape[0] == 1:
    return jax.lax.fori_loop(first, stop, step, carry)
  begin, count = walk_ref[1, 0], walk_ref[2, 0]
  of = lambda s: jnp.where(s < count, begin + s, first - count + s)
  return jax.lax.fori_loop(0, count + stop - first, lambda s, carry: step(of(s), carry), carry)


def _read(spans_ref, rows):
  return mask.Spans(*(spans_ref[i, rows] for i in range(spans_ref.shape[0])))


def _index(start, count):
  return start + jax.lax.broadcasted_iota(jnp.int32, (count,), 0)


def _scores(how, q, k, own, q_at, k_at):
  """Masked scores [queries, keys] float32, who sees whom, and the softcap's derivative (1 without one)."""
  scores, slope = _dot(q, k, 1, 1) * how.scale, 1.0
  if how.softcap:
    bent = jnp.tanh(scores / how.softcap)
    scores, slope = how.softcap * bent, 1 - bent * bent
  seen = mask.inside(own, q_at, k_at)
  return jnp.where(seen, scores, mask.NEG), seen, slope


def _gradient(how, q, k, v, own, q_at, k_at, d_out, lse, drop):
  """Probabilities of a pair of blocks, and the gradient of q kᵀ. own: what the queries see."""
  scores, seen, slope = _scores(how, q, k, own, q_at, k_at)
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


def _spans(seen: Seen):
  return pl.BlockSpec((None, *seen.spans.shape[1:]), lambda i, h, b: (b, 0, 0))


def _bounds(seen: Seen):
  return pl.BlockSpec((None, seen.keys.shape[1], 1), lambda i, h, b: (b, 0, i))


def _run(how, tile, name) -> dict[str, Any]:
  compiler = triton.CompilerParams(num_warps=tile.warps, num_stages=tile.stages)
  return dict(compiler_params=compiler, interpret=how.interpret, name=name)
