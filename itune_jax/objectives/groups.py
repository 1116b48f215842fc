"""Sums over the members of a group (a pair, the completions of a prompt), wherever they stand in packed rows."""

import jax
import jax.numpy as jnp


def sums(x_BT, groups_BT, members: int = 2):
  """Σ x over the segments of every group [B, G]; the prompt that a group shares counts, if x is not 0 there.

  G is what a row of T positions can hold: a group has so many members at least. Column 0 is what stands in no group.
  """
  count = x_BT.shape[1] // members + 2
  total = lambda x, group: jax.ops.segment_sum(x, jnp.abs(group), num_segments=count)
  return jax.vmap(total)(x_BT, groups_BT)


def present(weights_BT, groups_BT, members: int = 2):
  """Which groups [B, G] of `sums` there are: those with a token that carries weight. Column 0 is none."""
  return (sums((weights_BT != 0).astype(jnp.float32), groups_BT, members) > 0).at[:, 0].set(False)
