"""Rows of a cache that are continued token by token: state, and the programs on it.

All of it lies on the mesh and is donated from program to program; the host sees what rows have said, and which ended.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from itune_jax.core import batch as batch_lib
from itune_jax.parallel import shard
from itune_jax.nn.attention import kv_cache
from itune_jax.sampling.decode import choose

BUCKET = 64  # cache slots are a multiple of it, or of more
FEW = 16  # rows; a token of fewer takes a CPU hardly less time


class Texts(NamedTuple):
  """What rows have said so far: `count_B` tokens each; `done_B` when they ended, `stopped_B` by a stop token."""

  out_BS: Any
  logprob_BS: Any
  count_B: Any
  done_B: Any
  stopped_B: Any


class Rows(NamedTuple):
  """All that rows carry from token to token. A row that is done is free."""

  cache: kv_cache.Cache
  token_B: Any  # the last one, not yet in the cache
  lengths_B: Any  # of the prompts
  limits_B: Any  # of new tokens
  keys_B: Any
  own_B: Any  # numbers of adapters, or None
  texts: Texts


class Sampling(NamedTuple):
  """Arrays: other values compile nothing."""

  temperature: Any
  top_p: Any
  stops: Any


class Entering(NamedTuple):
  """Prefilled prompts, and which of them enter which rows; a row behind the last is none."""

  cache: kv_cache.Cache
  last_BD: Any
  from_R: Any
  rows_R: Any
  lengths_R: Any
  limits_R: Any
  keys_R: Any
  own_R: Any


def slots_for(length: int) -> int:
  """Slots of a cache for so many positions: eight sizes from one power of two to the next, to compile few shapes."""
  step = max(BUCKET, 1 << max(0, (length - 1).bit_length() - 4))
  return -(-length // step) * step


def axes_of(cache: Any) -> Any:
  """How every array of a cache lies on the mesh: keys, values and positions; what stands in front of all rows lies on
  every shard of rows."""
  of_rows = lambda x: ("rows", "kv_heads", None, None) if x.ndim >= 4 else ("rows",) + (None,) * (x.ndim - 1)

  def own(x):
    if not _is_cache(x):
      return of_rows(x)
    front = jax.tree.map(lambda _: (None, "kv_heads", None, None), x.lead)
    return dataclasses.replace(jax.tree.map(of_rows, dataclasses.replace(x, lead=None)), lead=front)

  return jax.tree.map(own, cache, is_leaf=_is_cache)


def spread(cache, ctx):
  """The cache on its mesh."""
  return jax.tree.map(ctx.constrain, cache, axes_of(cache))


def with_room(
  bind: Any, params: Any, state: Rows | None, slots: int, batch: int, new: int, mixed: bool, lead: Any = None
) -> Rows:
  """Rows whose cache has at least so many slots: free ones, these, or these in a larger cache."""
  if state is None:
    return empty_program(bind)(params, batch, slots, new, mixed, lead)
  there = min(c.slots for c in jax.tree.leaves(state.cache, is_leaf=_is_cache) if _is_cache(c))
  return state if there >= slots else grow_program(bind)(state, max(slots, slots_for(there * 3 // 2)))


@functools.lru_cache(maxsize=32)
def empty_program(bind: Any) -> Callable:
  """`(params, batch, slots, new, mixed, lead) -> rows`, all free."""

  def empty(params, B, slots, new, mixed, lead=None):
    model = bind(params)
    cache = behind(model.empty_cache(B, slots), lead)
    cache = _each(lambda c: c.by_layer(), cache) if model.is_apart else cache
    zeros = lambda *shape, dtype=jnp.int32: jnp.zeros((B, *shape), dtype)
    texts = Texts(zeros(new), zeros(new, dtype=jnp.float32), zeros(), ~zeros(dtype=bool), zeros(dtype=bool))
    keys = jax.random.split(jax.random.key(0), B)
    return Rows(spread(cache, _context(model)), zeros(), zeros(), zeros(), keys, zeros() if mixed else None, texts)

  return jax.jit(empty, static_argnums=(1, 2, 3, 4))


def behind(cache: Any, lead: Any) -> Any:
  """A cache whose rows stand behind these keys and values, if there are any."""
  return cache if lead is None else dataclasses.replace(cache, lead=lead)


@functools.lru_cache(maxsize=32)
def lead_program(bind: Any) -> Callable:
  """`cache -> lead`: keys and values of its first row, for all rows of another, on every device."""
  return jax.jit(lambda cache: shard.everywhere((cache.k_LBKHS[:, 0], cache.v_LBKSH[:, 0]), bind.mesh))


@functools.lru_cache(maxsize=32)
def grow_program(bind: Any) -> Callable:
  """`(rows, slots) -> rows` with a larger cache."""

  def grow(state, slots):
    return state._replace(cache=_each(lambda cache: cache.widened(slots), state.cache))

  return jax.jit(grow, static_argnums=1)


def enough_to_halve(bind: Any, held: int) -> int | None:
  """How many of so many rows have to be free for half of them to be left out; None where fewer rows are no quicker.

  An accelerator reads all weights for every token, however many rows there are; a CPU multiplies."""
  mesh = bind.mesh
  pays = mesh.size == 1 and mesh.devices.flat[0].platform == "cpu" and held % 2 == 0 and held >= 2 * FEW
  return held // 2 if pays else None


def halved(bind: Any, state: Rows, holders: list[int | None]) -> tuple[Rows, list[int | None]]:
  """Half of the rows, with all those that are held."""
  rows = sorted(range(len(holders)), key=lambda row: holders[row] is None)[: len(holders) // 2]
  return pick_program(bind)(state, jnp.asarray(rows)), [holders[row] for row in rows]


@functools.lru_cache(maxsize=32)
def pick_program(bind: Any) -> Callable:
  """`(rows, from_R) -> rows`: only these."""

  def pick(state, from_R):
    take = lambda x: x.picked(from_R) if _is_cache(x) else x[from_R]
    return jax.tree.map(take, state, is_leaf=_is_cache)

  return jax.jit(pick)


@functools.lru_cache(maxsize=32)
def texts_program(bind: Any) -> Callable:
  """What rows have said, whole in every process."""
  return jax.jit(lambda state: shard.everywhere(state.texts, bind.mesh))


@functools.lru_cache(maxsize=32)
def admit_program(bind: Any) -> Callable:
  """`(params, rows, entering, sampling) -> rows` with prompts in the places of rows that were done, and the first token
  of each. The rows are donated."""

  def admit(params, state, new, sampling):
    model, at, texts = bind(params), new.rows_R, state.texts
    put = lambda old, value: old.at[at].set(value, mode="drop")
    said = Texts(*(jnp.zeros((at.shape[0], *x.shape[1:]), x.dtype) for x in texts))
    token_R, said = _say(model, new.last_BD[new.from_R], new.keys_R, new.limits_R, said, sampling)
    return Rows(
      spread(_entered(state.cache, new, ctx := _context(model)), ctx),
      put(state.token_B, token_R),
      put(state.lengths_B, new.lengths_R),
      put(state.limits_B, new.limits_R),
      put(state.keys_B, new.keys_R),
      None if state.own_B is None else put(state.own_B, new.own_R),
      Texts(*map(put, texts, said)),
    )

  return jax.jit(admit, donate_argnums=1)


@functools.lru_cache(maxsize=32)
def loop_program(bind: Any) -> Callable:
  """`(params, rows, enough, sampling) -> rows`: goes on until so many rows are done. The rows are donated."""

  def loop(params, state, enough, sampling):
    model = bind(params)

    def alive(state):
      return jnp.sum(state.texts.done_B) < enough

    def advance(state):
      done_B, at_B = state.texts.done_B, state.lengths_B + state.texts.count_B - 1
      ctx = _context(model, (~done_B).astype(jnp.int32)[:, None], at_B[:, None], state.own_B)
      hidden_B1D, cache = model.decode(state.token_B[:, None], ctx, state.cache)
      token_B, texts = _say(model, hidden_B1D[:, 0], state.keys_B, state.limits_B, state.texts, sampling)
      return state._replace(cache=spread(cache, ctx), token_B=token_B, texts=texts)

    return jax.lax.while_loop(alive, advance, state)

  return jax.jit(loop, donate_argnums=1)


def _context(model, valid_BT=None, positions_BT=None, own_B=None):
  own_BT = None if own_B is None else own_B[:, None]
  return model.context(batch_lib.Batch(None, None, None, valid_BT, positions_BT, adapters_BT=own_BT))


def _say(model, hidden_BD, keys_B, limits_B, texts: Texts, sampling: Sampling) -> tuple[Any, Texts]:
  """The next token of every row, booked where the row is alive and the token does not end it."""
  new = texts.out_BS.shape[1]
  keys = jax.vmap(jax.random.fold_in)(keys_B, texts.count_B)
  token_B, logprob_B = choose.choose(model.project(hidden_BD), keys, sampling.temperature, sampling.top_p)
  ends_B = jnp.any(token_B[:, None] == sampling.stops[None], axis=1)
  says_B = ~texts.done_B & ~ends_B
  at = (jnp.arange(token_B.shape[0]), jnp.where(says_B, texts.count_B, new))
  count_B = texts.count_B + says_B
  return token_B, Texts(
    texts.out_BS.at[at].set(token_B, mode="drop"),
    texts.logprob_BS.at[at].set(logprob_B, mode="drop"),
    count_B,
    texts.done_B | ends_B | (count_B >= limits_B),
    texts.stopped_B | (~texts.done_B & ends_B),
  )


def _is_cache(x: Any) -> bool:
  return isinstance(x, kv_cache.Cache)


def _each(fn: Callable, cache: Any) -> Any:
  """A function of every cache of a model that may have several (encoder-decoders)."""
  return jax.tree.map(lambda x: fn(x) if _is_cache(x) else x, cache, is_leaf=_is_cache)


def _entered(cache: Any, new: Entering, ctx) -> Any:
  """Caches, and what else a model keeps by row, with some rows replaced by those of smaller ones."""

  def enter(old, value):
    if _is_cache(old):
      return old.entered(value, new.from_R, new.rows_R, ctx)
    return old.at[new.rows_R].set(value[new.from_R], mode="drop")

  return jax.tree.map(enter, cache, new.cache, is_leaf=_is_cache)
