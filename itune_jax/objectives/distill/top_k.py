"""Distillation from the likeliest tokens of a teacher, which stand in columns of the prepared source."""

from collections.abc import Mapping
import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp

from itune_jax.core import batch as batch_lib
from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import numerics
from itune_jax.objectives.distill import divergences

_LEAST = 1e-9  # of the mass of a tail


@dataclasses.dataclass(frozen=True, kw_only=True)
class TopK(contracts.Objective):
  """Σ w · divergence over the k likeliest tokens of the teacher and one bucket for all others.

  The columns `top_ids` and `top_logprobs` are [B, T, k], of the token that is predicted, at temperature 1.

  k: how many tokens stand there. divergence: "forward_kl" or "reverse_kl" of these k + 1 events. tail: "bucket" counts
  the teacher's mass elsewhere as one event; "drop" leaves it out, and shares the mass of both models out among the k.
  chunk: positions projected onto the vocabulary at a time, by each shard of the batch; 0 for the default.
  """

  k: int = 64
  divergence: Literal["forward_kl", "reverse_kl"] = "forward_kl"
  tail: Literal["bucket", "drop"] = "bucket"
  chunk: int = 0

  def __post_init__(self):
    check.check_types(self)
    check.require(self.k > 0, f"TopK.k must be a number of tokens, not {self.k}")

  @property
  def columns(self) -> tuple[batch_lib.Column, ...]:
    """Ids and log-probs of the teacher's likeliest tokens."""
    return (batch_lib.Column("top_ids", "int32", (self.k,)), batch_lib.Column("top_logprobs", "float32", (self.k,)))

  def __call__(self, views: Mapping[str, contracts.View], batch: batch_lib.Batch, key: Any) -> contracts.Sums:
    """Sums over one micro-batch."""
    view = views["policy"]
    columns = batch.columns["top_ids"], batch.columns["top_logprobs"]
    each_BT = view.over_vocabulary(self.of, batch, view.context(batch, key), columns=columns, chunk=self.chunk)
    weights_BT = batch.weights_BT.astype(jnp.float32)
    trained_BT = (weights_BT != 0).astype(jnp.float32)
    mass_BT = jnp.sum(jnp.exp(columns[1]), axis=-1)
    mean = lambda x: (jax.lax.stop_gradient(jnp.sum(trained_BT * x)), trained_BT.sum())
    metrics = {"divergence": mean(each_BT), "teacher_mass": mean(mass_BT)}
    return contracts.Sums(jnp.sum(weights_BT * each_BT), weights_BT.sum(), metrics)

  def of(self, logits, columns):
    """The divergence at each position."""
    ids, teacher = columns
    z = logits[0]
    own = jnp.take_along_axis(z, ids, axis=-1) - numerics.softmax_parts(z)[2][..., None]
    student, teacher = (self._events(x) for x in (own, teacher))
    return divergences.DIVERGENCES[self.divergence](student, teacher)

  def _events(self, logprobs):
    """Log-probs of k + 1 events that exclude each other, or of k that are all there are."""
    if self.tail == "drop":
      return logprobs - numerics.softmax_parts(logprobs)[2][..., None]
    rest = jnp.maximum(1 - jnp.sum(jnp.exp(logprobs), axis=-1, keepdims=True), _LEAST)
    return jnp.concatenate([logprobs, jnp.log(rest)], axis=-1)
