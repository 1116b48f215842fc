"""Layers spread over the stages of a mesh: micro-batches pass through them one behind the other.

All stages work at the same time, each on another micro-batch; between two ticks every micro-batch moves on one stage
(Huang et al. 2019). The stages are a vmapped axis that lies on the mesh axis `stage`, so the move is a roll, which the
compiler makes a collective permute. Of M + S - 1 ticks each stage is idle in S - 1.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp

from itune_jax.core import errors
from itune_jax.nn import stack

AXIS = "stage"
_BY_ROW = ("adapters_BT", "groups_BT", "positions_BT", "segments_BT", "prefix_BT", "rows_B")


def applies(ctx, cache, rows: int) -> bool:
  """Whether layers run so: on a mesh with stages, without a cache, with a row for every data shard."""
  return cache is None and ctx.mesh is not None and ctx.mesh.shape.get(AXIS, 1) > 1 and rows % ctx.shards("batch") == 0


def run(layers: Any, x_BTD, ctx, make_args: Callable[[Any], tuple], *, per_layer: Any, remat: stack.Remat) -> Any:
  """x [B, T, D] behind all layers. make_args: what a layer gets besides (rotary tables), of a micro-batch's context.

  A micro-batch is one row of each data shard. Raises InputError when the layers do not divide among the stages, or
  give sums of their own (mixtures of experts).
  """
  graph, state = nnx.split(layers)
  S, depth = ctx.mesh.shape[AXIS], jax.tree.leaves(state)[0].shape[0]
  if depth % S:
    raise errors.InputError(f"{depth} layers do not divide among {S} stages: change MeshSpec.stage")
  cut = lambda a: a.reshape(S, depth // S, *a.shape[1:])
  state, given = jax.tree.map(cut, state), jax.tree.map(cut, per_layer)
  x_MbTD = _micro_batches(x_BTD, ctx)
  rows = {name: _micro_batches(a, ctx) for name in _BY_ROW if (a := getattr(ctx, name)) is not None}
  M = x_MbTD.shape[0]

  def stage(state, given, x_bTD, rows, s):
    own = dataclasses.replace(ctx, noise_BT=None, images=None, aux=None, **rows)
    stage, first = nnx.merge(graph, state), s * (depth // S)
    y_bTD, _, aux = stack.run(stage, x_bTD, own, *make_args(own), per_layer=given, remat=remat, first=first)
    if jax.tree.leaves(aux):
      raise errors.InputError("MeshSpec.stage: mixtures of experts do not run in stages; use MeshSpec.expert")
    return y_bTD

  stages = jax.vmap(stage, spmd_axis_name=AXIS)
  spread = lambda x_SbTD: ctx.constrain(x_SbTD, ("stage", "batch", "length", "act_embed"))

  def tick(carry, t):
    x_SbTD, out_MbTD = carry
    enters = jax.lax.dynamic_index_in_dim(x_MbTD, jnp.minimum(t, M - 1), keepdims=False)
    x_SbTD = spread(jnp.roll(x_SbTD, 1, axis=0).at[0].set(enters))
    m_S = jnp.clip(t - jnp.arange(S), 0, M - 1)  # stages without a micro-batch work on one whose result is not kept
    own = {name: jnp.take(a, m_S, axis=0) for name, a in rows.items()}
    x_SbTD = spread(stages(state, given, x_SbTD, own, jnp.arange(S)))
    # What leaves before the first micro-batch is through is written over by it.
    out_MbTD = jax.lax.dynamic_update_index_in_dim(out_MbTD, x_SbTD[-1], jnp.maximum(t - (S - 1), 0), axis=0)
    return (x_SbTD, out_MbTD), None

  start = (spread(jnp.zeros((S, *x_MbTD.shape[1:]), x_BTD.dtype)), jnp.zeros_like(x_MbTD))
  (_, out_MbTD), _ = jax.lax.scan(tick, start, jnp.arange(M + S - 1))
  return out_MbTD.swapaxes(0, 1).reshape(x_BTD.shape)


def _micro_batches(x, ctx):
  """[B, ...] as [M, b, ...]: micro-batch m holds row m of every data shard, so no row leaves its shard."""
  b = ctx.shards("batch")
  return x.reshape(b, x.shape[0] // b, *x.shape[1:]).swapaxes(0, 1)
