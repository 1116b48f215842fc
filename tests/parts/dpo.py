"""A part of the joints: DPO (Rafailov et al. 2023) on pairs that are groups of packed rows."""

import dataclasses

import jax
import jax.numpy as jnp

from itune_jax.core import batch as batch_lib
from itune_jax.core import contracts
from itune_jax.objectives import groups


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dpo(contracts.Objective):
  """-log σ(β · (policy's margin - reference's margin)), summed over pairs; column `side` is 1 or -1."""

  beta: float = 0.1
  chunk: int = 0
  needs = ("reference",)
  columns = (batch_lib.Column("side"),)

  def __call__(self, views, batch, key):
    margin = lambda view, key: groups.sums(
      batch.columns["side"] * view.token_logprobs(batch, view.context(batch, key), chunk=self.chunk), batch.groups_BT
    )
    policy, reference = margin(views["policy"], key), margin(views["reference"], None)
    is_pair = groups.present(batch.weights_BT, batch.groups_BT)
    z = self.beta * (policy - reference)
    loss = jnp.sum(jnp.where(is_pair, -jax.nn.log_sigmoid(z), 0))
    pairs = is_pair.sum().astype(jnp.float32)
    won = jnp.sum(jnp.where(is_pair, z > 0, False)).astype(jnp.float32)
    return contracts.Sums(loss, pairs, {"accuracy": (won, pairs)})
