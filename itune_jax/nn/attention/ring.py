"""Attention over rows that are cut along their length: keys and values go round the devices of the sequence axis.

Every device holds a stretch of each row and the keys of that stretch. It attends to its own keys by the causal kernel,
then to the stretches before it as they come round, and merges the partial results by their log-sum-exp: exact, for
packed segments, windows, grouped queries and branches whose trunk lies in other stretches alike (ring attention: Liu
et al. 2023).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from itune_jax.nn.attention import kernels
from itune_jax.nn.attention import mask
from itune_jax.nn.attention import splash

BLOCK = 256  # queries whose scores against a visiting stretch exist at a time


def applies(ctx, length: int) -> bool:
  """Whether rows of this length are cut along a sequence axis here."""
  shards = ctx.shards("length")
  return shards > 1 and length % shards == 0


def packed(q_BTNH, k_BTKH, v_BTKH, rows: mask.Rows, ctx, *, window=None, scale=None, softcap=0.0) -> tuple[Any, Any]:
  """As `kernels.packed`, over global arrays whose length lies along the sequence axis."""
  rules = dict(ctx.rules)
  (axis,) = rules["length"]
  how = (scale or q_BTNH.shape[-1] ** -0.5, softcap)
  local = functools.partial(_local, axis, ctx.mesh.shape[axis], how, ctx.platform)
  window = None if window is None else jnp.asarray(window, jnp.int32)
  return kernels.on_mesh(local, ctx.mesh, rules, q_BTNH, k_BTKH, v_BTKH, rows, window)


def _local(axis: str, count: int, how, platform: str, q_BTNH, k_BTKH, v_BTKH, rows: mask.Rows, window):
  """One device's stretch of the rows."""
  here, T = jax.lax.axis_index(axis), q_BTNH.shape[1]
  out, lse = kernels.on_device(how, platform, q_BTNH, k_BTKH, v_BTKH, mask.renumbered(rows), window)
  out, nothing = out.astype(jnp.float32), (jnp.zeros(out.shape, jnp.float32), jnp.full(lse.shape, kernels.NEG))
  visiting = (k_BTKH, v_BTKH, rows)
  onwards = [(i, (i + 1) % count) for i in range(count)]
  for turn in range(1, count):
    visiting = jax.tree.map(lambda x: jax.lax.ppermute(x, axis, onwards), visiting)
    before = (here >= turn) & _shows(rows, visiting[2])
    seen = functools.partial(_partial, how, platform, turn * T)
    other = jax.lax.cond(before, seen, lambda *_: nothing, q_BTNH, rows, *visiting, window)
    out, lse = kernels.merge(out, lse, *other)
  return out.astype(q_BTNH.dtype), lse


def _shows(rows: mask.Rows, visiting: mask.Rows):
  """Whether a stretch before ours shows it anything: it ends in the segment in which ours begins, or holds of a trunk
  whose branches ours has."""
  begins_B = rows.segments_BT[:, 0]
  some = jnp.any((visiting.segments_BT[:, -1] == begins_B) & (begins_B != 0))
  return some if rows.groups_BT is None else some | jnp.any(_branches(rows, visiting))


def _branches(rows: mask.Rows, visiting: mask.Rows):
  """Which of our tokens, [B, T], see something of a trunk in a visiting stretch, windows aside."""
  trunks_BT = jnp.sort(jnp.maximum(visiting.groups_BT, 0), axis=1)
  at_BT = jax.vmap(jnp.searchsorted)(trunks_BT, -rows.groups_BT)
  found_BT = jnp.take_along_axis(trunks_BT, jnp.minimum(at_BT, trunks_BT.shape[1] - 1), axis=1)
  return (rows.groups_BT < 0) & (found_BT == -rows.groups_BT)


def _partial(how, platform: str, ahead: int, q_BTNH, rows: mask.Rows, k_BTKH, v_BTKH, k_rows: mask.Rows, window):
  """Attention to a stretch that begins `ahead` positions before ours: on TPU by a kernel, else by blocks of queries."""
  B, T, N, H = q_BTNH.shape
  if platform == "tpu" and splash.supports(q_BTNH, window):
    out, lse = splash.in_front(how, q_BTNH, k_BTKH, v_BTKH, rows, k_rows)
    return out.astype(jnp.float32), lse
  block = BLOCK if T % BLOCK == 0 else T
  cut = lambda x: jnp.moveaxis(x.reshape(B, T // block, block, *x.shape[2:]), 1, 0)
  index = jnp.arange(T)[None]

  @jax.checkpoint  # backwards, too, the scores of one block exist at a time
  def one(given):
    q, own, at = given
    seen = mask.visible(own, k_rows, ahead + at * block + jnp.arange(block)[None], index, window)
    attend = lambda q: kernels.dense(q, k_BTKH, v_BTKH, seen, scale=how[0], softcap=how[1])
    nothing = lambda q: (jnp.zeros_like(q), jnp.full(q.shape[:-1], kernels.NEG))
    return jax.lax.cond(jnp.any(seen), attend, nothing, q.astype(jnp.float32))

  out, lse = jax.lax.map(one, (cut(q_BTNH), jax.tree.map(cut, rows), jnp.arange(T // block)))
  return jnp.moveaxis(out, 0, 1).reshape(B, T, N, H), jnp.moveaxis(lse, 0, 1).reshape(B, T, N)
