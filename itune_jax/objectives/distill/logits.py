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
from itune_jax.core import ranges
from itune_jax.objectives.distill import divergences

AHEAD = batch_lib.Column("ahead", "int32")  # how many places further the teacher predicts the same


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distill(contracts.Objective):
  """Σ w · divergence of the student from the teacher; neither's logits [B, T, V] exist.

  divergence: "forward_kl" (Hinton et al. 2015), "reverse_kl", "jsd" (GKD, Agarwal et al. 2024), "scaled_jsd" which is
  that without the jump at its ends, "total_variation", or "uld" of sorted probabilities, for a teacher of another
  vocabulary. beside: whether the teacher reads its own tokens (Source.teacher, Source.context), which stand beside the
  student's; compared are the places at which both begin a token at the same character. beta: the teacher's share in the
  mixture of the two "jsd". temperature: what both models' logits are divided by. scale: multiplies the divergence;
  temperature² keeps the size of gradients. sft: weight of the cross-entropy on the data's own tokens, beside the
  divergence. chunk: positions projected onto the vocabulary at a time, by each shard of the batch; 0 for the default.
  """

  divergence: Literal["forward_kl", "reverse_kl", "jsd", "scaled_jsd", "total_variation", "uld"] = "forward_kl"
  beside: bool = False
  beta: float = 0.5
  temperature: float = 1.0
  scale: float = 1.0
  sft: float = 0.0
  chunk: ranges.NonNegativeInt = 0

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

  @property
  def columns(self) -> tuple[batch_lib.Column, ...]:
    """Where the teacher predicts the same, if it reads tokens of its own."""
    return (AHEAD,) if self.beside else ()

  def __call__(self, views: Mapping[str, contracts.View], batch: batch_lib.Batch, key: Any) -> contracts.Sums:
    """Sums over one micro-batch."""
    policy, teacher = views["policy"], views["teacher"]
    others = [(_Ahead(teacher, batch) if self.beside else teacher, teacher.context(batch))]
    how: dict[str, Any] = dict(others=others, columns=batch.targets_BT, chunk=self.chunk)
    each_BT, nll_BT, agree_BT = policy.over_vocabulary(self.of, batch, policy.context(batch, key), **how)
    weights_BT = batch.weights_BT.astype(jnp.float32)
    loss = jnp.sum(weights_BT * (self.scale * each_BT + self.sft * nll_BT))
    trained_BT = (weights_BT != 0).astype(jnp.float32)
    mean = lambda x: (jax.lax.stop_gradient(jnp.sum(trained_BT * x)), trained_BT.sum())
    metrics = {"divergence": mean(each_BT), "nll": mean(nll_BT)}
    metrics |= {"agreement": mean(agree_BT)} if self.divergence != "uld" else {}  # best tokens of one vocabulary
    return contracts.Sums(loss, weights_BT.sum(), metrics)

  def of(self, logits, targets):
    """The divergence, the cross-entropy of the targets, and whether both models' best tokens are the same."""
    student, teacher = (_log_softmax(z / self.temperature) for z in logits)
    each = divergences.DIVERGENCES[self.divergence](student, teacher, self.beta)
    own = logits[0]
    nll = numerics.softmax_parts(own)[2] - numerics.at_target(own, targets)
    best = [numerics.first_largest(z) for z in logits]
    return each, nll, (best[0] == best[1]).astype(jnp.float32)


class _Ahead(contracts.View):
  """A teacher's hidden states, each at the place of the student's that predicts the same."""

  def __init__(self, inner: contracts.View, batch: batch_lib.Batch):
    self._inner, self._ahead_BT = inner, batch.columns["ahead"]

  def context(self, batch: batch_lib.Batch, key: Any = None) -> batch_lib.Ctx:
    """The teacher's."""
    return self._inner.context(batch, key)

  def hidden(self, tokens_BT: Any, ctx: batch_lib.Ctx) -> tuple[Any, Any]:
    """Taken from where the teacher predicts what the student does."""
    hidden_BTD, aux = self._inner.hidden(tokens_BT, ctx)
    T = hidden_BTD.shape[1]
    at_BT = jnp.clip(jnp.arange(T)[None] + self._ahead_BT, 0, T - 1)
    return jnp.take_along_axis(hidden_BTD, at_BT[..., None], axis=1), aux

  def project(self, hidden: Any, ctx: Any = None) -> Any:
    """The teacher's."""
    return self._inner.project(hidden, ctx)


def _log_softmax(z):
  return z - numerics.softmax_parts(z)[2][..., None]
