"""The way of prefilled prompts into rows: their keys and values, and the first token of each."""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from itune_jax.nn.attention import kv_cache
from itune_jax.sampling.decode import controls as controls_lib
from itune_jax.sampling.decode import row_state


@functools.lru_cache(maxsize=32)
def program(bind: Any) -> Callable:
  """`(params, rows, entering, stops_S) -> rows` with prompts in the places of rows that were done, and the first token
  of each. The rows are donated. Where layers have arrays of their own, each is filled by itself."""

  def admit(params, state, new, stops_S):
    model, at, texts = bind(params), new.rows_R, state.texts
    ctx, R = row_state.context(model), at.shape[0]
    put = lambda old, value: old.at[at].set(value, mode="drop")
    said = row_state.Texts(*(None if x is None else jnp.zeros((R, *x.shape[1:]), x.dtype) for x in texts))
    ends_BD = state.ends_GD if new.cache is None else new.last_BD
    controls = controls_lib.started(new.controls, new.prompts_RP, state.controls)
    token_R, said, controls = row_state.say(
      model, ends_BD[new.from_R], new.keys_R, new.limits_R, controls, said, stops_S
    )
    return row_state.Rows(
      cache=row_state.spread(_entered(state.cache, new, ctx), ctx),
      token_B=put(state.token_B, token_R),
      lengths_B=put(state.lengths_B, new.lengths_R),
      limits_B=put(state.limits_B, new.limits_R),
      keys_B=put(state.keys_B, new.keys_R),
      own_B=None if state.own_B is None else put(state.own_B, new.own_R),
      texts=jax.tree.map(put, texts, said),
      controls=controls_lib.pinned(jax.tree.map(put, state.controls, controls), ctx),
      ends_GD=state.ends_GD,
    )

  whole = jax.jit(admit, donate_argnums=1)

  def by_layer(params, state, new, stops_S):
    old, cache = state.cache, new.cache
    rows = np.asarray(new.rows_R), np.asarray(new.from_R)
    stores = enumerate(zip(old.k_LBKHS, old.v_LBKSH, strict=True))
    stores = [_layer_entered(store, np.int32(i), dataclasses.replace(cache, lead=None), *rows) for i, store in stores]
    bare = lambda cache: dataclasses.replace(cache, k_LBKHS=(), v_LBKSH=())
    state = whole(params, state._replace(cache=bare(old)), new._replace(cache=bare(cache)), stops_S)
    k, v = zip(*stores, strict=True)
    return state._replace(cache=dataclasses.replace(state.cache, k_LBKHS=k, v_LBKSH=v))

  def run(params, state, new, stops_S):
    apart = bind.mesh.size == 1 and row_state.is_cache(state.cache) and isinstance(state.cache.k_LBKHS, tuple)
    stacked = row_state.is_cache(new.cache) and not isinstance(new.cache.k_LBKHS, tuple)
    return (by_layer if apart and stacked else whole)(params, state, new, stops_S)

  return run


@functools.partial(jax.jit, donate_argnums=0)
def _layer_entered(store, layer, new, rows_R, from_R):
  """Keys and values of one layer with some rows replaced by those of a prefill. One small program for all layers: with
  every layer's arrays in one, XLA compiles for seconds."""
  return kv_cache.layer_entered(store, layer, new, rows_R, from_R)


def _entered(cache: Any, new: row_state.Entering, ctx) -> Any:
  """Caches, and what else a model keeps by row, with some rows replaced by those of smaller ones; emptied, where the
  prompts are kept elsewhere."""
  if new.cache is None:
    prompts = kv_cache.Prompts(cache.prompts.cache, jnp.asarray(new.members_GR), jnp.asarray(new.places_B))
    return dataclasses.replace(cache.emptied(new.rows_R), prompts=prompts)

  def enter(old, value):
    if row_state.is_cache(old):
      return old.entered(value, new.from_R, new.rows_R, ctx)
    return old.at[new.rows_R].set(value[new.from_R], mode="drop")

  return jax.tree.map(enter, cache, new.cache, is_leaf=row_state.is_cache)
