"""Who may see whom: equality of segments and order of positions, as a value and not as an array constant."""

NEG = -1e30  # a score that is not seen: finite, so that a row that sees nothing gives zeros and no NaN


def visible(q_segments, k_segments, q_index, k_index, window=None):
  """Causal attention inside a segment: [..., T, S] bool. Segment 0 (padding) sees nothing and is seen by nothing.

  With a window w a query sees itself and the w - 1 keys before it.
  """
  same = (q_segments[..., :, None] == k_segments[..., None, :]) & (k_segments[..., None, :] != 0)
  distance = q_index[..., :, None] - k_index[..., None, :]
  seen = same & (distance >= 0)
  return seen if window is None else seen & (distance < window)
