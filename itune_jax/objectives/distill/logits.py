"""Distillation from a teacher on the same mesh: a divergence of both distributions at every trained token."""

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distill(contracts.Objective):
  """Σ w · divergence of the student from the teacher; neither's logits [B, T, V] exist.

  divergence: "forward_kl" (Hinton et al. 2015), "reverse_kl", "jsd" (GKD, Agarwal et al. 2024), "scaled_jsd" which is
  that without the jump at its ends, or "total_variation". beta: the teacher's share in the mixture of the two "jsd".
  temperature: what both models' logits are divided by. scale: multiplies the divergence; temperature² keeps the size of
  gradients. sft: weight of the cross-entropy on the data's own tokens, beside the divergence. chunk: positions
  projected onto the vocabulary at a time, by each shard of the batch; 0 for the default.
  """

  divergence: Literal["forward_kl", "reverse_kl", "jsd", "scaled_jsd", "total_variation"] = "forward_kl"
  beta: float = 0.5
  temperature: float = 1.0
  scale: float = 1.0
  sft: float = 0.0
  chunk: int = 0

  def __post_init__(self):
    check.check_types(self)
    check.require(self.temperature > 0, f"Distill.temperature must be positive, not {self.temperature}")
    check.require(self.scale > 0, f"Distill.scale must be positive, not {self.scale}")
    check.require(self.sft >= 0, f"Distill.sft must be a weight of 0 or more, not {self.sft}")
    mixed = self.divergence in divergences.MIXED
    check.require(
      not mixed or 0 < self.beta < 1,
      f"Distill.beta = {self.beta}: {self.divergence} is 0 at both ends; 'forward_kl' and 'reverse_kl' are the limits "
      "of 'scaled_jsd' at 0 and at 1",
    )
    check.require(mixed or self.beta == 0.5, f"Distill.beta acts on 'jsd' and 'scaled_jsd', not on {self.divergence!r}")

  @property
  def needs(self) -> tuple[str, ...]:
    """The teacher."""
    return ("teacher",)

  def __call__(self, views: Mapping[str, contracts.View], batch: batch_lib.Batch, key: Any) -> contracts.Sums:
    """Sums over one micro-batch."""
    policy, teacher = views["policy"], views["teacher"]
    others = [(teacher, teacher.context(batch))]
    how: dict[str, Any] = dict(others=others, columns=batch.targets_BT, chunk=self.chunk)
    each_BT, nll_BT, agree_BT = policy.over_vocabulary(self.of, batch, policy.context(batch, key), **how)
    weights_BT = batch.weights_BT.astype(jnp.float32)
    loss = jnp.sum(weights_BT * (self.scale * each_BT + self.sft * nll_BT))
    trained_BT = (weights_BT != 0).astype(jnp.float32)
    mean = lambda x: (jax.lax.stop_gradient(jnp.sum(trained_BT * x)), trained_BT.sum())
    metrics = {"divergence": mean(each_BT), "nll": mean(nll_BT), "agreement": mean(agree_BT)}
    return contracts.Sums(loss, weights_BT.sum(), metrics)

  def of(self, logits, targets):
    """The divergence, the cross-entropy of the targets, and whether both models' best tokens are the same."""
    student, teacher = (_log_softmax(z / self.temperature) for z in logits)
    each = divergences.DIVERGENCES[self.divergence](student, teacher, self.beta)
    own = logits[0]
    nll = numerics.softmax_parts(own)[2] - numerics.at_target(own, targets)
    best = [numerics.first_largest(z) for z in logits]
    return each, nll, (best[0] == best[1]).astype(jnp.float32)


def _log_softmax(z):
  return z - numerics.softmax_parts(z)[2][..., None]
