"""A part of the joints: cross-entropy against the k likeliest tokens of a teacher, kept as columns of the source."""

import dataclasses

import jax
import jax.numpy as jnp

from itune_jax.core import batch as batch_lib
from itune_jax.core import contracts


@dataclasses.dataclass(frozen=True, kw_only=True)
class TopK(contracts.Objective):
  """-Σ w Σ_k p_teacher(k) log p(k); `top_ids` and `top_logprobs` are [B, T, k], of the token that is predicted."""

  k: int = 3
  chunk: int = 0

  @property
  def columns(self):
    return (batch_lib.Column("top_ids", "int32", (self.k,)), batch_lib.Column("top_logprobs", "float32", (self.k,)))

  def __call__(self, views, batch, key):
    view = views["policy"]

    def fn(logits, columns):
      ids, logprobs = columns
      own = jnp.take_along_axis(jax.nn.log_softmax(logits[0]), ids, axis=-1)
      return -jnp.sum(jnp.exp(logprobs) * own, axis=-1)

    columns = batch.columns["top_ids"], batch.columns["top_logprobs"]
    each_BT = view.over_vocabulary(fn, batch, view.context(batch, key), columns=columns, chunk=self.chunk)
    return contracts.Sums(jnp.sum(batch.weights_BT * each_BT), batch.weights_BT.sum(), {})
