"""What a head that scores says at the places that carry weight, and the base of losses on it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from itune_jax.core import batch as batch_lib
from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import ranges

END = batch_lib.Column("end")  # 1 behind the last id of an answer, which the feed puts there


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scoring(contracts.Objective):
  """A loss of scores. chunk: positions projected onto the head at a time, by each shard of the batch; 0 for the
  default."""

  chunk: ranges.NonNegativeInt = 0

  def __post_init__(self):
    check.check_types(self)

  def scores(self, view: contracts.View, batch: batch_lib.Batch, key: Any) -> Any:
    """The score [B, T] at each place that carries weight, the mean of its outputs, 0 elsewhere.

    Raises InputError for a model of language, whose outputs are no scores.
    """
    return view.over_vocabulary(_mean_of_outputs, batch, view.context(batch, key), chunk=self.chunk)


def _mean_of_outputs(logits, columns):
  del columns
  outputs = logits[0].shape[-1]
  if outputs > 64:
    raise errors.InputError(
      f"a loss of scores met a model with {outputs} outputs: set Model.scores = 1, which gives it a head that scores"
    )
  return jnp.mean(logits[0], axis=-1)


def mean(x, where) -> tuple[Any, Any]:
  """(sum, count) of x at these places, without gradient."""
  return jax.lax.stop_gradient(jnp.sum(jnp.where(where, x, 0))), where.sum().astype(jnp.float32)
