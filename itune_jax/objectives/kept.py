"""Any loss, and how far the policy goes from the base beside it: less is forgotten."""

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
from itune_jax.objectives import wrapping


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept(wrapping.Wrapping):
  """The sums of a loss plus kl · Σ w · KL between policy and reference at every trained token.

  What the sum is divided by is the loss's own weight: tokens in supervised tuning (so the mean by token), pairs in
  losses of pairs (so the sum over both answers of a pair).

  objective: the loss. kl: the weight of the divergence. towards: "reference" KL(reference || policy), which keeps all
  that the base does; "policy" KL(policy || reference), which keeps the policy to what the base does. chunk: positions
  projected onto the vocabulary at a time, by each shard of the batch; 0 for the default.
  """

  VIEW = "reference"

  kl: float = 0.1
  towards: Literal["reference", "policy"] = "reference"
  chunk: ranges.NonNegativeInt = 0

  def __post_init__(self):
    check.check_types(self)
    check.require(self.kl > 0, f"Kept.kl must be positive, not {self.kl}")

  def __call__(self, views: Mapping[str, contracts.View], batch: batch_lib.Batch, key: Any) -> contracts.Sums:
    """Sums over one micro-batch."""
    found = self.objective(views, batch, key)
    policy, reference = views["policy"], views["reference"]
    how: dict[str, Any] = dict(others=[(reference, reference.context(batch))], chunk=self.chunk)
    each_BT = policy.over_vocabulary(self.of, batch, policy.context(batch, key), **how)
    weights_BT = batch.weights_BT.astype(jnp.float32)
    total = jnp.sum(weights_BT * each_BT)
    kl = jax.lax.stop_gradient(total), weights_BT.sum()
    return contracts.Sums(found.loss + self.kl * total, found.weight, {**found.metrics, "kl_to_base": kl})

  def of(self, logits, columns):
    """The divergence at each position."""
    del columns
    own, base = (z - numerics.softmax_parts(z)[2][..., None] for z in logits)
    p, q = (base, own) if self.towards == "reference" else (own, base)
    return jnp.sum(jnp.exp(p) * (p - q), axis=-1)
