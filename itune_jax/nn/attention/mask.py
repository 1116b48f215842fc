"""Who may see whom, as values and not as an array constant: what tokens belong to, and which keys a query sees."""

from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp

NEG = -1e30  # a score that is not seen: finite, so that a row that sees nothing gives zeros and no NaN


class Rows(NamedTuple):
  """What the tokens of packed rows belong to, and so what each of them sees: [B, T] int32, or a stretch of that.

  segments_BT: 0 is padding; the tokens of a segment are adjacent, and each sees its own segment up to itself.
  groups_BT, positions_BT: given where rows have groups (`batch.Batch`). A token of -g sees besides all of the segment
  that is g: the trunk of its group, which lies before it.
  """

  segments_BT: Any
  groups_BT: Any = None
  positions_BT: Any = None

  @classmethod
  def of(cls, ctx) -> Self:
    """Those of a call."""
    return cls(ctx.segments_BT) if ctx.groups_BT is None else cls(ctx.segments_BT, ctx.groups_BT, ctx.positions_BT)


class Spans(NamedTuple):
  """The keys that each query of whole rows sees, [B, T] int32: those from `first` up to itself, and those of its trunk
  from `trunk` to before `behind`, none where the two are equal. `trunk` and `behind` are None where no row has groups.
  """

  first_BT: Any
  trunk_BT: Any = None
  behind_BT: Any = None


def visible(queries: Rows, keys: Rows, q_index, k_index, window=None):
  """Who sees whom, [..., T, S] bool, of queries [..., T] and keys [..., S] at these places of their rows.

  Causal inside a segment; segment 0 (padding) sees nothing and is seen by nothing. With a window w a query sees itself
  and the w - 1 keys before it; where those of its trunk are is a matter of positions.
  """
  pair = lambda q, k: (q[..., :, None], k[..., None, :])
  q_segments, k_segments = pair(queries.segments_BT, keys.segments_BT)
  distance = jnp.subtract(*pair(q_index, k_index))
  seen = (q_segments == k_segments) & (k_segments != 0) & (distance >= 0)
  if window is not None:
    seen &= distance < window
  if queries.groups_BT is None:
    return seen
  q_groups, k_groups = pair(queries.groups_BT, keys.groups_BT)
  trunk = (q_groups == -k_groups) & (k_groups > 0)
  if window is not None:
    trunk &= jnp.subtract(*pair(queries.positions_BT, keys.positions_BT)) < window
  return seen | trunk


def inside(spans: Spans, q_index, k_index):
  """Who sees whom, [T, S] bool, of queries [T] that see these ranges and of keys [S], at these places of one row."""
  keys = k_index[None, :]
  seen = (keys >= spans.first_BT[:, None]) & (keys <= q_index[:, None])
  if spans.trunk_BT is None:
    return seen
  return seen | ((keys >= spans.trunk_BT[:, None]) & (keys < spans.behind_BT[:, None]))


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


def spans(rows: Rows, window=None) -> Spans:
  """What each query of these rows sees of them, by ranges. window: a number, a scalar array, or None for all."""
  first_BT = first_seen(rows.segments_BT, window)
  if rows.groups_BT is None:
    return Spans(first_BT)
  begin, end, position, is_there = across(rows, rows.positions_BT)
  if window is not None:  # a trunk's keys lie as their positions do
    begin = begin + jnp.maximum(rows.positions_BT - window + 1 - position, 0)
  is_seen = is_there & (rows.groups_BT < 0) & (begin < end)
  return Spans(first_BT, jnp.where(is_seen, begin, 0), jnp.where(is_seen, end, 0))


def across(rows: Rows, values_BT):
  """Of each token of a group, where the tokens on its other side lie (of a trunk's all of its branches, of a branch's
  the trunk): (where they begin, behind the last, the least of their values, whether there are any), [B, T] each, zeros
  where there are none. Numbers of groups are at most T."""
  T = rows.groups_BT.shape[1]
  index_BT = jnp.broadcast_to(jnp.arange(T, dtype=jnp.int32)[None], rows.groups_BT.shape)

  def one(groups_T, values_TC):
    return jax.ops.segment_min(values_TC, groups_T + T, num_segments=2 * T + 1)[T - groups_T]

  found_BTC = jax.vmap(one)(rows.groups_BT, jnp.stack([index_BT, -index_BT, values_BT], axis=-1))
  is_there = (rows.groups_BT != 0) & (found_BTC[..., 0] < T)
  begin, last, least = (jnp.where(is_there, x, 0) for x in jnp.moveaxis(found_BTC, -1, 0))
  return begin, jnp.where(is_there, 1 - last, 0), least, is_there


def renumbered(rows: Rows) -> Rows:
  """The same of a stretch of rows, whose groups have numbers of the whole row, with numbers of its own."""
  if rows.groups_BT is None:
    return rows
  size_BT = jnp.abs(rows.groups_BT)
  rank_BT = jax.vmap(lambda x: jnp.searchsorted(jnp.sort(x), x).astype(jnp.int32))(size_BT)
  return rows._replace(groups_BT=jnp.sign(rows.groups_BT) * (rank_BT + 1))
