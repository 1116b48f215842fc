"""A part of the joints: the clipped policy gradient (Schulman et al. 2017), advantages and old log-probs as columns."""

import dataclasses

import jax.numpy as jnp

from itune_jax.core import batch as batch_lib
from itune_jax.core import contracts


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicyGradient(contracts.Objective):
  """-Σ min(r A, clip(r, 1 ± ε) A) over trained tokens, r = p / p_old."""

  clip: float = 0.2
  chunk: int = 0
  columns = (batch_lib.Column("advantage"), batch_lib.Column("old_logprob"))

  def __call__(self, views, batch, key):
    view, trained_BT = views["policy"], batch.weights_BT != 0
    logp_BT = view.token_logprobs(batch, view.context(batch, key), chunk=self.chunk)
    ratio_BT = jnp.exp(logp_BT - jnp.where(trained_BT, batch.columns["old_logprob"], 0))
    advantage_BT = batch.columns["advantage"]
    clipped_BT = jnp.clip(ratio_BT, 1 - self.clip, 1 + self.clip)
    gain_BT = jnp.minimum(ratio_BT * advantage_BT, clipped_BT * advantage_BT)
    tokens = trained_BT.sum().astype(jnp.float32)
    return contracts.Sums(-jnp.sum(jnp.where(trained_BT, gain_BT, 0)), tokens, {})
