"""Random rows in which prompts stand once, and attention over the same with prompts repeated: equal in both results and
in all their gradients."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from itune_jax.nn.attention import kernels
from itune_jax.nn.attention import mask


class Drawn(NamedTuple):
  """Rows that hold prompts once; where each place of the rows that repeat them comes from [B, S], the segments there
  [B, S], and a place there [B, T] for each place here."""

  rows: mask.Rows
  source_BS: np.ndarray
  segments_BS: np.ndarray
  place_BT: np.ndarray


def pieces(rs, room, longest):
  """(group, length, first position) of segments in order: groups, one of which may come between another and its last
  branch, a branch without a trunk, segments alone, and padding between."""
  found, number, late = [], 0, []
  while room > 0:
    kind = rs.choice(["group", "group", "alone", "pad", "rootless"])
    length = lambda: int(rs.randint(1, longest))
    if kind == "group":
      number, trunk = number + 1, length()
      found.append((number, trunk, 0))
      branches = [(-number, length(), trunk) for _ in range(rs.randint(1, 4))]
      found += branches[1:]
      if rs.rand() < 0.5:
        found.append(branches[0])
      else:
        late.append(branches[0])
    elif kind == "rootless":
      number += 1
      found.append((-number, length(), 0))
    else:
      found.append((0 if kind == "alone" else None, length(), 0))
    if late and rs.rand() < 0.5:
      found.append(late.pop())
    room -= sum(n for _, n, _ in found[-4:])
  return found + late


def draw_row(rs, T, longest):
  """(segments, groups, positions) [T] of a row, and the places of each example's tokens."""
  segments, groups, positions = np.zeros((3, T), np.int32)
  at, trunks, examples, seen = 0, {}, [], set()
  for s, (group, length, first) in enumerate(pieces(rs, T, longest), 1):
    length = min(length, T - at)
    here = list(range(at, at + length))
    at += length
    if group is None or not here:
      continue
    segments[here], groups[here], positions[here] = s, group, first + np.arange(length)
    if group > 0:
      trunks[group] = here
    elif group < 0:
      examples.append(trunks.get(-group, []) + here)
      seen.add(-group)
    else:
      examples.append(here)
  examples += [here for group, here in trunks.items() if group not in seen]
  return (segments, groups, positions), examples


def draw(seed, T, longest, B=2) -> Drawn:
  """Random rows, and the same with prompts repeated."""
  rs = np.random.RandomState(seed)
  rows, examples = zip(*(draw_row(rs, T, longest) for _ in range(B)), strict=True)
  S = max(sum(map(len, row)) for row in examples)
  source, segments, place = np.zeros((B, S), np.int32), np.zeros((B, S), np.int32), np.zeros((B, T), np.int32)
  for b, row in enumerate(examples):
    flat = np.concatenate(row)
    source[b, : len(flat)] = flat
    segments[b, : len(flat)] = np.repeat(np.arange(1, len(row) + 1), list(map(len, row)))
    place[b, flat[::-1]] = np.arange(len(flat))[::-1]
  own = (jnp.asarray(np.stack(x)) for x in zip(*rows, strict=True))
  return Drawn(mask.Rows(*own), source, segments, place)


def arrays(seed, T, heads, H, B=2):
  """q, k, v and the cotangents of out and log-sum-exp."""
  rs, (N, K) = np.random.RandomState(seed), heads
  make = lambda *shape: jnp.asarray(rs.randn(B, T, *shape), jnp.float32)
  return (make(N, H), make(K, H), make(K, H)), (make(N, H), make(N))


def both(attend, given, cotangents, segments):
  """(out, log-sum-exp) where something is seen, and gradients by q, k and v."""
  seen = (segments != 0)[..., None]

  def loss(*given):
    out, lse = attend(*given)
    out, lse = jnp.where(seen[..., None], out, 0), jnp.where(seen, lse, 0)
    return jnp.vdot(out, cotangents[0]) + jnp.vdot(lse, cotangents[1]), (out, lse)

  (_, found), grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))(*given)
  return *found, *grads


def repeated(drawn: Drawn, *given, **how):
  """The full score matrix over rows that repeat, and what comes out where tokens stand once."""
  take = lambda x, at: jnp.take_along_axis(x, jnp.asarray(at).reshape(*at.shape, *(1,) * (x.ndim - 2)), axis=1)
  again = (take(x, drawn.source_BS) for x in given)
  found = kernels.reference(*again, mask.Rows(jnp.asarray(drawn.segments_BS)), **how)
  return tuple(take(x, drawn.place_BT) for x in found)


def check(attends, seed, T, heads, H, longest, *, window=None, softcap=0.0):
  """Each attend(q, k, v, rows) over prompts that stand once, against the full score matrix over prompts repeated."""
  drawn, (given, cotangents) = draw(seed, T, longest), arrays(seed, T, heads, H)
  run = lambda attend: both(attend, given, cotangents, drawn.rows.segments_BT)
  theirs = run(lambda *x: repeated(drawn, *x, window=window, softcap=softcap))
  for attend in attends:
    for a, b in zip(run(lambda *x, attend=attend: attend(*x, drawn.rows)), theirs, strict=True):
      np.testing.assert_allclose(a, b, atol=1e-5 * max(1, float(jnp.abs(b).max())))
