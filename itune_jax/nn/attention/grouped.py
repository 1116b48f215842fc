"""Attention of rows over prompts that several of them continue (`kv_cache.Prompts`): one product a prompt for all of
its rows, whose keys are read once. Its result merges with attention over what the rows hold themselves."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from itune_jax.nn.attention import kernels
from itune_jax.nn.attention import kv_cache


def over_prompts(q_B1NH, ctx, prompts: kv_cache.Prompts, layer, *, window=None, **how) -> tuple[Any, Any]:
  """(out [B, 1, N, H], log-sum-exp [B, 1, N]) of one token a row over its prompt; for how, see `kernels.cached`.

  On a mesh rows and the prompts that they continue lie on the same shard: no keys travel.
  """
  k_GKHP, v_GKPH = prompts.cache.read(layer)
  window = None if window is None else jnp.asarray(window, jnp.int32)
  given = (q_B1NH, k_GKHP, v_GKPH, prompts.members_GR, prompts.places_B, ctx.positions_BT, prompts.cache.positions_BS)
  if ctx.mesh is None or ctx.mesh.size == 1:
    return _over(how, None, *given, window)
  of_k = ctx.spec(("rows", "kv_heads", None, None), k_GKHP.shape)
  rows, heads = of_k[0], of_k[1]  # queries' heads lie as the keys' do
  of_q, by_row = PartitionSpec(rows, None, heads, None), PartitionSpec(rows)
  run = jax.shard_map(
    functools.partial(_over, how, rows),
    mesh=ctx.mesh,
    in_specs=(of_q, of_k, of_k, by_row, by_row, by_row, by_row, PartitionSpec()),
    out_specs=(of_q, PartitionSpec(*of_q[:3])),
    check_vma=False,
  )
  return run(*given, window)


def _over(how, rows, q_B1NH, k_GKHP, v_GKPH, members_GR, places_B, q_positions_B1, positions_GP, window) -> Any:
  """One device's rows. rows: the mesh axes by which they are cut; their numbers are those of all devices."""
  B, (G, R) = q_B1NH.shape[0], members_GR.shape
  shard = 0 if rows is None else jax.lax.axis_index(rows)
  mine = members_GR - shard * B
  mine = jnp.where((mine >= 0) & (mine < B), mine, B)
  spread = lambda x, fill: jnp.take(x[:, 0], mine, axis=0, mode="fill", fill_value=fill)
  at = (spread(q_positions_B1, -1), positions_GP)
  out_GRNH, lse_GRN = kernels.cached(spread(q_B1NH, 0), k_GKHP, v_GKPH, *at, window=window, **how)
  back = lambda x: jnp.take(x.reshape(G * R, *x.shape[2:]), places_B - shard * G * R, axis=0, mode="clip")[:, None]
  return back(out_GRNH), back(lse_GRN)
