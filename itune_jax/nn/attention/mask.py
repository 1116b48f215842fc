"""Who may see whom: equality of segments and order of positions, as a value and not as an array constant."""

import jax
import jax.numpy as jnp

NEG = -1e30  # a score that is not seen: finite, so that a row that sees nothing gives zeros and no NaN


def visible(q_segments, k_segments, q_index, k_index, window=None):
  """Causal attention inside a segment: [..., T, S] bool. Segment 0 (padding) sees nothing and is seen by nothing.

  With a window w a query sees itself and the w - 1 keys before it.
  """
  same = (q_segments[..., :, None] == k_segments[..., None, :]) & (k_segments[..., None, :] != 0)
  distance = q_index[..., :, None] - k_index[..., None, :]
  seen = same & (distance >= 0)
  return seen if window is None else seen & (distance < window)


def first_seen(segments_BT, window=None):
  """The first key that each query sees, [B, T] int32; T, behind every query, for padding. What follows up to the query
  itself it sees too: the tokens of a segment are adjacent."""
  T = segments_BT.shape[1]
  index = jnp.arange(T, dtype=jnp.int32)
  begins = jnp.pad(segments_BT[:, 1:] != segments_BT[:, :-1], [(0, 0), (1, 0)], constant_values=True)
  first_BT = jax.lax.cummax(jnp.where(begins, index, 0), axis=1)
  if window is not None:
    first_BT = jnp.maximum(first_BT, (index - window + 1)[None])
  return jnp.where(segments_BT == 0, T, first_BT)
