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
from itune_jax.core import ranges
from itune_jax.objectives.distill import divergences

_LEAST = 1e-9  # of the mass of a tail


@dataclasses.dataclass(frozen=True, kw_only=True)
class TopK(contracts.Objective):
  """Σ w · divergence over the k likeliest tokens of the teacher and one bucket for all others.

  The columns `top_ids` and `top_logprobs` are [B, T, k], of the token that is predicted, at `temperature`: those of a
  teacher that `itune prepare --with_teacher` stored.

  k: how many tokens stand there. divergence: "forward_kl" or "reverse_kl" of these k + 1 events. tail: "bucket" counts
  the teacher's mass elsewhere as one event; "drop" leaves it out, and shares the mass of both models out among the k.
  temperature: what both models' logits are divided by. scale: multiplies the divergence; temperature² keeps the size of
  gradients. live: whether the teacher runs beside the student, in place of columns. chunk: positions projected onto
  the vocabulary at a time, by each shard of the batch; 0 for the default.
  """

  k: int = 64
  divergence: Literal["forward_kl", "reverse_kl"] = "forward_kl"
  tail: Literal["bucket", "drop"] = "bucket"
  temperature: float = 1.0
  scale: float = 1.0
  live: bool = False
  chunk: ranges.NonNegativeInt = 0

  def __post_init__(self):
    check.check_types(self)
    check.require(self.k > 0, f"TopK.k must be a number of tokens, not {self.k}")
    check.require(self.temperature > 0, f"TopK.temperature must be positive, not {self.temperature}")
    check.require(self.scale > 0, f"TopK.scale must be positive, not {self.scale}")

  @property
  def needs(self) -> tuple[str, ...]:
    """The teacher, where it runs."""
    return ("teacher",) if self.live else ()

  @property
  def columns(self) -> tuple[batch_lib.Column, ...]:
    """Ids and log-probs of the teacher's likeliest tokens, where it does not run."""
    stored = (batch_lib.Column("top_ids", "int32", (self.k,)), batch_lib.Column("top_logprobs", "float32", (self.k,)))
    return () if self.live else stored

  def __call__(self, views: Mapping[str, contracts.View], batch: batch_lib.Batch, key: Any) -> contracts.Sums:
    """Sums over one micro-batch."""
    view, how = views["policy"], {}
    if self.live:
      how["others"] = [(views["teacher"], views["teacher"].context(batch))]
    else:
      how["columns"] = batch.columns["top_ids"], batch.columns["top_logprobs"]
    each_BT, mass_BT = view.over_vocabulary(self.of, batch, view.context(batch, key), chunk=self.chunk, **how)
    weights_BT = batch.weights_BT.astype(jnp.float32)
    trained_BT = (weights_BT != 0).astype(jnp.float32)
    mean = lambda x: (jax.lax.stop_gradient(jnp.sum(trained_BT * x)), trained_BT.sum())
    metrics = {"divergence": mean(each_BT), "teacher_mass": mean(mass_BT)}
    return contracts.Sums(self.scale * jnp.sum(weights_BT * each_BT), weights_BT.sum(), metrics)

  def of(self, logits, columns):
    """The divergence at each position, and the teacher's mass on its likeliest tokens."""
    ids, teacher = likeliest(logits[1], self.k, self.temperature) if self.live else columns
    z = logits[0] / self.temperature
    own = jnp.take_along_axis(z, ids, axis=-1) - numerics.softmax_parts(z)[2][..., None]
    student, events = (self._events(x) for x in (own, teacher))
    return divergences.DIVERGENCES[self.divergence](student, events), jnp.sum(jnp.exp(teacher), axis=-1)

  def _events(self, logprobs):
    """Log-probs of k + 1 events that exclude each other, or of k that are all there are."""
    if self.tail == "drop":
      return logprobs - numerics.softmax_parts(logprobs)[2][..., None]
    rest = jnp.maximum(1 - jnp.sum(jnp.exp(logprobs), axis=-1, keepdims=True), _LEAST)
    return jnp.concatenate([logprobs, jnp.log(rest)], axis=-1)


def likeliest(logits, k: int, temperature: float = 1.0):
  """Ids [..., k] and log-probs [..., k] of the likeliest tokens of logits [..., V], the likeliest first."""
  z = logits / temperature
  top, ids = jax.lax.top_k(z, k)
  return ids.astype(jnp.int32), top - numerics.softmax_parts(z)[2][..., None]
