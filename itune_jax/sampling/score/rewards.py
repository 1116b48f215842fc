"""Scores of whole texts by a head that scores, on packed rows: the score stands at the last token."""

from collections.abc import Callable, Sequence
import functools
from typing import Any

import jax
import numpy as np

from itune_jax.core import errors
from itune_jax.core import pack
from itune_jax.parallel import shard
from itune_jax.sampling.score import score as score_lib


def rewards(
  bind: Callable,
  params: Any,
  texts: Sequence[Sequence[int]],
  *,
  max_length: int,
  rows: int = 2,
  put: Callable = lambda x: x,
  progress: Callable[[int], None] = lambda n: None,
) -> np.ndarray:
  """Scores [texts, outputs] of ids, in the order given, float64.

  Raises InputError for an empty text, one longer than `max_length`, and a model of language.
  """
  for i, ids in enumerate(texts):
    if not len(ids) or len(ids) > max_length:
      raise errors.InputError(f"text {i}: {len(ids)} tokens; each needs one, and {max_length} is the most")
  if not texts:
    return np.zeros((0, 1))
  # One id more behind each, whose prediction stands where the text ends.
  items = [
    pack.Item(np.asarray([*ids, ids[-1]], np.int32), np.r_[np.zeros(len(ids)), 1].astype(np.float32)) for ids in texts
  ]
  lengths = [len(ids) for ids in texts]
  row_length = -(-max(max(lengths), min(1024, max_length)) // score_lib.BUCKET) * score_lib.BUCKET
  packed = pack.best_fit_decreasing(lengths, row_length)
  found: dict[int, np.ndarray] = {}
  for at in range(0, len(packed), rows):
    members = packed[at : at + rows]
    batch = pack.fill([[items[i] for i in row] for row in members] + [[]] * (rows - len(members)), row_length)
    scores_BTV = jax.device_get(program(bind)(params, put(batch)))
    for b, row in enumerate(members):
      ends = np.flatnonzero(batch.weights_BT[b])
      found |= {i: scores_BTV[b, t] for i, t in zip(row, ends, strict=True)}
    progress(sum(map(len, members)))
  return np.stack([found[i] for i in range(len(texts))]).astype(np.float64)


@functools.lru_cache(maxsize=32)
def program(bind: Any) -> Callable:
  """`(params, batch) -> scores [B, T, outputs]` at the places that carry weight, compiled once for a binder."""

  @jax.jit
  def run(params, batch):
    model = bind(params)
    ctx = model.context(batch)
    if not getattr(model.module.cfg, "scores", 0):
      raise errors.InputError("this is a model of language, which has no head that scores: name a reward model")
    scores_BTV = model.over_vocabulary(lambda logits, _: logits[0], batch, ctx)
    return shard.everywhere(scores_BTV, bind.mesh)

  return run
