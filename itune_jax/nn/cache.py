"""The key-value cache: one interface over slots, whatever stores them.

A slot remembers the position it holds (-1 when empty), so visibility never depends on where a key lies. A
window shorter than the sequence makes the cache a ring: slot = position mod size. Rows keep their own cursors,
so prompts of different length need no left padding. Keys are stored transposed: scores are then a matmul that
reads them where they are.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp


@functools.partial(
  jax.tree_util.register_dataclass, data_fields=("k_LBKHS", "v_LBKSH", "positions_BS", "lead"), meta_fields=()
)
@dataclasses.dataclass(frozen=True)
class Cache:
  """Keys and values of all layers, as one array each or (`by_layer`) as one for each layer.

  `positions_BS` is shared by the layers: they advance together. `lead` holds keys [L, K, H, P] and values [L, K, P, H]
  of tokens in front that all rows see, where there are any (learned ones, or what all prompts begin with): made once,
  read with every token.
  """

  k_LBKHS: jax.Array | tuple[jax.Array, ...]
  v_LBKSH: jax.Array | tuple[jax.Array, ...]
  positions_BS: jax.Array
  lead: tuple[jax.Array, jax.Array] | None = None

  @classmethod
  def empty(cls, layers: int, batch: int, slots: int, kv_heads: int, head_dim: int, dtype=jnp.float32) -> "Cache":
    """A cache with every slot empty."""
    lead = (layers, batch, kv_heads)
    k_LBKHS, v_LBKSH = jnp.zeros((*lead, head_dim, slots), dtype), jnp.zeros((*lead, slots, head_dim), dtype)
    return cls(k_LBKHS, v_LBKSH, jnp.full((batch, slots), -1, jnp.int32))

  def by_layer(self) -> "Cache":
    """The same with arrays of each layer's own, for layers that run one by one: none is cut out of a larger one."""
    return dataclasses.replace(self, k_LBKHS=tuple(self.k_LBKHS), v_LBKSH=tuple(self.v_LBKSH))

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

  def write(self, layer, k_BTKH, v_BTKH, positions_BT, valid_BT, rows_BT=None) -> "Cache":
    """Stores keys and values of one layer; positions that are not valid are dropped."""
    rows = jnp.arange(positions_BT.shape[0])[:, None] if rows_BT is None else rows_BT
    slots = jnp.where(valid_BT, positions_BT % self.slots, self.slots)
    if isinstance(self.k_LBKHS, tuple):
      set_k = lambda store, x: _swapped(store, layer, store[layer].at[rows, :, :, slots].set(x, mode="drop"))
      set_v = lambda store, x: _swapped(store, layer, store[layer].at[rows, :, slots].set(x, mode="drop"))
    else:
      set_k = lambda store, x: store.at[layer, rows, :, :, slots].set(x, mode="drop")
      set_v = lambda store, x: store.at[layer, rows, :, slots].set(x, mode="drop")
    dtype = jax.tree.leaves(self.k_LBKHS)[0].dtype
    k_LBKHS, v_LBKSH = set_k(self.k_LBKHS, k_BTKH.astype(dtype)), set_v(self.v_LBKSH, v_BTKH.astype(dtype))
    return dataclasses.replace(self, k_LBKHS=k_LBKHS, v_LBKSH=v_LBKSH)

  def read(self, layer):
    """(k_BKHS, v_BKSH) of one layer, a Python number when the layers have arrays of their own."""
    if isinstance(self.k_LBKHS, tuple):
      return self.k_LBKHS[layer], self.v_LBKSH[layer]
    pick = lambda store: jax.lax.dynamic_index_in_dim(store, layer, keepdims=False)
    return pick(self.k_LBKHS), pick(self.v_LBKSH)

  def insert(self, row, other: "Cache") -> "Cache":
    """Replaces one row by the only row of a cache of the same size (a refilled slot of a batch)."""
    put = lambda store, x, axis: jax.lax.dynamic_update_slice_in_dim(store, x.astype(store.dtype), row, axis)
    return Cache(
      put(self.k_LBKHS, other.k_LBKHS, 1),
      put(self.v_LBKSH, other.v_LBKSH, 1),
      put(self.positions_BS, other.positions_BS, 0),
      other.lead,
    )


def _swapped(arrays: tuple[jax.Array, ...], i: int, new: jax.Array) -> tuple[jax.Array, ...]:
  return (*arrays[:i], new, *arrays[i + 1 :])
