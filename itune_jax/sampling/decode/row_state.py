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
from itune_jax.core import host
from itune_jax.parallel import shard
from itune_jax.nn.attention import kv_cache
from itune_jax.sampling.decode import choose
from itune_jax.sampling.decode import controls as controls_lib

BUCKET = 64  # cache slots are a multiple of it, or of more
FEW = 16  # rows; a token of fewer takes a CPU hardly less time
ROOM = 768  # slots; of rows with more a CPU continues fewer at a time, so that a cache does not grow with its prompts


class Shape(NamedTuple):
  """What compiles: rows, their slots, places for new tokens, whether rows have adapters of their own, the kind of their
  settings, the vocabulary where its tokens are counted; of prompts kept once how many there may be, rows that continue
  each at most, and slots; width and dtype of hidden states, where theirs are kept."""

  rows: int
  slots: int
  new: int
  mixed: bool = False
  kind: controls_lib.Kind = controls_lib.Kind()
  vocab: int = 0
  prompts: tuple[int, int, int] | None = None
  ends: tuple[int, str] | None = None


class Texts(NamedTuple):
  """What rows have said so far: `count_B` tokens each; `done_B` when they ended, `stopped_B` by a stop token, which
  with its log-probability is `last_B`, `last_logprob_B`. `top_*` are the likeliest tokens of each place, if asked for.
  """

  out_BS: Any
  logprob_BS: Any
  count_B: Any
  done_B: Any
  stopped_B: Any
  last_B: Any
  last_logprob_B: Any
  top_BSK: Any = None
  top_logprob_BSK: Any = None


class Rows(NamedTuple):
  """All that rows carry from token to token. A row that is done is free."""

  cache: Any  # `kv_cache.Cache`, or what holds several
  token_B: Any  # the last one, not yet in the cache
  lengths_B: Any  # of the prompts
  limits_B: Any  # of new tokens
  keys_B: Any
  own_B: Any  # numbers of adapters, or None
  texts: Texts
  controls: controls_lib.Controls
  ends_GD: Any = None  # the hidden state of the last token of each prompt that is kept once


class Round(NamedTuple):
  """Arrays: other values compile nothing. Ids that end a text (-1 for none), tokens of a row in this round at most, and
  rows that are free whether they know it or not."""

  stops_S: Any
  most: Any
  free_B: Any


class Entering(NamedTuple):
  """Prefilled prompts, and which of them enter which rows; a row behind the last is none. Without a cache of their own
  they are prompts of the state (`Cache.prompts`), whose rows the tables then name."""

  cache: Any
  last_BD: Any
  from_R: Any
  rows_R: Any
  lengths_R: Any
  limits_R: Any
  keys_R: Any
  own_R: Any
  controls: controls_lib.Controls
  prompts_RP: Any = None  # their ids, where tokens are counted
  members_GR: Any = None
  places_B: Any = None


def slots_for(length: int) -> int:
  """Slots of a cache for so many positions: eight sizes from one power of two to the next, to compile few shapes."""
  step = max(BUCKET, 1 << max(0, (length - 1).bit_length() - 4))
  return -(-length // step) * step


def roomy(length: int) -> int:
  """The same in two sizes from one power of two to the next."""
  size = max(BUCKET, 1 << (length - 1).bit_length())
  return size * 3 // 4 if size * 3 // 4 >= length and size >= 4 * BUCKET else size


def host_bytes(state: "Rows") -> int:
  """What the cache takes of the host's memory: 0 on an accelerator."""
  arrays = jax.tree.leaves(state.cache)
  return sum(x.nbytes for x in arrays if next(iter(x.devices())).platform == "cpu")


def slots_of(state: "Rows") -> int:
  """Slots of each row."""
  return min(c.slots for c in jax.tree.leaves(state.cache, is_leaf=is_cache) if is_cache(c))


def axes_of(cache: Any) -> Any:
  """How every array of a cache lies on the mesh: keys, values and positions; what stands in front of all rows lies on
  every shard of rows."""
  of_rows = lambda x: ("rows", "kv_heads", None, None) if x.ndim >= 4 else ("rows",) + (None,) * (x.ndim - 1)

  def own(x):
    if not is_cache(x):
      return of_rows(x)
    front = jax.tree.map(lambda _: (None, "kv_heads", None, None), x.lead)
    return dataclasses.replace(jax.tree.map(of_rows, dataclasses.replace(x, lead=None)), lead=front)

  return jax.tree.map(own, cache, is_leaf=is_cache)


def spread(cache, ctx):
  """The cache on its mesh."""
  return jax.tree.map(ctx.constrain, cache, axes_of(cache))


def with_room(bind: Any, params: Any, state: Rows | None, shape: Shape, lead: Any = None, shards: int = 1) -> Rows:
  """Rows whose cache has at least so many slots, and places for prompts: free ones, these, or these in a larger one."""
  if state is None:
    empty: Rows = empty_program(bind)(params, shape, lead)
    host.give_back(host_bytes(empty))  # of whatever ran before
    return empty
  if shape.prompts is None:
    return state if slots_of(state) >= shape.slots else _with_slots(bind, state, shape.slots)
  many, there = state.cache.prompts.cache.positions_BS.shape
  size = max(many, shape.prompts[0]), _grown(there, shape.prompts[2])
  return state if size == (many, there) else grow_prompts_program(bind)(state, *size, shards)


def _grown(there: int, slots: int) -> int:
  return there if there >= slots else max(slots, slots_for(there * 3 // 2))


@functools.lru_cache(maxsize=32)
def empty_program(bind: Any) -> Callable:
  """`(params, shape, lead) -> rows`, all free."""

  def empty(params, shape, lead=None):
    model, B = bind(params), shape.rows
    cache = behind(model.empty_cache(B, shape.slots), lead)
    zeros = lambda *shape, dtype=jnp.int32: jnp.zeros((B, *shape), dtype)
    ends_GD = None
    if shape.prompts is not None and shape.ends is not None:
      G, R, P = shape.prompts
      store = dataclasses.replace(model.empty_cache(G, P), lead=None)
      prompts = kv_cache.Prompts(store, jnp.full((G, R), B, jnp.int32), zeros())
      cache, ends_GD = dataclasses.replace(cache, prompts=prompts), jnp.zeros((G, shape.ends[0]), shape.ends[1])
    cache = _each(lambda c: c.by_layer(), cache) if model.is_apart else cache
    keys = jax.random.split(jax.random.key(0), B)
    return Rows(
      spread(cache, context(model)),
      *(zeros(), zeros(), zeros(), keys, zeros() if shape.mixed else None),
      _no_texts(B, shape.new, shape.kind.top),
      controls_lib.neutral(B, shape.kind, shape.vocab, context(model)),
      ends_GD,
    )

  return jax.jit(empty, static_argnums=1)


def _no_texts(B: int, new: int, top: int) -> Texts:
  zeros = lambda *shape, dtype=jnp.int32: jnp.zeros((B, *shape), dtype)
  return Texts(
    out_BS=zeros(new),
    logprob_BS=zeros(new, dtype=jnp.float32),
    count_B=zeros(),
    done_B=~zeros(dtype=bool),
    stopped_B=zeros(dtype=bool),
    last_B=zeros(),
    last_logprob_B=zeros(dtype=jnp.float32),
    top_BSK=zeros(new, top) if top else None,
    top_logprob_BSK=zeros(new, top, dtype=jnp.float32) if top else None,
  )


def vocabulary(bind: Any, params: Any, hidden_BD: Any) -> int:
  """How many tokens the model chooses from."""
  return jax.eval_shape(lambda params, hidden_BD: bind(params).project(hidden_BD), params, hidden_BD).shape[-1]


def behind(cache: Any, lead: Any) -> Any:
  """A cache whose rows stand behind these keys and values, if there are any."""
  return cache if lead is None else dataclasses.replace(cache, lead=lead)


@functools.lru_cache(maxsize=32)
def lead_program(bind: Any) -> Callable:
  """`cache -> lead`: keys and values of its first row, for all rows of another, on every device."""
  return jax.jit(lambda cache: shard.everywhere((cache.k_LBKHS[:, 0], cache.v_LBKSH[:, 0]), bind.mesh))


def _with_slots(bind: Any, state: Rows, slots: int) -> Rows:
  """The same in more slots. Where layers have arrays of their own, each is copied by itself and then freed: a second
  cache never stands beside the first."""
  cache = state.cache
  if not (is_cache(cache) and isinstance(cache.k_LBKHS, tuple)):
    return grow_program(bind)(state, slots)
  freed, stores = host_bytes(state), []
  for k, v in zip(cache.k_LBKHS, cache.v_LBKSH, strict=True):
    stores.append(_layer_with_slots(k, v, cache.positions_BS, slots))
    k.delete()
    v.delete()
  bare = state._replace(cache=dataclasses.replace(cache, k_LBKHS=(), v_LBKSH=()))
  state, (k, v) = grow_program(bind)(bare, slots), zip(*stores, strict=True)
  host.give_back(freed)
  return state._replace(cache=dataclasses.replace(state.cache, k_LBKHS=k, v_LBKSH=v))


@functools.partial(jax.jit, static_argnums=3)
def _layer_with_slots(k, v, positions_BS, slots):
  wide = kv_cache.Cache((k,), (v,), positions_BS).widened(slots)
  return wide.k_LBKHS[0], wide.v_LBKSH[0]


@functools.lru_cache(maxsize=32)
def grow_program(bind: Any) -> Callable:
  """`(rows, slots) -> rows` with a larger cache."""

  def grow(state, slots):
    return state._replace(cache=_each(lambda cache: cache.widened(slots), state.cache))

  return jax.jit(grow, static_argnums=1)


@functools.lru_cache(maxsize=32)
def grow_prompts_program(bind: Any) -> Callable:
  """`(rows, many, slots, shards) -> rows` with places for so many prompts, of so many slots; nobody is said to continue
  them."""

  def grow(state, many, slots, shards):
    prompts, (old, R) = state.cache.prompts, state.cache.prompts.members_GR.shape
    members_GR = jnp.full((many, R), state.token_B.shape[0], jnp.int32)
    prompts = dataclasses.replace(prompts, cache=prompts.cache.roomier(many, slots, shards), members_GR=members_GR)
    ends_GD = kv_cache.more_rows(state.ends_GD, 0, shards, (many - old) // shards)
    return state._replace(cache=dataclasses.replace(state.cache, prompts=prompts), ends_GD=ends_GD)

  return jax.jit(grow, static_argnums=(1, 2, 3))


def enough_to_halve(bind: Any, held: int) -> int | None:
  """How many of so many rows have to be free for half of them to be left out; None where fewer rows are no quicker.

  An accelerator reads all weights for every token, however many rows there are; a CPU multiplies."""
  mesh = bind.mesh
  pays = mesh.size == 1 and mesh.devices.flat[0].platform == "cpu" and held % 2 == 0 and held >= 2 * FEW
  return held // 2 if pays else None


@functools.lru_cache(maxsize=32)
def pick_program(bind: Any) -> Callable:
  """`(rows, from_R, from_G, members_GR, places_R) -> rows`: only these, and of prompts kept once only those."""

  def pick(state, from_R, from_G=None, members_GR=None, places_R=None):
    take = lambda x: x.picked(from_R) if is_cache(x) else x[from_R]
    found = jax.tree.map(take, state._replace(ends_GD=None), is_leaf=is_cache)
    if from_G is None or members_GR is None or places_R is None:
      return found
    prompts = kv_cache.Prompts(state.cache.prompts.cache.picked(from_G), members_GR, places_R)
    return found._replace(cache=dataclasses.replace(found.cache, prompts=prompts), ends_GD=state.ends_GD[from_G])

  return jax.jit(pick)


def texts(bind: Any, state: Rows) -> Texts:
  """What rows have said, whole in every process."""
  return state.texts if bind.mesh.size == 1 else _texts_program(bind)(state)


@functools.lru_cache(maxsize=32)
def _texts_program(bind: Any) -> Callable:
  return jax.jit(lambda state: shard.everywhere(state.texts, bind.mesh))


@functools.lru_cache(maxsize=32)
def settle_program(bind: Any) -> Callable:
  """`(rows, cache, last_BD, from_E, places_E) -> rows` with prompts of a prefill among those kept once, at these
  places. The rows are donated."""

  def settle(state, cache, last_BD, from_E, places_E):
    prompts, ctx = state.cache.prompts, batch_lib.Ctx(None, None, mesh=bind.mesh, rules=bind.rules)
    store = dataclasses.replace(prompts.cache.entered(cache, from_E, places_E, ctx), lead=None)
    prompts = dataclasses.replace(prompts, cache=store)
    ends_GD = state.ends_GD.at[places_E].set(last_BD[from_E].astype(state.ends_GD.dtype), mode="drop")
    return state._replace(
      cache=spread(dataclasses.replace(state.cache, prompts=prompts, lead=cache.lead), ctx), ends_GD=ends_GD
    )

  return jax.jit(settle, donate_argnums=0)


@functools.lru_cache(maxsize=32)
def loop_program(bind: Any) -> Callable:
  """`(params, rows, enough, round) -> rows`: goes on until so many rows are done, or the round is over. The rows are
  donated."""

  def loop(params, state, enough, how):
    model = bind(params)

    def alive(carry):
      state, said = carry
      return (jnp.sum(state.texts.done_B) < enough) & (said < how.most)

    def advance(carry):
      state, said = carry
      done_B, at_B = state.texts.done_B, state.lengths_B + state.texts.count_B - 1
      ctx = context(model, (~done_B).astype(jnp.int32)[:, None], at_B[:, None], state.own_B)
      hidden_B1D, cache = model.decode(state.token_B[:, None], ctx, state.cache)
      given = (state.keys_B, state.limits_B, state.controls, state.texts, how.stops_S)
      token_B, texts, controls = say(model, hidden_B1D[:, 0], *given)
      controls = controls_lib.pinned(controls, ctx)
      return state._replace(cache=spread(cache, ctx), token_B=token_B, texts=texts, controls=controls), said + 1

    state = state._replace(texts=state.texts._replace(done_B=state.texts.done_B | how.free_B))
    return jax.lax.while_loop(alive, advance, (state, jnp.int32(0)))[0]

  return jax.jit(loop, donate_argnums=1)


def context(model, valid_BT=None, positions_BT=None, own_B=None):
  """What layers are told of these positions [B, T], and of the adapters of rows [B]."""
  own_BT = None if own_B is None else own_B[:, None]
  return model.context(batch_lib.Batch(None, None, None, valid_BT, positions_BT, adapters_BT=own_BT))


def say(model, hidden_BD, keys_B, limits_B, controls, texts: Texts, stops_S) -> tuple[Any, Texts, Any]:
  """The next token of every row, booked where the row is alive and the token does not end it."""
  B, new = texts.out_BS.shape
  logits_BV, alive_B = model.project(hidden_BD), ~texts.done_B
  keys = jax.vmap(jax.random.fold_in)(keys_B, texts.count_B)
  edited_BV = choose.edited(logits_BV, controls, texts.count_B, stops_S)
  must_B, how = choose.forced(controls, texts.count_B), dict(alive=alive_B, edited_BV=edited_BV)
  token_B, logprob_B = choose.choose(logits_BV, keys, *controls[:4], must_B=must_B, **how)
  ends_B = jnp.any(token_B[:, None] == stops_S[None], axis=1)
  says_B, stops_B = alive_B & ~ends_B, alive_B & ends_B
  at = (jnp.arange(B), jnp.where(says_B, texts.count_B, new))
  put = lambda old, value: old.at[at].set(value, mode="drop")
  count_B = texts.count_B + says_B
  texts = texts._replace(
    out_BS=put(texts.out_BS, token_B),
    logprob_BS=put(texts.logprob_BS, logprob_B),
    count_B=count_B,
    done_B=texts.done_B | ends_B | (count_B >= limits_B),
    stopped_B=texts.stopped_B | stops_B,
    last_B=jnp.where(stops_B, token_B, texts.last_B),
    last_logprob_B=jnp.where(stops_B, logprob_B, texts.last_logprob_B),
  )
  if texts.top_BSK is not None:
    ids_BK, likely_BK = choose.top(logits_BV, texts.top_BSK.shape[2])
    texts = texts._replace(top_BSK=put(texts.top_BSK, ids_BK), top_logprob_BSK=put(texts.top_logprob_BSK, likely_BK))
  if (counted := controls.penalties) is not None:
    one = (jnp.arange(B), jnp.where(says_B, token_B, controls_lib.NOWHERE))
    controls = controls._replace(penalties=counted._replace(counts_BV=counted.counts_BV.at[one].add(1, mode="drop")))
  return token_B, texts, controls


def is_cache(x: Any) -> bool:
  """Whether it is one cache of keys and values: of several, or of more than those, it is a part."""
  return isinstance(x, kv_cache.Cache)


def _each(fn: Callable, cache: Any) -> Any:
  """A function of every cache of a model that may have several (encoder-decoders)."""
  return jax.tree.map(lambda x: fn(x) if is_cache(x) else x, cache, is_leaf=is_cache)
