"""The published fault of gradient accumulation, made on purpose: micro-batches weigh alike, however much they train."""

import dataclasses

import jax.numpy as jnp

from itune_jax.core import contracts
from itune_jax.objectives import sft


@dataclasses.dataclass(frozen=True, kw_only=True)
class MicroMeans(sft.Sft):
  """The mean over micro-batches of each one's own mean loss a token: the loss hangs on how a batch is cut.

  A micro-batch of few trained tokens then weighs each of them more than a micro-batch of many does. Only the loss is
  wrong; the metrics are the sums that `Sft` has, so that figures can be compared.
  """

  def __call__(self, views, batch, key):
    sums = super().__call__(views, batch, key)
    trains = sums.weight > 0
    mean = jnp.where(trains, sums.loss / jnp.maximum(sums.weight, 1e-9), 0.0)
    return contracts.Sums(mean, trains.astype(jnp.float32), sums.metrics)
