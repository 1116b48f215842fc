"""What a model says at every token of many items: items are segments of packed rows, so no pass holds one item alone.

An item is what training has (`core.pack.Item`): ids, and a weight for each; values are had where the weight is not
zero. What comes back stands in the order of the items, whatever their company was.
"""

from collections.abc import Callable, Iterator, Sequence
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from itune_jax.core import batch as batch_lib
from itune_jax.core import errors
from itune_jax.core import numerics
from itune_jax.core import pack
from itune_jax.parallel import shard
from itune_jax.sampling.score import score

BUCKET, ROW = (
  64,
  1024,
)  # a row's positions are a multiple of the first; so many where there is more than one row of them


class Losses(NamedTuple):
  """Of one item: nats [n] of each token that has a weight, in order, and whether it is the likeliest one [n]."""

  nats: np.ndarray
  hits: np.ndarray


class Surprise(NamedTuple):
  """Of the tokens of an item that have a weight, each [n]: log p of the token, and mean and standard deviation of log p
  over the vocabulary, drawn from p itself, all in nats."""

  logprob: np.ndarray
  mean: np.ndarray
  deviation: np.ndarray


class Part(NamedTuple):
  """Items that run together: the numbers of those in each row, and the batch."""

  members: list[list[int]]
  batch: batch_lib.Batch


def packed(items: Sequence[pack.Item], *, rows: int, max_length: int) -> Iterator[Part]:
  """Packed batches of `rows` rows over all items. Raises InputError for an item that the model cannot hold."""
  lengths = [len(item.ids) - 1 for item in items]
  for i, n in enumerate(lengths):
    if not 0 < n <= max_length:
      raise errors.InputError(f"item {i}: {n} positions; a model that knows {max_length} scores from 1 to as many")
  row_length = -(-max(max(lengths, default=1), min(ROW, sum(lengths))) // BUCKET) * BUCKET
  filled = pack.best_fit_decreasing(lengths, row_length)
  for at in range(0, len(filled), rows):
    members = filled[at : at + rows]
    members += [[]] * (rows - len(members))
    yield Part(members, pack.fill([[items[i] for i in row] for row in members], row_length))


def values(
  run: Callable[[batch_lib.Batch], Any],
  items: Sequence[pack.Item],
  *,
  rows: int,
  max_length: int,
  progress: Callable[[int], None] = lambda n: None,
) -> list[Any]:
  """What `run` says of each position [B, T, ...], a tree of arrays, as a tree of arrays [n, ...] for each item."""
  found: list[Any] = [None] * len(items)
  for members, batch in packed(items, rows=rows, max_length=max_length):
    said = jax.device_get(run(batch))
    for b, row in enumerate(members):
      for segment, i in enumerate(row, 1):
        here = (batch.segments_BT[b] == segment) & (batch.weights_BT[b] != 0)
        found[i] = jax.tree.map(lambda x, b=b, here=here: np.asarray(x[b])[here], said)
    progress(sum(map(len, members)))
  return found


def losses(bind: Any, params: Any, items: Sequence[pack.Item], put: Callable, **how: Any) -> list[Losses]:
  """Nats of the tokens of each item, as training and log-likelihoods have them. how: of `values`."""
  run = score.program(bind)
  return [Losses(*one) for one in values(lambda batch: run(params, put(batch)), items, **how)]


def surprises(bind: Any, params: Any, items: Sequence[pack.Item], put: Callable, **how: Any) -> list[Surprise]:
  """How surprising each token is beside what the model expected there. how: of `values`."""
  run = _surprise(bind)
  return [Surprise(*one) for one in values(lambda batch: run(params, put(batch)), items, **how)]


def pooled(
  bind: Any,
  params: Any,
  texts: Sequence[Sequence[int]],
  weigh: Callable[[int], np.ndarray],
  put: Callable,
  *,
  rows: int,
  max_length: int,
  progress: Callable[[int], None] = lambda n: None,
) -> np.ndarray:
  """Σ w·h / Σ w of the final hidden states of each text's ids, [N, D] float32.

  weigh: the weights [n] of a text of n ids, by their places. All ids are read, the last one too.
  """
  behind = lambda n: np.r_[np.float32(0), np.asarray(weigh(n), np.float32)]  # at t stands the weight of id t
  items = [pack.Item(np.asarray([*ids, 0], np.int32), behind(len(ids))) for ids in texts]
  found: list[Any] = [None] * len(items)
  for members, batch in packed(items, rows=rows, max_length=max_length):
    count = 1 << max(map(len, members)).bit_length()  # a power of two beyond segment 0: few programs are compiled
    sums_BSD = jax.device_get(_pooled(bind, count)(params, put(batch)))
    for b, row in enumerate(members):
      for segment, i in enumerate(row, 1):
        found[i] = sums_BSD[b, segment]
    progress(sum(map(len, members)))
  return np.stack(found).astype(np.float32) if found else np.zeros((0, 0), np.float32)


@functools.lru_cache(maxsize=32)
def _surprise(bind: Any) -> Callable:
  """`(params, batch) -> (log p, mean, deviation)`, each [B, T]."""

  def of(logits, targets):
    parts, total, lse = numerics.softmax_parts(logits[0])
    logp = logits[0] - lse[..., None]
    p = parts / total
    mean = jnp.sum(p * logp, axis=-1)
    # Around the mean: the difference of two large squares would cancel.
    spread = jnp.sum(p * (logp - mean[..., None]) ** 2, axis=-1)
    return numerics.at_target(logits[0], targets) - lse, mean, jnp.sqrt(spread)

  @jax.jit
  def run(params, batch):
    model = bind(params)
    found = model.over_vocabulary(of, batch, model.context(batch), columns=batch.targets_BT)
    return shard.everywhere(found, bind.mesh)

  return run


@functools.lru_cache(maxsize=64)
def _pooled(bind: Any, count: int) -> Callable:
  """`(params, batch) -> means [B, S, D]` of the hidden states of each segment, by the batch's weights."""

  @jax.jit
  def run(params, batch):
    model = bind(params)
    hidden_BTD, _ = model.hidden(batch.tokens_BT, model.context(batch))
    weights_BT = batch.weights_BT.astype(jnp.float32)
    total = jax.vmap(lambda x, s: jax.ops.segment_sum(x, s, num_segments=count))
    sums_BSD = total(weights_BT[..., None] * hidden_BTD.astype(jnp.float32), batch.segments_BT)
    weight_BS = total(weights_BT, batch.segments_BT)
    return shard.everywhere(sums_BSD / jnp.maximum(weight_BS, 1e-30)[..., None], bind.mesh)

  return run
