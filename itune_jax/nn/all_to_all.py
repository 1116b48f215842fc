"""Tokens travel to the experts that they chose: all-to-all along the expert axis of the mesh, and back.

Each device holds E/S experts and a share of the tokens. A token goes once to every device where one of its experts is,
with its weights there; what comes back is summed (Lepikhin et al. 2020, without their limit unless one is asked for).
"""

from collections.abc import Callable
import math
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from itune_jax.core import batch as batch_lib

AXIS = "expert"


def applies(ctx, experts: int, tokens: int) -> bool:
  """Whether these experts and tokens divide among the devices. Without an expert axis, tokens stay where they are."""
  size = lambda axis: 1 if ctx.mesh is None else ctx.mesh.shape.get(axis, 1)
  if ctx.mesh is None or AXIS not in ctx.mesh.shape or ctx.mesh.size == 1:
    return False
  # Inside, weights are whole along the other axes: without experts to spread, cutting each is worth more.
  if size(AXIS) == 1 and ctx.shards("act_mlp") > 1:
    return False
  return experts % size(AXIS) == 0 and tokens % _shards(ctx) == 0


def run(dispatch: Callable, experts: Any, x_nD, top_nk, chosen_nk, place_n1, ctx, capacity: float) -> Any:
  """Σ over chosen experts, [n, D]; `dispatch` runs a device's own experts on what has come to it.

  capacity: how many even shares (n·k/S of a device's tokens) each device takes from another; what exceeds it is
  dropped. 0: all that may come, which takes S times the memory of the tokens.
  """
  graph, state = nnx.split(experts)
  S = ctx.mesh.shape[AXIS]
  axes = (*_batch_axes(ctx), AXIS)
  tokens = PartitionSpec(axes, None)
  n, k = x_nD.shape[0] // _shards(ctx), top_nk.shape[1]
  room = min(n, math.ceil(capacity * n * k / S)) if capacity else n
  key = None if ctx.key is None else jax.random.key_data(ctx.key)

  def local(state, key, bank, *tokens):
    key, E = None if key is None else jax.random.wrap_key_data(key), jax.tree.leaves(state)[0].shape[0]
    inside = batch_lib.Ctx(None, None, key=key, bank=bank, dtype=ctx.dtype)
    own = lambda *given: dispatch(nnx.merge(graph, state), *given, inside, jax.lax.axis_index(AXIS) * E)
    return _there_and_back(own, E, S, room, *tokens)

  spread = jax.tree.map(lambda _: PartitionSpec(AXIS), state)
  whole = jax.tree.map(lambda _: PartitionSpec(), ctx.bank)
  shapes = (spread, None if key is None else PartitionSpec(), whole, *(tokens,) * 4)
  fn = jax.shard_map(local, mesh=ctx.mesh, in_specs=shapes, out_specs=tokens, check_vma=False)
  return fn(state, key, ctx.bank, x_nD, top_nk, chosen_nk, place_n1)


def _there_and_back(own: Callable, E: int, S: int, room: int, x_nD, top_nk, chosen_nk, place_n1):
  n = x_nD.shape[0]
  if S == 1:
    return own(x_nD, top_nk, chosen_nk, place_n1)
  goes_nS = jnp.any(chosen_nk[:, :, None] // E == jnp.arange(S)[None, None], axis=1)
  place_nS = jnp.where(goes_nS, jnp.cumsum(goes_nS, axis=0) - 1, room)
  # Place c for device s holds this token, or none (n).
  token_Sc = jnp.full((S, room), n).at[jnp.arange(S)[None], place_nS].set(jnp.arange(n)[:, None], mode="drop")
  take = lambda x, fill: x.at[token_Sc].get(mode="fill", fill_value=fill)
  expert_Sck = take(chosen_nk, -1) - jnp.arange(S)[:, None, None] * E
  expert_Sck = jnp.where((expert_Sck >= 0) & (expert_Sck < E), expert_Sck, E)
  send = lambda x: jax.lax.all_to_all(x, AXIS, 0, 0)
  given = (take(x_nD, 0), take(top_nk, 0), expert_Sck, take(place_n1, 0))
  came = [send(x).reshape(S * room, -1) for x in given]
  back_ScD = send(own(*came).reshape(S, room, -1))
  return jnp.zeros_like(x_nD).at[token_Sc].add(back_ScD, mode="drop")


def _batch_axes(ctx) -> tuple[str, ...]:
  return tuple(a for a in dict(ctx.rules).get("batch", ()) if a != AXIS and ctx.mesh.shape.get(a, 1) > 1)


def _shards(ctx) -> int:
  return math.prod(ctx.mesh.shape[a] for a in (*_batch_axes(ctx), AXIS))
