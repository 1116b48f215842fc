"""The key-value cache: one interface over slots, whatever stores them.

A slot remembers the position it holds (-1 when empty), so visibility never depends on where a key lies. A
window shorter than the sequence makes the cache a ring: slot = position mod size. Rows keep their own cursors,
so prompts of different length need no left padding.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp


@functools.partial(jax.tree_util.register_dataclass, data_fields=("k_LBKSH", "v_LBKSH", "positions_BS"), meta_fields=())
@dataclasses.dataclass(frozen=True)
class Cache:
  """Keys and values of all layers. `positions_BS` is shared by the layers: they advance together."""

  k_LBKSH: jax.Array
  v_LBKSH: jax.Array
  positions_BS: jax.Array

  @classmethod
  def empty(cls, layers: int, batch: int, slots: int, kv_heads: int, head_dim: int, dtype=jnp.float32) -> "Cache":
    """A cache with every slot empty."""
    shape = (layers, batch, kv_heads, slots, head_dim)
    return cls(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype), jnp.full((batch, slots), -1, jnp.int32))

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
    put = lambda store, x: store.at[layer, rows, :, slots].set(x.astype(store.dtype), mode="drop")
    return dataclasses.replace(self, k_LBKSH=put(self.k_LBKSH, k_BTKH), v_LBKSH=put(self.v_LBKSH, v_BTKH))

  def read(self, layer):
    """(k_BKSH, v_BKSH) of one layer."""
    pick = lambda store: jax.lax.dynamic_index_in_dim(store, layer, keepdims=False)
    return pick(self.k_LBKSH), pick(self.v_LBKSH)

  def insert(self, row, other: "Cache") -> "Cache":
    """Replaces one row by the only row of a cache of the same size (a refilled slot of a batch)."""
    put = lambda store, x, axis: jax.lax.dynamic_update_slice_in_dim(store, x.astype(store.dtype), row, axis)
    return Cache(
      put(self.k_LBKSH, other.k_LBKSH, 1),
      put(self.v_LBKSH, other.v_LBKSH, 1),
      put(self.positions_BS, other.positions_BS, 0),
    )
