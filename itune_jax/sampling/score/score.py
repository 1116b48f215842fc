"""Log-likelihoods and held-out losses on packed rows: the vocabulary is projected only where a score is asked."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from itune_jax.core import batch as batch_lib
from itune_jax.core import errors
from itune_jax.core import vocabulary
from itune_jax.core import pack
from itune_jax.parallel import shard
from itune_jax.sampling.score import branches

BUCKET = 256


class Score(NamedTuple):
  """Of one continuation: sum of log-probabilities in nats, whether greedy decoding would give it, its tokens."""

  logprob: float
  is_greedy: bool
  tokens: int


def loglikelihood(
  bind: Callable,
  params: Any,
  pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
  *,
  max_length: int,
  rows: int = 2,
  put: Callable = lambda x: x,
  progress: Callable[[int], None] = lambda n: None,
  images: Sequence[Any] = (),
  adapters: Sequence[int] | None = None,
) -> list[Score]:
  """Scores (context ids, continuation ids), in the order given.

  A context that several pairs share runs once (`branches`); other pairs are segments of packed rows.

  images: pixels [I, H, W, 3] in each context or None, where any has some. adapters: the number of each pair's adapter,
  where several ride on one base (`peft.mixed`).

  Raises InputError for an empty context or continuation, or one whose tokens but the last, which predicts nothing, are
  more than `max_length`.
  """
  for i, (context, continuation) in enumerate(pairs):
    if not len(context) or not len(continuation) or len(context) + len(continuation) > max_length + 1:
      raise errors.InputError(
        f"pair {i}: {len(context)} + {len(continuation)} tokens; each needs one, and {max_length + 1} is the most"
      )
  groups = {} if any(x is not None for x in images) or not bind(params).can_branch else _shared(pairs, adapters)
  found: dict[int, Score] = {}
  if groups:
    make = lambda members, own: branches.Group(pairs[members[0]][0], [pairs[i][1] for i in members], own)
    scores = branches.score(bind, params, [make(members, own) for (_, own), members in groups.items()], progress)
    for members, group in zip(groups.values(), scores, strict=True):
      found |= {i: Score(*one, len(pairs[i][1])) for i, one in zip(members, group, strict=True)}
  alone = [i for i in range(len(pairs)) if i not in found]
  pick = lambda given: [given[i] for i in alone] if given else given
  rest = _packed(bind, params, pick(pairs), max_length, rows, put, progress, pick(images), pick(adapters))
  found |= dict(zip(alone, rest, strict=True))
  return [found[i] for i in range(len(pairs))]


def _shared(pairs, adapters) -> dict[tuple[tuple[int, ...], int | None], list[int]]:
  """Numbers of pairs by context and adapter, where there are several."""
  found: dict[tuple[tuple[int, ...], int | None], list[int]] = {}
  for i, (context, _) in enumerate(pairs):
    found.setdefault((tuple(context), None if adapters is None else adapters[i]), []).append(i)
  return {key: members for key, members in found.items() if len(members) > 1}


def _packed(bind, params, pairs, max_length, rows, put, progress, images, adapters) -> list[Score]:
  """Each pair a segment of a packed row."""
  if not pairs:
    return []
  ids = [np.asarray([*c, *d], np.int32) for c, d in pairs]
  weights = [np.r_[np.zeros(len(c), np.float32), np.ones(len(d), np.float32)] for c, d in pairs]
  items = [pack.Item(*given) for given in zip(ids, weights, images or [None] * len(ids), strict=True)]
  lengths = [len(x) - 1 for x in ids]
  row_length = -(-max(max(lengths), min(1024, max_length)) // BUCKET) * BUCKET
  packed = pack.best_fit_decreasing(lengths, row_length)
  found: dict[int, Score] = {}
  for at in range(0, len(packed), rows):
    members = packed[at : at + rows]
    batch = pack.fill([[items[i] for i in row] for row in members] + [[]] * (rows - len(members)), row_length)
    if adapters is not None:
      batch = dataclasses.replace(batch, adapters_BT=_by_segment(adapters, members, batch.segments_BT))
    nll_BT, hit_BT = losses(bind, params, put(batch))
    for b, row in enumerate(members):
      for segment, i in enumerate(row, 1):
        here = (batch.segments_BT[b] == segment) & (batch.weights_BT[b] != 0)
        found[i] = Score(-float(nll_BT[b, here].sum(dtype=np.float64)), bool(hit_BT[b, here].all()), int(here.sum()))
    progress(sum(map(len, members)))
  return [found[i] for i in range(len(pairs))]


def _by_segment(adapters: Sequence[int], members, segments_BT):
  """The adapter's number [B, T] at every position of packed rows."""
  numbers_BT = np.zeros(segments_BT.shape, np.int32)
  for b, row in enumerate(members):
    numbers_BT[b] = np.asarray([0, *(adapters[i] for i in row)], np.int32)[segments_BT[b]]
  return numbers_BT


def losses(bind: Callable, params: Any, batch: batch_lib.Batch) -> tuple[np.ndarray, np.ndarray]:
  """(nll_BT in nats, is_argmax_BT) at the weighted positions of a batch, zero elsewhere."""
  return jax.device_get(program(bind)(params, batch))


@functools.lru_cache(maxsize=32)
def program(bind: Any) -> Callable:
  """`(params, batch) -> (nll_BT, is_argmax_BT)`, compiled once for a binder."""

  @jax.jit
  def run(params, batch):
    model = bind(params)
    ctx = model.context(batch)
    hidden_BTD, _ = model.hidden(batch.tokens_BT, ctx)
    _, nll_BT, hit_BT = vocabulary.cross_entropy(
      lambda h, at: model.project(h, ctx.replace(at_BT=at)),
      hidden_BTD,
      batch.targets_BT,
      batch.weights_BT.astype(jnp.float32),
      shards=ctx.logit_shards,
    )
    return shard.everywhere((nll_BT, hit_BT), bind.mesh)

  return run
