"""Attention kernels behind one signature. Each returns (out, log-sum-exp), so that partial results merge.

`packed` is the training kernel: rows of packed segments, block by block, where blocks above the diagonal or
wholly outside the segment are never computed. Work grows with Σ(segment length)², memory with the row. Where rows have
groups, a branch sees the trunk of its group too: work grows by Σ(branch length × trunk length).
"""

import functools
import math
from typing import Any

import jax
from jax import ad_checkpoint
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from itune_jax.core import axes as axes_lib
from itune_jax.core import numerics
from itune_jax.nn.attention import flash
from itune_jax.nn.attention import mask
from itune_jax.nn.attention import native
from itune_jax.nn.attention import splash

BLOCK = 64
QUERY_BLOCK, SCORES = 512, 1 << 20  # queries of a block over a cache, and scores a head that want blocks
NEG = mask.NEG


def packed(
  q_BTNH, k_BTKH, v_BTKH, rows: mask.Rows, ctx=None, *, window=None, scale=None, softcap=0.0
) -> tuple[Any, Any]:
  """Causal attention inside segments, and of branches over the trunk of their group.

  Args:
    q_BTNH, k_BTKH, v_BTKH: N is a multiple of K (grouped queries). rows: what the tokens belong to. ctx: mesh and
      rules, to run per device on rows and heads. window: positions that a query sees, itself included; a number or a
      scalar array, None for all. scale: of the scores, 1/√H unless given. softcap: scores become c·tanh(score/c); 0
      for none.

  Returns:
    out [B, T, N, H] in q's dtype and log-sum-exp [B, T, N] float32 (NEG where nothing is seen).
  """
  how = (scale or 1 / math.sqrt(q_BTNH.shape[-1]), softcap)
  window = None if window is None else jnp.asarray(window, jnp.int32)
  local: Any = functools.partial(on_device, how, jax.default_backend() if ctx is None else ctx.platform)
  if ctx is None or ctx.mesh is None or ctx.mesh.size == 1:
    return local(q_BTNH, k_BTKH, v_BTKH, rows, window)
  whole_rows = dict(ctx.rules) | {"length": ()}
  return on_mesh(local, ctx.mesh, whole_rows, q_BTNH, k_BTKH, v_BTKH, rows, window)


def on_mesh(local, mesh, rules, q_BTNH, k_BTKH, v_BTKH, rows: mask.Rows, window) -> Any:
  """Runs a kernel on every device's part. Queries' heads lie as the keys' do: a device has all heads of its groups."""
  kv = axes_lib.partition_spec(("batch", "length", "kv_heads", None), k_BTKH.shape, rules, mesh)
  run = jax.shard_map(
    local,
    mesh=mesh,
    in_specs=(kv, kv, kv, PartitionSpec(*kv[:2]), PartitionSpec()),
    out_specs=(kv, PartitionSpec(*kv[:3])),
    check_vma=False,
  )
  return run(q_BTNH, k_BTKH, v_BTKH, rows, window)


def on_device(how, platform: str, q_BTNH, k_BTKH, v_BTKH, rows: mask.Rows, window) -> Any:
  """The kernel of one device, by where it runs: "tpu", "gpu" or "cpu"; the loop in XLA where there is none for this,
  and for any other name. how: (scale, softcap)."""
  if platform == "tpu" and splash.supports(q_BTNH, window):
    return splash.packed(how, q_BTNH, k_BTKH, v_BTKH, rows)
  if platform == "gpu":
    return flash.packed(how, q_BTNH, k_BTKH, v_BTKH, rows, window)
  if platform == "cpu" and native.supports(q_BTNH):
    return native.packed(how, q_BTNH, k_BTKH, v_BTKH, rows, window)
  return _packed(how, q_BTNH, k_BTKH, v_BTKH, mask.spans(rows, window))


def cached(
  q_BTNH, k_BKHS, v_BKSH, q_positions_BT, k_positions_BS, *, window=None, scale=None, softcap=0.0, bias_BNTS=None
):
  """Attention over a cache: a query sees every filled slot whose position is not after its own.

  Keys come transposed: both products are then matmuls whose operands lie as they must.
  """
  B, T, N, H = q_BTNH.shape
  K = k_BKHS.shape[1]
  q = q_BTNH.reshape(B, T, K, N // K, H)
  q_BKgH = q.transpose(0, 2, 3, 1, 4).reshape(B, K, -1, H)  # queries of a group: heads, then positions
  distance = q_positions_BT[:, :, None] - k_positions_BS[:, None, :]
  seen = (k_positions_BS[:, None, :] >= 0) & (distance >= 0)
  if window is not None:
    seen &= distance < window
  product = functools.partial(
    jax.lax.dot_general, dimension_numbers=(((3,), (2,)), ((0, 1), (0, 1))), preferred_element_type=jnp.float32
  )
  scores = _cap(product(q_BKgH, k_BKHS.astype(q.dtype)) * (scale or 1 / math.sqrt(H)), softcap)
  scores = scores.reshape(B, K, N // K, T, -1)
  if bias_BNTS is not None:
    scores += bias_BNTS.reshape(B, K, N // K, T, -1)
  p, lse = _softmax(scores, seen[:, None, None])
  p_BKgS = p.reshape(B, K, -1, p.shape[-1])
  out = product(p_BKgS.astype(v_BKSH.dtype), v_BKSH)
  out = out.reshape(B, K, N // K, T, H).transpose(0, 3, 1, 2, 4)
  return out.reshape(B, T, N, H).astype(q_BTNH.dtype), lse.transpose(0, 3, 1, 2).reshape(B, T, N)


def dense(q_BTNH, k_BSKH, v_BSKH, seen_BTS, *, scale=None, softcap=0.0, bias_BNTS=None):
  """Attention by the full score matrix, over any mask: encoders, cross-attention, prefixes that see both ways."""
  B, T, N, H = q_BTNH.shape
  K = k_BSKH.shape[2]
  q = q_BTNH.reshape(B, T, K, N // K, H)
  scores = jnp.einsum("BTKGH,BSKH->BKGTS", q, k_BSKH, preferred_element_type=jnp.float32)
  scores = _cap(scores * (scale or 1 / math.sqrt(H)), softcap)
  if bias_BNTS is not None:
    scores += bias_BNTS.reshape(bias_BNTS.shape[0], K, N // K, T, -1)
  p, lse = _softmax(scores, seen_BTS[:, None, None])
  out = jnp.einsum("BKGTS,BSKH->BTKGH", p.astype(v_BSKH.dtype), v_BSKH)
  return out.reshape(B, T, N, H).astype(q_BTNH.dtype), lse.transpose(0, 3, 1, 2).reshape(B, T, N)


def reference(q_BTNH, k_BTKH, v_BTKH, rows: mask.Rows, *, window=None, scale=None, softcap=0.0):
  """What `packed` must equal, by the full score matrix; for tests."""
  index = jnp.arange(q_BTNH.shape[1])[None]
  seen_BTS = mask.visible(rows, rows, index, index, window)
  return dense(q_BTNH, k_BTKH, v_BTKH, seen_BTS, scale=scale, softcap=softcap)


def merge(out_a, lse_a, out_b, lse_b):
  """Attention over the union of two key sets, from attention over each: out [..., H], lse [...]."""
  lse = jnp.logaddexp(lse_a, lse_b)
  share = jnp.exp(lse_a - lse)[..., None].astype(out_a.dtype)
  return out_a * share + out_b * (1 - share), lse


def in_front(q_BTNH, k_KHP, v_KPH, ctx, **how):
  """Attention of all rows over the same P keys in front of them (positions 0 to P - 1). On one device one product for
  all queries."""
  (B, T, N, H), P = q_BTNH.shape, v_KPH.shape[1]
  front_1P = jnp.arange(P, dtype=jnp.int32)[None]
  if ctx.mesh is not None and ctx.mesh.size > 1:  # rows and positions stay where they are
    rows = lambda a: jnp.broadcast_to(a, (B, *a.shape[1:]))
    return in_blocks(q_BTNH, rows(k_KHP[None]), rows(v_KPH[None]), ctx.positions_BT, rows(front_1P), **how)
  flat = lambda x: x.reshape(1, B * T, *x.shape[2:])
  out, lse = in_blocks(flat(q_BTNH), k_KHP[None], v_KPH[None], flat(ctx.positions_BT), front_1P, **how)
  return out.reshape(B, T, N, H), lse.reshape(B, T, N)


def in_blocks(q_BTNH, k_BKHS, v_BKSH, q_positions_BT, k_positions_BS, **how):
  """As `cached`, a block of queries at a time where the scores would be large."""
  (B, T), S = q_BTNH.shape[:2], v_BKSH.shape[2]

  @jax.checkpoint  # backwards, too, the scores of one block exist at a time
  def one(given):
    return cached(given[0], k_BKHS, v_BKSH, given[1], k_positions_BS, **how)

  if T % QUERY_BLOCK or T == QUERY_BLOCK or B * T * S <= SCORES:
    return one((q_BTNH, q_positions_BT))
  cut = lambda x: jnp.moveaxis(x.reshape(B, -1, QUERY_BLOCK, *x.shape[2:]), 1, 0)
  out, lse = jax.lax.map(one, (cut(q_BTNH), cut(q_positions_BT)))
  whole = lambda x: jnp.moveaxis(x, 0, 1).reshape(B, T, *x.shape[3:])
  return whole(out), whole(lse)


def _cap(scores, softcap):
  return softcap * jnp.tanh(scores / softcap) if softcap else scores


def _softmax(scores, seen):
  scores = jnp.where(seen, scores, NEG)
  top = jnp.max(scores, axis=-1, keepdims=True)
  p = jnp.where(seen, jnp.exp(scores - top), 0)
  total = jnp.sum(p, axis=-1, keepdims=True)
  lse = jnp.where(total > 0, top + jnp.log(jnp.maximum(total, 1e-37)), NEG)[..., 0]
  return p / jnp.maximum(total, 1e-37), lse


# --- the block kernel. One device's shard; K and G are the local heads. -------------------------------------


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _packed(how, q, k, v, spans: mask.Spans):
  return _forward(how, q, k, v, spans)[0]


def _forward(how, q_BTNH, k_BTKH, v_BTKH, spans: mask.Spans):
  q, k, v, unblock = _to_blocks(q_BTNH, k_BTKH, v_BTKH)
  B, I, K, _, H = q.shape
  by_block, walk = _walk(spans, I)

  def one(b_i):
    b, i = b_i
    q_block, own = q[b, i], jax.tree.map(lambda x: x[b, i], by_block)

    def step(j, carry):
      out, top, total = carry
      scores = _scores(how, q_block, k[b, j], own, i, j)
      new_top = jnp.maximum(top, jnp.max(scores, axis=-1))
      p = jnp.where(scores > NEG / 2, jnp.exp(scores - new_top[..., None]), 0)
      fade = jnp.exp(top - new_top)
      out = out * fade[..., None] + _dot(p.astype(v.dtype), v[b, j], 2, 1)
      return out, new_top, total * fade + jnp.sum(p, axis=-1)

    rows = q_block.shape[1]
    start = (jnp.zeros((K, rows, H), jnp.float32), jnp.full((K, rows), NEG), jnp.zeros((K, rows)))
    out, top, total = walk(b, i, step, start)
    lse = jnp.where(total > 0, top + jnp.log(jnp.maximum(total, 1e-37)), NEG)
    return (out / jnp.maximum(total, 1e-37)[..., None]).astype(q.dtype), lse

  out, lse = jax.lax.map(one, _grid(B, I))
  out_BTNH, lse_BTN = unblock(out), unblock(lse[..., None])[..., 0]
  # Named, so that a rematerialisation policy can keep them and never run this loop twice.
  out_BTNH = ad_checkpoint.checkpoint_name(out_BTNH, "attn_out")
  lse_BTN = ad_checkpoint.checkpoint_name(lse_BTN, "attn_lse")
  return (out_BTNH, lse_BTN), (q_BTNH, k_BTKH, v_BTKH, spans, out_BTNH, lse_BTN)


def _backward(how, saved, cotangents):
  q_BTNH, k_BTKH, v_BTKH, spans, out_BTNH, lse_BTN = saved
  scale, softcap = how
  d_out_BTNH, d_lse_BTN = cotangents
  q, k, v, unblock = _to_blocks(q_BTNH, k_BTKH, v_BTKH)
  block_q = lambda x: _to_blocks(x, k_BTKH, v_BTKH)[0]
  d_out, lse = block_q(d_out_BTNH), block_q(lse_BTN[..., None])[..., 0]
  # dS = P ∘ (dP - rowsum(dO ∘ O) + dlse)
  drop = numerics.dot_last(d_out_BTNH.astype(jnp.float32), out_BTNH.astype(jnp.float32)) - d_lse_BTN
  drop = block_q(drop[..., None])[..., 0]
  B, I, K, _, H = q.shape
  by_block, walk = _walk(spans, I)

  def one(carry, b_i):
    b, i = b_i
    q_block, d_block, own = q[b, i], d_out[b, i], jax.tree.map(lambda x: x[b, i], by_block)

    def step(j, carry):
      d_q, d_k, d_v = carry
      scores = _scores(how, q_block, k[b, j], own, i, j)
      p = jnp.where(scores > NEG / 2, jnp.exp(scores - lse[b, i][..., None]), 0)
      d_p = _dot(d_block, v[b, j], 2, 2).astype(jnp.float32)
      d_s = p * (d_p - drop[b, i][..., None]) * scale
      if softcap:  # d tanh = 1 - tanh²; a masked score has p = 0
        d_s *= 1 - jnp.square(jnp.where(p > 0, scores, 0) / softcap)
      d_s = d_s.astype(q.dtype)
      d_q += _dot(d_s, k[b, j], 2, 1)
      d_k = d_k.at[b, j].add(_dot(d_s, q_block, 1, 1))
      d_v = d_v.at[b, j].add(_dot(p.astype(q.dtype), d_block, 1, 1))
      return d_q, d_k, d_v

    zero = jnp.zeros(q_block.shape, jnp.float32)
    d_q, d_k, d_v = walk(b, i, step, (zero, *carry))
    return (d_k, d_v), d_q.astype(q.dtype)

  zeros = jnp.zeros(k.shape, jnp.float32)
  (d_k, d_v), d_q = jax.lax.scan(one, (zeros, zeros), _grid(B, I))
  T = q_BTNH.shape[1]
  from_blocks = lambda x, like: x.transpose(0, 1, 3, 2, 4).reshape(B, -1, K, H)[:, :T].astype(like.dtype)
  return unblock(d_q), from_blocks(d_k, k_BTKH), from_blocks(d_v, v_BTKH), None


_packed.defvjp(_forward, _backward)


def _grid(B, I):
  b, i = jnp.divmod(jnp.arange(B * I), I)
  return b, i


def _to_blocks(q_BTNH, k_BTKH, v_BTKH):
  """Queries to [B, I, K, G·block, H], keys and values to [B, J, K, block, H]."""
  B, T, N, H = q_BTNH.shape
  K = k_BTKH.shape[2]
  G, block = N // K, min(BLOCK, T)
  blocks = -(-T // block)
  pad = lambda x: jnp.pad(x, [(0, 0), (0, blocks * block - T)] + [(0, 0)] * (x.ndim - 2))
  q = pad(q_BTNH).reshape(B, blocks, block, K, G, H).transpose(0, 1, 3, 4, 2, 5).reshape(B, blocks, K, G * block, H)
  keys = lambda x: pad(x).reshape(B, blocks, block, K, -1).transpose(0, 1, 3, 2, 4)

  def unblock(x):
    """[B·I, K, G·block, C] back to [B, T, N, C]."""
    x = x.reshape(B, blocks, K, G, block, -1).transpose(0, 1, 4, 2, 3, 5)
    return x.reshape(B, blocks * block, N, -1)[:, :T]

  return q, keys(k_BTKH), keys(v_BTKH), unblock


def _walk(spans: mask.Spans, I: int):
  """What the queries of each block see, [B, I, block], and `walk(b, i, step, carry)`: a loop of `step(j, carry)` over
  the blocks j of keys that one of them sees, each once: those of trunks, then those up to the queries themselves."""
  B, T = spans.first_BT.shape
  block = min(BLOCK, T)
  fills = mask.Spans(I * block, 0, 0)  # of queries that are not there: they see nothing
  pad = lambda x, fill: jnp.pad(x, ((0, 0), (0, I * block - T)), constant_values=fill).reshape(B, I, block)
  by_block = mask.Spans(*(None if x is None else pad(x, fill) for x, fill in zip(spans, fills, strict=True)))
  first = jnp.min(by_block.first_BT, axis=2) // block
  if spans.trunk_BT is None:
    return by_block, lambda b, i, step, carry: jax.lax.fori_loop(first[b, i], i + 1, step, carry)
  some = by_block.trunk_BT < by_block.behind_BT
  begin = jnp.min(jnp.where(some, by_block.trunk_BT, I * block), axis=2) // block
  last = -(-jnp.max(by_block.behind_BT, axis=2) // block)
  count = jnp.maximum(jnp.minimum(last, first) - begin, 0)

  def walk(b, i, step, carry):
    c, skipped = count[b, i], first[b, i] - count[b, i]
    of = lambda s: jnp.where(s < c, begin[b, i] + s, skipped + s)
    return jax.lax.fori_loop(0, i + 1 - skipped, lambda s, carry: step(of(s), carry), carry)

  return by_block, walk


def _scores(how, q_block, k_block, own: mask.Spans, i, j):
  """Masked scores [K, G·block, block] of one pair of blocks, float32. own: what its queries see."""
  block = k_block.shape[1]
  scale, softcap = how
  scores = _cap(_dot(q_block, k_block, 2, 2).astype(jnp.float32) * scale, softcap)
  offset = jnp.arange(block)
  seen = mask.inside(own, i * block + offset, j * block + offset)
  return jnp.where(jnp.tile(seen, (q_block.shape[1] // block, 1))[None], scores, NEG)


_dot = lambda a, b, on_a, on_b: jax.lax.dot_general(
  a, b, (((on_a,), (on_b,)), ((0,), (0,))), preferred_element_type=jnp.float32
)
