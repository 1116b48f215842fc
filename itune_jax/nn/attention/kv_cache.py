"""The key-value cache: one interface over slots, whatever stores them.

A slot remembers the position it holds (-1 when empty), so visibility never depends on where a key lies. A
window shorter than the sequence makes the cache a ring: slot = position mod size. Rows keep their own cursors,
so prompts of different length need no left padding. Keys are stored transposed: scores are then a matmul that
reads them where they are.
"""

from collections.abc import Callable
import dataclasses
import functools
import math
from typing import Any

import jax
from jax.sharding import PartitionSpec
import jax.numpy as jnp

from itune_jax.core import axes as axes_lib


@functools.partial(jax.tree_util.register_dataclass, data_fields=("cache", "members_GR", "places_B"), meta_fields=())
@dataclasses.dataclass(frozen=True)
class Prompts:
  """Prompts that several rows continue, each kept once: a row of `cache` for each of G.

  `members_GR` are the rows that continue each, a number behind the last row where they are fewer than R. `places_B`
  is where each row stands among them, flattened.
  """

  cache: "Cache"
  members_GR: jax.Array
  places_B: jax.Array


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=("k_LBKHS", "v_LBKSH", "positions_BS", "lead", "prompts"),
  meta_fields=(),
)
@dataclasses.dataclass(frozen=True)
class Cache:
  """Keys and values of all layers, as one array each or (`by_layer`) as one for each layer.

  `positions_BS` is shared by the layers: they advance together. `lead` holds keys [L, K, H, P] and values [L, K, P, H]
  of tokens in front that all rows see, where there are any (learned ones, or what all prompts begin with): made once,
  read with every token. `prompts` are those of all rows, where several rows continue one: rows then hold what comes
  behind their prompts.
  """

  k_LBKHS: jax.Array | tuple[jax.Array, ...]
  v_LBKSH: jax.Array | tuple[jax.Array, ...]
  positions_BS: jax.Array
  lead: tuple[jax.Array, jax.Array] | None = None
  prompts: Prompts | None = None

  @classmethod
  def empty(cls, layers: int, batch: int, slots: int, kv_heads: int, head_dim: int, dtype=jnp.float32) -> "Cache":
    """A cache with every slot empty."""
    lead = (layers, batch, kv_heads)
    k_LBKHS, v_LBKSH = jnp.zeros((*lead, head_dim, slots), dtype), jnp.zeros((*lead, slots, head_dim), dtype)
    return cls(k_LBKHS, v_LBKSH, jnp.full((batch, slots), -1, jnp.int32))

  def by_layer(self) -> "Cache":
    """The same with arrays of each layer's own, for layers that run one by one: none is cut out of a larger one."""
    k, v, prompts = tuple(self.k_LBKHS), tuple(self.v_LBKSH), self.prompts
    if prompts is not None:
      prompts = dataclasses.replace(prompts, cache=prompts.cache.by_layer())
    return dataclasses.replace(self, k_LBKHS=k, v_LBKSH=v, prompts=prompts)

  def widened(self, slots: int) -> "Cache":
    """The same in more slots. A position's slot is the position mod their number, and positions need not begin at 0
    (behind `lead` they do not): all rows are turned by where the first of them begin."""
    if slots == self.slots:
      return self
    first = jnp.min(jnp.where(self.positions_BS < 0, jnp.iinfo(jnp.int32).max, self.positions_BS))
    first = jnp.where(jnp.any(self.positions_BS >= 0), first, 0)

    def wide(x, axis, fill=0, turned=True):
      turn = (lambda x, by: jnp.roll(x, by, axis)) if turned else (lambda x, by: x)
      x = turn(x, -(first % self.slots))
      x = jnp.pad(x, [(0, slots - self.slots if i == axis else 0) for i in range(x.ndim)], constant_values=fill)
      return turn(x, first % slots)

    def widen(cache, turned):
      return dataclasses.replace(
        cache,
        k_LBKHS=jax.tree.map(lambda x: wide(x, x.ndim - 1, turned=turned), cache.k_LBKHS),
        v_LBKSH=jax.tree.map(lambda x: wide(x, x.ndim - 2, turned=turned), cache.v_LBKSH),
        positions_BS=wide(cache.positions_BS, 1, -1, turned),
      )

    # Mostly positions begin at 0, and four copies of every array are spared.
    return jax.lax.cond(first == 0, lambda c: widen(c, False), lambda c: widen(c, True), self)

  @property
  def slots(self) -> int:
    """Number of slots of each row."""
    return self.positions_BS.shape[1]

  def mark(self, positions_BT, valid_BT, rows_BT=None) -> "Cache":
    """Takes slots for these positions, once for all layers and before any of them writes.

    rows_BT names the cache row of every position (a packed prefill fills many); by default it is the batch row.
    """
    rows = jnp.arange(positions_BT.shape[0])[:, None] if rows_BT is None else rows_BT
    slots = jnp.where(valid_BT, positions_BT % self.slots, self.slots)
    return dataclasses.replace(self, positions_BS=self.positions_BS.at[rows, slots].set(positions_BT, mode="drop"))

  def write(self, layer, k_BTKH, v_BTKH, positions_BT, valid_BT, rows_BT=None, ctx=None) -> "Cache":
    """Stores keys and values of one layer; positions that are not valid are dropped.

    ctx: of a mesh where rows of the batch lie with the rows of the cache that they fill: each device writes its own.
    """
    here = jnp.arange(positions_BT.shape[0])[:, None] if rows_BT is None else rows_BT
    rows = jnp.broadcast_to(here, positions_BT.shape)
    slots = jnp.where(valid_BT, positions_BT % self.slots, self.slots)
    apart = isinstance(self.k_LBKHS, tuple)
    all_k: Any = self.k_LBKHS
    all_v: Any = self.v_LBKSH
    stores = (all_k[layer], all_v[layer]) if apart else (all_k, all_v)
    new = tuple(x.astype(store.dtype) for x, store in zip((k_BTKH, v_BTKH), stores, strict=True))

    def put(stores, new, rows, slots, lead):
      every = slice(None)
      k = stores[0].at[(*lead, rows, every, every, slots)].set(new[0], mode="drop")
      return k, stores[1].at[(*lead, rows, every, slots)].set(new[1], mode="drop")

    lead = () if apart else (jnp.asarray(layer),)
    k, v = _by_rows(put, ctx, stores, new, ("rows", None, "kv_heads", None), rows, slots, lead)
    if apart:
      k, v = _swapped(all_k, layer, k), _swapped(all_v, layer, v)
    return dataclasses.replace(self, k_LBKHS=k, v_LBKSH=v)

  def read(self, layer):
    """(k_BKHS, v_BKSH) of one layer, a Python number when the layers have arrays of their own."""
    if isinstance(self.k_LBKHS, tuple):
      return self.k_LBKHS[layer], self.v_LBKSH[layer]
    pick = lambda store: jax.lax.dynamic_index_in_dim(store, layer, keepdims=False)
    return pick(self.k_LBKHS), pick(self.v_LBKSH)

  def picked(self, from_R) -> "Cache":
    """These rows alone, without `prompts`."""
    stores = self.k_LBKHS, self.v_LBKSH
    if isinstance(self.k_LBKHS, tuple):
      k, v = _rows(stores, from_R)
    else:
      k, v = jax.tree.map(lambda x: x[:, from_R], stores)
    return Cache(k, v, self.positions_BS[from_R], self.lead)

  def entered(self, new: "Cache", from_R, rows_R, ctx=None) -> "Cache":
    """Rows replaced by some of a cache of no more slots; a number behind the last drops one.

    ctx: of a mesh where both rows lie together, and their numbers with them.
    """
    new = new.widened(self.slots)
    apart = isinstance(self.k_LBKHS, tuple)

    def put(stores, new, rows_R, from_R):
      if apart:
        return _copied(stores, new, rows_R, from_R)
      put_one = lambda old, x: old.at[:, rows_R].set(x[:, from_R].astype(old.dtype), mode="drop")
      return jax.tree.map(put_one, stores, new)

    stores, new_stores = (self.k_LBKHS, self.v_LBKSH), (new.k_LBKHS, new.v_LBKSH)
    k, v = _by_rows(put, ctx, stores, new_stores, ("rows", "kv_heads", None, None), jnp.asarray(rows_R), from_R=from_R)
    positions_BS = self.positions_BS.at[rows_R].set(new.positions_BS[from_R], mode="drop")
    return Cache(k, v, positions_BS, new.lead)

  def emptied(self, rows_R) -> "Cache":
    """The same with nothing in these rows; a number behind the last is none."""
    return dataclasses.replace(self, positions_BS=self.positions_BS.at[rows_R].set(-1, mode="drop"))

  def roomier(self, rows: int, slots: int, shards: int = 1) -> "Cache":
    """The same in at least as many rows, the new ones empty, and slots; each shard's rows stay together."""
    more = (rows - self.positions_BS.shape[0]) // shards
    wide = functools.partial(more_rows, shards=shards, more=more)
    k, v = (jax.tree.map(lambda x: wide(x, x.ndim - 4), store) for store in (self.k_LBKHS, self.v_LBKSH))
    return dataclasses.replace(self, k_LBKHS=k, v_LBKSH=v, positions_BS=wide(self.positions_BS, 0, fill=-1)).widened(
      slots
    )


def more_rows(x, axis: int, shards: int, more: int, fill=0):
  """An array with `more` rows of `fill` behind those of each shard."""
  if not more:
    return x
  cut = x.reshape(*x.shape[:axis], shards, -1, *x.shape[axis + 1 :])
  pad = [(0, more if i == axis + 1 else 0) for i in range(cut.ndim)]
  return jnp.pad(cut, pad, constant_values=fill).reshape(*x.shape[:axis], -1, *x.shape[axis + 1 :])


def _by_rows(put: Callable, ctx: Any, stores, new, new_axes, rows, *more, from_R=None) -> Any:
  """`put(stores, new, rows, *more)`. On a mesh that cuts rows every device does it for its own, and holds what goes
  there: left to itself, the partitioner would bring everything everywhere. more: cut like rows, scalars excepted.
  from_R: rows of what is new, handed on behind the others."""
  froms = () if from_R is None else (jnp.asarray(from_R),)
  if ctx is None or ctx.mesh is None or ctx.mesh.size == 1:
    return put(stores, new, rows, *more, *froms)
  mesh, rules = ctx.mesh, dict(ctx.rules)
  spec = lambda axes: lambda x: axes_lib.partition_spec(axes, x.shape, rules, mesh)
  where, of_new = jax.tree.map(spec(("rows", "kv_heads", None, None)), stores), jax.tree.map(spec(new_axes), new)
  axes = tuple(a for a in rules["rows"] if mesh.shape.get(a, 1) > 1)
  along = lambda entry: (entry,) if isinstance(entry, str) else entry or ()
  # Cut by all axes of rows, and no stages of layers: else numbers are not local.
  cut = lambda spec: along(spec[len(spec) - 4]) == axes and not any(spec[: len(spec) - 4])
  shards = math.prod(mesh.shape[a] for a in axes)
  if not axes or not all(map(cut, jax.tree.leaves((where, of_new)))) or len(rows) % shards:
    return put(stores, new, rows, *more, *froms)

  def local(stores, new, rows, froms, *more):
    at = jax.lax.axis_index(axes)
    mine = lambda numbers, of: numbers - at * jax.tree.leaves(of)[0].shape[-4]
    own, held = mine(rows, stores), jax.tree.leaves(stores)[0].shape[-4]
    own = jnp.where((own >= 0) & (own < held), own, held)  # behind the last: dropped
    return put(stores, new, own, *more, *(mine(x, new) for x in froms))

  by_row = lambda x: PartitionSpec(axes) if x.ndim else PartitionSpec()
  in_specs = (where, of_new, by_row(rows), jax.tree.map(by_row, froms), *jax.tree.map(by_row, more))
  run = jax.shard_map(local, mesh=mesh, in_specs=in_specs, out_specs=where, check_vma=False)
  return run(stores, new, rows, froms, *more)


def _rows(arrays: Any, from_R) -> Any:
  """These rows of all arrays [B, ...], one by one: XLA on CPU gathers number by number, far slower than it copies."""
  return jax.lax.map(lambda i: jax.tree.map(lambda x: _row(x, i), arrays), from_R)


def layer_entered(store: tuple[Any, Any], layer, new: Cache, rows_R, from_R) -> tuple[Any, Any]:
  """Keys and values [B, ...] of one layer, with rows replaced by some of that layer of a stacked cache of no more
  slots; a number behind the last drops one."""
  own = Cache(_row(new.k_LBKHS, layer)[None], _row(new.v_LBKSH, layer)[None], new.positions_BS)
  own = own.widened(store[1].shape[-2])
  (k,), (v,) = _copied(((store[0],), (store[1],)), (own.k_LBKHS, own.v_LBKSH), rows_R, from_R)
  return k, v


def _copied(stores: Any, new: Any, rows_R, from_R) -> Any:
  """Rows of new [L, R, ...] in place of those of each layer's own store, without anything between; see `_rows`."""

  def one(i, stores):
    row, source = rows_R[i], from_R[i]

    def put(old, layer):
      there = (row >= 0) & (row < old.shape[0])
      x = jnp.where(there, layer.astype(old.dtype), _row(old, row))
      return jax.lax.dynamic_update_index_in_dim(old, x, row, 0)

    into = lambda layers, x: tuple(put(old, _row(x[at], source)) for at, old in enumerate(layers))
    return tuple(map(into, stores, new))

  return jax.lax.fori_loop(0, rows_R.shape[0], one, stores)


def _row(x, i):
  return jax.lax.dynamic_index_in_dim(x, i, keepdims=False)


def _swapped(arrays: tuple[jax.Array, ...], i: int, new: jax.Array) -> tuple[jax.Array, ...]:
  return (*arrays[:i], new, *arrays[i + 1 :])
