"""TDPO (Zeng et al. 2024): DPO whose margin is lowered by how far the policy went from the reference at each token."""

from collections.abc import Mapping
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from itune_jax.core import batch as batch_lib
from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import numerics
from itune_jax.core import ranges
from itune_jax.objectives import groups
from itune_jax.objectives.preference import pairs as pairs_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tdpo(contracts.Objective):
  """-log σ(β(Δ - (D_rejected - D_chosen))), D the sum over an answer of KL(π_ref || π) at each of its tokens.

  beta: how far the policy may go from the reference. alpha: TDPO2, which weighs D by it and gives D_chosen no gradient;
  0 is TDPO1, as above. check_start: the run ends at its first step where policy and reference differ. chunk: positions
  projected onto the vocabulary at a time, by each shard of the batch; 0 for the default.
  """

  beta: float = 0.1
  alpha: float = 0.5
  check_start: bool = True
  chunk: ranges.NonNegativeInt = 0

  def __post_init__(self):
    check.check_types(self)
    check.require(self.beta > 0, f"Tdpo.beta must be positive, not {self.beta}")
    check.require(self.alpha >= 0, f"Tdpo.alpha must be 0 or more, not {self.alpha}")

  @property
  def needs(self) -> tuple[str, ...]:
    """The reference."""
    return ("reference",)

  @property
  def columns(self) -> tuple[batch_lib.Column, ...]:
    """The side of each answer."""
    return (pairs_lib.SIDE,)

  @property
  def starts_at(self) -> Mapping[str, float]:
    """Rewards are 0 where policy and reference are the same."""
    return {"rewards/size": 0.0} if self.check_start else {}

  def __call__(self, views: Mapping[str, contracts.View], batch: batch_lib.Batch, key: Any) -> contracts.Sums:
    """Sums over one micro-batch."""
    policy, reference = views["policy"], views["reference"]
    others = [(reference, reference.context(batch))]
    how: dict[str, Any] = dict(others=others, columns=batch.targets_BT, chunk=self.chunk)
    logp_BT, ref_BT, kl_BT = policy.over_vocabulary(_parts, batch, policy.context(batch, key), **how)
    pairs = pairs_lib.of(batch, logp_BT, ref_BT)
    chosen_BT, rejected_BT = pairs_lib.sides(batch)
    total = lambda w_BT: groups.sums(w_BT * kl_BT, batch.groups_BT)
    loss = losses(pairs, total(chosen_BT), total(rejected_BT), self.beta, self.alpha)
    chosen, rejected = pairs.ratios
    found = pairs_lib.sums(pairs, loss, (self.beta * chosen, self.beta * rejected))
    trained_BT = (batch.weights_BT != 0).astype(jnp.float32)
    kl = jax.lax.stop_gradient(jnp.sum(trained_BT * kl_BT)), trained_BT.sum()
    return found._replace(metrics={**found.metrics, "kl": kl})


def losses(pairs: pairs_lib.Pairs, chosen_kl, rejected_kl, beta: float, alpha: float):
  """The loss of each pair, of the sums of KL over both answers."""
  chosen, rejected = pairs.ratios
  if not alpha:
    return -jax.nn.log_sigmoid(beta * (chosen - rejected - (rejected_kl - chosen_kl)))
  further = rejected_kl - jax.lax.stop_gradient(chosen_kl)
  return -jax.nn.log_sigmoid(beta * (chosen - rejected - alpha * further))


def _parts(logits, targets):
  """log p of the targets by both models, and KL(reference || policy)."""
  own, ref = (z - numerics.softmax_parts(z)[2][..., None] for z in logits)
  kl = jnp.sum(jnp.exp(ref) * (ref - own), axis=-1)
  return numerics.at_target(own, targets), numerics.at_target(ref, targets), kl
