"""Attention over rows that are cut along their length: keys and values go round the devices of the sequence axis.

Every device holds a stretch of each row and the keys of that stretch. It attends to its own keys by the causal kernel,
then to the stretches before it as they come round, and merges the partial results by their log-sum-exp: exact, for
packed segments, windows and groups alike (ring attention: Liu et al. 2023).
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


def packed(q_BTNH, k_BTKH, v_BTKH, segments_BT, ctx, *, window=None, scale=None, softcap=0.0) -> tuple[Any, Any]:
  """As `kernels.packed`, over global arrays whose length lies along the sequence axis."""
  rules = dict(ctx.rules)
  (axis,) = rules["length"]
  how = (scale or q_BTNH.shape[-1] ** -0.5, softcap)
  local = functools.partial(_local, axis, ctx.mesh.shape[axis], how, ctx.platform)
  window = None if window is None else jnp.asarray(window, jnp.int32)
  return kernels.on_mesh(local, ctx.mesh, rules, q_BTNH, k_BTKH, v_BTKH, segments_BT, window)


def _local(axis: str, count: int, how, platform: str, q_BTNH, k_BTKH, v_BTKH, segments_BT, window):
  """One device's stretch of the rows."""
  here, T = jax.lax.axis_index(axis), q_BTNH.shape[1]
  out, lse = kernels.on_device(how, platform, q_BTNH, k_BTKH, v_BTKH, segments_BT, window)
  out, nothing = out.astype(jnp.float32), (jnp.zeros(out.shape, jnp.float32), jnp.full(lse.shape, kernels.NEG))
  visiting = (k_BTKH, v_BTKH, segments_BT)
  onwards = [(i, (i + 1) % count) for i in range(count)]
  for turn in range(1, count):
    visiting = jax.tree.map(lambda x: jax.lax.ppermute(x, axis, onwards), visiting)
    # A stretch before ours that ends in the segment in which ours begins; any other shows us nothing.
    before = (here >= turn) & jnp.any((visiting[2][:, -1] == segments_BT[:, 0]) & (segments_BT[:, 0] != 0))
    seen = functools.partial(_partial, how, platform, turn * T)
    other = jax.lax.cond(before, seen, lambda *_: nothing, q_BTNH, segments_BT, *visiting, window)
    out, lse = kernels.merge(out, lse, *other)
  return out.astype(q_BTNH.dtype), lse


def _partial(how, platform: str, ahead: int, q_BTNH, q_segments_BT, k_BTKH, v_BTKH, k_segments_BT, window):
  """Attention to a stretch that begins `ahead` positions before ours: on TPU by a kernel, else by blocks of queries."""
  B, T, N, H = q_BTNH.shape
  if platform == "tpu" and splash.supports(q_BTNH, window):
    out, lse = splash.in_front(how, q_BTNH, k_BTKH, v_BTKH, q_segments_BT, k_segments_BT)
    return out.astype(jnp.float32), lse
  block = BLOCK if T % BLOCK == 0 else T
  cut = lambda x: jnp.moveaxis(x.reshape(B, T // block, block, *x.shape[2:]), 1, 0)
  index = jnp.arange(T)[None]

  @jax.checkpoint  # backwards, too, the scores of one block exist at a time
  def one(given):
    q, segments, at = given
    seen = mask.visible(segments, k_segments_BT, ahead + at * block + jnp.arange(block)[None], index, window)
    out, lse = kernels.dense(q.astype(jnp.float32), k_BTKH, v_BTKH, seen, scale=how[0], softcap=how[1])
    return out, lse

  out, lse = jax.lax.map(one, (cut(q_BTNH), cut(q_segments_BT), jnp.arange(T // block)))
  return jnp.moveaxis(out, 0, 1).reshape(B, T, N, H), jnp.moveaxis(lse, 0, 1).reshape(B, T, N)
