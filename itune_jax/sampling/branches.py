"""Many continuations of one context: the context runs once, into a cache, and they run side by side behind it.

A row of a batch is a context; its continuations are segments of one packed row that see the context and themselves.
Continuations of one token cost no run at all: the context's last hidden state scores them.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from itune_jax.core import batch as batch_lib
from itune_jax.core import numerics
from itune_jax.dist import shard
from itune_jax.sampling import decode

BUCKET = 32  # positions of continuations behind a context are a multiple of it
ROWS = 8  # contexts a data shard


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
  order = sorted(range(len(groups)), key=lambda i: len(groups[i].context))
  rows = ROWS * decode.shards(bind)
  found: dict[int, list[Found]] = {}
  for at in range(0, len(order), rows):
    members = [groups[i] for i in order[at : at + rows]]
    own = None if members[0].adapter is None else [g.adapter for g in members]
    packed = decode.pack_prompts([g.context for g in members], [None] * len(members), own, rows, decode.shards(bind))
    slots = -(-max(len(g.context) for g in members) // decode.BUCKET) * decode.BUCKET
    cache, last_GD = decode.prefill_program(bind)(params, packed.batch, packed.cache_rows_RT, packed.last_B, slots)
    first, batch = _first(members, rows), _behind(members, rows, packed.own_B)
    nll, hit = jax.device_get(program(bind)(params, cache, last_GD, first, batch))
    for row, i in enumerate(order[at : at + rows]):
      found[i] = list(_read(groups[i], row, first, batch, nll, hit))
    progress(sum(len(g.continuations) for g in members))
  return [found[i] for i in range(len(groups))]


class _First(NamedTuple):
  """First tokens [G, C] of continuations, and which there are."""

  targets_GC: np.ndarray
  weights_GC: np.ndarray


def _first(members, rows: int) -> _First:
  most = max(len(g.continuations) for g in members)
  first = _First(np.zeros((rows, most), np.int32), np.zeros((rows, most), np.float32))
  for row, group in enumerate(members):
    for c, continuation in enumerate(group.continuations):
      first.targets_GC[row, c], first.weights_GC[row, c] = continuation[0], 1
  return first


def _behind(members, rows: int, own_B) -> batch_lib.Batch | None:
  """All tokens but the first, which those before them predict: a segment each. None where there are none."""
  longest = max(sum(len(c) - 1 for c in g.continuations) for g in members)
  if not longest:
    return None
  shape = (rows, -(-longest // BUCKET) * BUCKET)
  zeros = lambda dtype=np.int32: np.zeros(shape, dtype)
  batch = batch_lib.Batch(zeros(), zeros(), zeros(np.float32), zeros(), zeros(), zeros())
  for row, group in enumerate(members):
    at = 0
    for segment, continuation in enumerate(group.continuations, 1):
      here = (row, slice(at, at + len(continuation) - 1))
      batch.tokens_BT[here], batch.targets_BT[here] = continuation[:-1], continuation[1:]
      batch.weights_BT[here], batch.segments_BT[here] = 1, segment
      batch.positions_BT[here] = len(group.context) + np.arange(len(continuation) - 1)
      at += len(continuation) - 1
  if own_B is not None:
    batch = dataclasses.replace(batch, adapters_BT=np.broadcast_to(own_B[:, None], shape))
  return batch


def _read(group: Group, row: int, first: _First, batch, nll, hit):
  C = first.targets_GC.shape[1]
  for c in range(len(group.continuations)):
    total, greedy = nll[row, c], bool(hit[row, c])
    if batch is not None:
      here = batch.segments_BT[row] == c + 1
      total, greedy = total + nll[row, C:][here].sum(dtype=np.float64), greedy and bool(hit[row, C:][here].all())
    yield Found(-float(total), greedy)


@functools.lru_cache(maxsize=32)
def program(bind: Any) -> Callable:
  """`(params, cache, last_GD, first, batch) -> (nll, is_argmax)` [G, C + T]: of first tokens, then of the others."""

  @jax.jit
  def run(params, cache, last_GD, first, batch):
    model = bind(params)
    targets, weights = jnp.asarray(first.targets_GC), jnp.asarray(first.weights_GC)
    hidden = jnp.broadcast_to(last_GD[:, None], (*targets.shape, last_GD.shape[-1]))
    ctx = None
    if batch is not None:
      ctx = model.context(batch)
      hidden = jnp.concatenate([hidden, model.branch(batch.tokens_BT, ctx, cache)], axis=1)
      targets = jnp.concatenate([targets, batch.targets_BT], axis=1)
      weights = jnp.concatenate([weights, batch.weights_BT], axis=1)
    _, nll, hit = numerics.chunked_losses(lambda h: model.project(h, ctx), hidden, targets, weights)
    return shard.everywhere((nll, hit), bind.mesh)

  return run
