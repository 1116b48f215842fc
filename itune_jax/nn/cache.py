"""The key-value cache: one interface over slots, whatever stores them.

A slot remembers the position it holds (-1 when empty), so visibility never depends on where a key lies. A
window shorter than the sequence makes the cache a ring: slot = position mod size. Rows keep their own cursors,
so prompts of different length need no left padding.
"""
import dataclasses
import functools

import jax
import jax.numpy as jnp


@functools.partial(jax.tree_util.register_dataclass,
                   data_fields=("k_LBSKH", "v_LBSKH", "positions_BS"), meta_fields=())
@dataclasses.dataclass(frozen=True)
class Cache:
  """Keys and values of all layers. `positions_BS` is shared by the layers: they advance together."""
  k_LBSKH: jax.Array
  v_LBSKH: jax.Array
  positions_BS: jax.Array

  @classmethod
  def empty(cls, layers: int, batch: int, slots: int, kv_heads: int, head_dim: int, dtype=jnp.float32) -> "Cache":
    """A cache with every slot empty."""
    shape = (layers, batch, slots, kv_heads, head_dim)
    return cls(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype), jnp.full((batch, slots), -1, jnp.int32))

  @property
  def slots(self) -> int:
    """Number of slots of each row."""
    return self.positions_BS.shape[1]

  def mark(self, positions_BT, valid_BT) -> "Cache":
    """Takes slots for these positions, once for all layers and before any of them writes."""
    rows = jnp.arange(positions_BT.shape[0])[:, None]
    slots = jnp.where(valid_BT, positions_BT % self.slots, self.slots)
    return dataclasses.replace(self, positions_BS=self.positions_BS.at[rows, slots].set(positions_BT, mode="drop"))

  def write(self, layer, k_BTKH, v_BTKH, positions_BT, valid_BT) -> "Cache":
    """Stores keys and values of one layer; rows that are not valid are dropped."""
    rows = jnp.arange(positions_BT.shape[0])[:, None]
    slots = jnp.where(valid_BT, positions_BT % self.slots, self.slots)
    put = lambda store, x: store.at[layer, rows, slots].set(x.astype(store.dtype), mode="drop")
    return dataclasses.replace(self, k_LBSKH=put(self.k_LBSKH, k_BTKH), v_LBSKH=put(self.v_LBSKH, v_BTKH))

  def read(self, layer):
    """(k_BSKH, v_BSKH) of one layer."""
    pick = lambda store: jax.lax.dynamic_index_in_dim(store, layer, keepdims=False)
    return pick(self.k_LBSKH), pick(self.v_LBSKH)

  def insert(self, row, other: "Cache") -> "Cache":
    """Replaces one row by the only row of a cache of the same size (a refilled slot of a batch)."""
    put = lambda store, x, axis: jax.lax.dynamic_update_slice_in_dim(store, x.astype(store.dtype), row, axis)
    return Cache(put(self.k_LBSKH, other.k_LBSKH, 1), put(self.v_LBSKH, other.v_LBSKH, 1),
                 put(self.positions_BS, other.positions_BS, 0))
