"""Who may see whom: equality of segments and order of positions, as a value and not as an array constant."""


def visible(q_segments, k_segments, q_index, k_index):
  """Causal attention inside a segment: [..., T, S] bool. Segment 0 (padding) sees nothing and is seen by nothing."""
  same = (q_segments[..., :, None] == k_segments[..., None, :]) & (k_segments[..., None, :] != 0)
  return same & (q_index[..., :, None] >= k_index[..., None, :])
