"""A part of the joints: logit distillation from a teacher, by forward KL or a generalised JSD (Agarwal et al. 2024)."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from itune_jax.core import contracts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distill(contracts.Objective):
  """Σ w · divergence of the student from the teacher at every trained position."""

  kind: Literal["forward", "jsd"] = "forward"
  beta: float = 0.5
  chunk: int = 0
  needs = ("teacher",)

  def __call__(self, views, batch, key):
    policy, teacher = views["policy"], views["teacher"]
    ctx, others = policy.context(batch, key), [(teacher, teacher.context(batch))]
    each_BT = policy.over_vocabulary(
      lambda logits, _: self.divergence(*logits), batch, ctx, others=others, chunk=self.chunk
    )
    return contracts.Sums(jnp.sum(batch.weights_BT * each_BT), batch.weights_BT.sum(), {})

  def divergence(self, student, teacher):
    """[...] of logits [..., V]."""
    s, t = jax.nn.log_softmax(student), jax.nn.log_softmax(teacher)
    kl = lambda p, q: jnp.sum(jnp.exp(p) * (p - q), axis=-1)
    if self.kind == "forward":
      return kl(t, s)
    mixed = jnp.logaddexp(t + jnp.log(self.beta), s + jnp.log(1 - self.beta))
    return self.beta * kl(t, mixed) + (1 - self.beta) * kl(s, mixed)
