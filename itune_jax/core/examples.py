"""Sums over the examples of packed rows.

An example is a segment, or in a group a branch with the trunk before it, which several examples share (`batch.Batch`).
"""

import jax
import jax.numpy as jnp


def totals(x_BT, segments_BT, groups_BT=None):
  """Σ x [B, T, ...] over the example of each segment: [B, T + 1, ...], by number of segment. A trunk's is its own."""
  count = segments_BT.shape[1] + 1
  total = jax.vmap(lambda x, s: jax.ops.segment_sum(x, s, num_segments=count))
  found = total(x_BT, segments_BT)
  if groups_BT is None:
    return found
  of_trunk = total(x_BT, jnp.maximum(groups_BT, 0)).at[:, 0].set(0)
  group = jax.vmap(lambda g, s: jax.ops.segment_max(g, s, num_segments=count))(-groups_BT, segments_BT)
  return found + jax.vmap(lambda x, at: x[at])(of_trunk, jnp.clip(group, 0, count - 1))


def copies(segments_BT, groups_BT=None):
  """How many examples each token [B, T] is part of, float32: none where there is padding, and those of all its branches
  in a trunk."""
  real_BT = (segments_BT != 0).astype(jnp.float32)
  if groups_BT is None:
    return real_BT
  return jnp.where(groups_BT > 0, over_branches(jnp.ones_like(real_BT), segments_BT, groups_BT), real_BT)


def over_branches(x_BT, segments_BT, groups_BT):
  """At each token of a trunk, Σ over its branches of x [B, T] at a branch's first token; 0 elsewhere."""
  begins_BT = jnp.pad(segments_BT[:, 1:] != segments_BT[:, :-1], ((0, 0), (1, 0)), constant_values=True)
  first_BT = jnp.where(begins_BT & (groups_BT < 0), x_BT, 0)
  count = segments_BT.shape[1] + 1
  total = jax.vmap(lambda x, g: jax.ops.segment_sum(x, g, num_segments=count))(first_BT, jnp.maximum(-groups_BT, 0))
  return jnp.where(groups_BT > 0, jnp.take_along_axis(total, jnp.maximum(groups_BT, 0), axis=1), 0)
