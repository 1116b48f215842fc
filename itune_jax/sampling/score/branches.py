"""Many continuations of one context: the context runs once, into a cache, and they run side by side behind it.

Contexts are prefilled packed, and their continuations are segments of packed rows that see their context and
themselves: nothing is padded to the longest. Continuations of one token cost no run at all: the context's last hidden
state scores them.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from itune_jax.core import batch as batch_lib
from itune_jax.core import vocabulary
from itune_jax.core import pack
from itune_jax.parallel import shard
from itune_jax.sampling.decode import prefill
from itune_jax.sampling.decode import row_state

BUCKET = 64  # rows of continuations are a multiple of it
STEP = 16  # and places behind one context, of this
TOKENS, ROWS = 1024, 32  # of contexts that run together, on each data shard: at most so many
ROOM = 4 * TOKENS  # slots of a cache there that is larger than its contexts need, so that others are like it


class Group(NamedTuple):
  """A context, its continuations, and the number of its adapter, if rows have one each."""

  context: Sequence[int]
  continuations: list[Sequence[int]]
  adapter: int | None = None


class Found(NamedTuple):
  """Sum of log-probabilities in nats, and whether every token is the greedy one."""

  logprob: float
  is_greedy: bool


def score(
  bind: Callable, params: Any, groups: Sequence[Group], progress: Callable[[int], None] = lambda n: None
) -> list[list[Found]]:
  """Scores every continuation of every group, in the order given."""
  shards = prefill.shards(bind)
  found: dict[int, list[Found]] = {}
  batches = list(_batches(groups, shards))
  for at, size in zip(batches, _sizes([[groups[i] for i in at] for at in batches], shards), strict=True):
    members = [groups[i] for i in at]
    own = None if members[0].adapter is None else [g.adapter for g in members]
    (cache, last_GD), rows = _contexts(bind, params, [g.context for g in members], own, size, shards)
    first, behind = _first(members, rows, size), _behind(members, rows, size, shards, own)
    batch, places_GT = behind or (None, None)
    given = cache if behind else None  # what is not read would be a shape to compile for
    nll, hit = jax.device_get(program(bind)(params, given, last_GD, first, batch, places_GT))
    for k, i in enumerate(at):
      found[i] = list(_read(groups[i], rows[k], first, behind, nll, hit))
    progress(sum(len(g.continuations) for g in members))
  return [found[i] for i in range(len(groups))]


def _contexts(bind, params, contexts, own, size: "Size", shards: int) -> tuple[prefill.Prefilled, dict[int, int]]:
  """The cache of these contexts, and the row of each."""
  held = _held(list(map(len, contexts)), size.rows, shards)
  rows = prefill.places(held, size.rows)
  if max(map(len, contexts)) > prefill.CHUNK and bind(params).can_share:
    return prefill.in_pieces(bind, params, contexts, own, held, size.rows, size.slots), rows
  packed = prefill.pack_prompts(contexts, [None] * len(contexts), own, held, size.rows, size.tokens)
  return prefill.whole(bind, params, packed, size.slots), rows


def _held(lengths: Sequence[int], rows: int, shards: int) -> list[list[int]]:
  return prefill.spread_out(lengths, [rows // shards] * shards)


def _batches(groups, shards: int):
  """Numbers of groups, short contexts first, of at most so many context tokens and rows together."""
  tokens, rows = TOKENS * shards, ROWS * shards
  members: list[int] = []
  total, was_long = 0, False
  for i in sorted(range(len(groups)), key=lambda i: len(groups[i].context)):
    n = len(groups[i].context)
    is_long = n > prefill.CHUNK  # runs in pieces, and those beside it as many: only alike, one to a shard
    starts = is_long and (not was_long or len(members) == shards)
    if members and (total + n > tokens or len(members) == rows or starts):
      yield members
      members, total = [], 0
    members.append(i)
    total, was_long = total + n, is_long
  yield members


class Size(NamedTuple):
  """What a batch is padded to: rows of contexts, their slots in the cache, positions of a packed row of contexts;
  continuations of a context, positions of a packed row of continuations, and places behind a context."""

  rows: int
  slots: int
  tokens: int
  first: int
  behind: int
  places: int


def _sizes(batches: Sequence[Sequence[Group]], shards: int) -> list[Size]:
  """What batches are padded to, in few sizes. One prefill is compiled for each number of rows and of positions (within
  a factor of two), and one scorer for each cache that continuations stand behind: caches are alike where that is cheap.
  """
  own = [_size(members, shards) for members in batches]
  caches = _caches(own, shards)
  alike = lambda size: (size.rows, (size.tokens - 1).bit_length())
  behind = lambda size: (caches[size.rows, size.slots], max(size.behind - 1, 0).bit_length())
  most = lambda key, size, name: max(getattr(one, name) for one in own if key(one) == key(size))
  return [
    Size(
      *caches[size.rows, size.slots],
      most(alike, size, "tokens"),
      max(one.first for one in own),
      most(behind, size, "behind"),
      most(behind, size, "places"),
    )
    for size in own
  ]


def _caches(own: Sequence[Size], shards: int) -> dict[tuple[int, int], tuple[int, int]]:
  """For each size of a cache (rows, slots) the one that it is part of: as large as the largest rows and slots of some,
  while that has room. Contexts that run in pieces keep their rows, of which each costs as many positions."""
  found: dict[tuple[int, int], tuple[int, int]] = {}
  part: list[tuple[int, int]] = []
  for rows, slots in sorted({(one.rows, one.slots) for one in own}, key=lambda size: (-size[0], size[1])):
    together = max([rows, *(r for r, _ in part)]), max([slots, *(s for _, s in part)])
    fits = together[0] * together[1] <= ROOM * shards and slots <= prefill.CHUNK
    part = [*part, (rows, slots)] if fits else [(rows, slots)]
    found |= dict.fromkeys(part, together if fits else (rows, slots))
  return found


def _size(members: Sequence[Group], shards: int) -> Size:
  contexts = [len(g.context) for g in members]
  lengths = [len(c) - 1 for g in members for c in g.continuations if len(c) > 1]
  longest = max(sum(len(c) - 1 for c in g.continuations) for g in members)
  rows = prefill.rows_for(len(members), shards)
  tokens = prefill.longest(contexts, _held(contexts, rows, shards))
  return Size(
    rows,
    row_state.slots_for(max(contexts)),
    -(-tokens // BUCKET) * BUCKET,
    max(len(g.continuations) for g in members),
    pack.shortest(lengths, shards, BUCKET) if lengths else 0,
    -(-longest // STEP) * STEP,
  )


class First(NamedTuple):
  """First tokens [G, C] of continuations, and which there are."""

  targets_GC: np.ndarray
  weights_GC: np.ndarray


def _first(members, rows: dict[int, int], size: Size) -> First:
  first = First(np.zeros((size.rows, size.first), np.int32), np.zeros((size.rows, size.first), np.float32))
  for k, group in enumerate(members):
    for c, continuation in enumerate(group.continuations):
      first.targets_GC[rows[k], c], first.weights_GC[rows[k], c] = continuation[0], 1
  return first


def _behind(members, rows: dict[int, int], size: Size, shards: int, own) -> tuple[batch_lib.Batch, np.ndarray] | None:
  """All tokens but the first, which those before them predict: a segment each; and the places [G, T] in the flattened
  rows of what continues each context, one continuation behind the other. None where there is nothing."""
  if not size.behind:
    return None
  items = [(row, c[:-1], c[1:]) for row, g in enumerate(members) for c in g.continuations if len(c) > 1]
  lengths = [len(tokens) for _, tokens, _ in items]
  T = pack.shortest(lengths, shards, size.behind)  # that itself, but for odd cases of best fit
  packed = pack.best_fit_decreasing(lengths, T)
  places_GT = np.full((size.rows, size.places), shards * T, np.int32)
  zeros = lambda: np.zeros((shards, T), np.int32)
  batch = batch_lib.Batch(zeros(), zeros(), np.zeros((shards, T), np.float32), zeros(), zeros(), zeros())
  own_BT = None if own is None else zeros()
  starts: dict[int, int] = {}
  for b, row in enumerate(packed):
    at = 0
    for segment, i in enumerate(row, 1):
      g, tokens, targets = items[i]
      here = (b, slice(at, at + len(tokens)))
      batch.tokens_BT[here], batch.targets_BT[here] = tokens, targets
      batch.weights_BT[here], batch.segments_BT[here] = 1, segment
      batch.positions_BT[here] = len(members[g].context) + np.arange(len(tokens))
      if own_BT is not None and own is not None:
        own_BT[here] = own[g]
      starts[i] = b * T + at
      at += len(tokens)
  filled = [0] * size.rows
  for i, (g, tokens, _) in enumerate(items):  # in the order of the continuations, as `_read` expects
    places_GT[rows[g], filled[g] : filled[g] + len(tokens)] = starts[i] + np.arange(len(tokens))
    filled[g] += len(tokens)
  return dataclasses.replace(batch, adapters_BT=own_BT), places_GT


def _read(group: Group, row: int, first: First, behind, nll, hit):
  """The figures of a group's continuations out of those of a batch: (nll, hit) of first tokens and of all others."""
  at = 0
  for c, continuation in enumerate(group.continuations):
    total, greedy = float(nll[0][row, c]), bool(hit[0][row, c])
    if len(continuation) > 1:
      here = behind[1][row, at : at + len(continuation) - 1]
      total += nll[1].reshape(-1)[here].sum(dtype=np.float64)
      greedy = greedy and bool(hit[1].reshape(-1)[here].all())
      at += len(continuation) - 1
    yield Found(-float(total), greedy)


@functools.lru_cache(maxsize=32)
def program(bind: Any) -> Callable:
  """`(params, cache, last_GD, first, batch, places_GT) -> (nll, is_argmax)`, each of first tokens [G, C] and of all
  others [B, T]; cache, batch and places are None where there are no others."""

  @jax.jit
  def run(params, cache, last_GD, first, batch, places_GT):
    model = bind(params)

    def losses(hidden, targets, weights, ctx):
      own = lambda hidden, places: model.project(hidden, ctx.replace(at_BT=places))
      _, nll, hit = vocabulary.cross_entropy(own, hidden, targets, weights, shards=at.logit_shards)
      return nll, hit

    at = batch_lib.Ctx(None, None, mesh=bind.mesh, rules=bind.rules)
    targets_GC = jnp.asarray(first.targets_GC)
    last_GCD = jnp.broadcast_to(last_GD[:, None], (*targets_GC.shape, last_GD.shape[-1]))
    found = [losses(last_GCD, targets_GC, jnp.asarray(first.weights_GC), at)]
    if batch is not None:
      ctx = model.context(batch, branches_GT=places_GT)
      found.append(losses(model.branch(batch.tokens_BT, ctx, cache), batch.targets_BT, batch.weights_BT, ctx))
    return shard.everywhere(tuple(zip(*found, strict=True)), bind.mesh)

  return run
