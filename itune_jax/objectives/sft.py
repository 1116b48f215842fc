"""Supervised fine-tuning: cross-entropy on the trained tokens, as a sum and its weight."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from itune_jax.core import batch as batch_lib
from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import numerics
from itune_jax.core import rng


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sft:
  """Σ w·nll over trained tokens.

  normalise: "token" weighs every trained token alike; "example" every example alike, whatever its length.
  z_loss: coefficient of lse² (PaLM, Chowdhery et al. 2022). neftune_alpha: noise U(-1, 1)·α/√(L·D) on the
  embeddings, L the length of the segment and not of the packed row (Jain et al. 2023). chunk: positions
  projected onto the vocabulary at a time.
  """

  normalise: Literal["token", "example"] = "token"
  z_loss: float = 0.0
  neftune_alpha: float = 0.0
  chunk: int = 256

  def __post_init__(self):
    check.check_types(self)
    check.require(self.chunk > 0, f"Sft.chunk = {self.chunk}; it must be positive")

  def __call__(self, view: contracts.View, batch: batch_lib.Batch, key) -> contracts.Sums:
    """Sums over one micro-batch."""
    weights_BT = self.weights(batch)
    ctx = view.context(batch, rng.named(key, "sft"))
    if self.neftune_alpha:
      ctx = ctx.replace(noise_BT=_neftune(batch.segments_BT, self.neftune_alpha))
    hidden_BTD, _ = view.hidden(batch.tokens_BT, ctx)
    loss, nll_BT, hit_BT = numerics.chunked_losses(
      lambda h: view.project(h, ctx), hidden_BTD, batch.targets_BT, weights_BT, chunk=self.chunk, z_loss=self.z_loss
    )
    trained_BT = (weights_BT != 0).astype(jnp.float32)
    tokens = trained_BT.sum()
    return contracts.Sums(
      loss,
      weights_BT.sum(),
      {
        "nll": (jax.lax.stop_gradient((trained_BT * nll_BT).sum()), tokens),
        "accuracy": (hit_BT.astype(jnp.float32).sum(), tokens),
      },
    )

  def weights(self, batch: batch_lib.Batch):
    """Token weights; under "example" those of one segment sum to its share of weighted tokens, 1."""
    weights_BT = batch.weights_BT.astype(jnp.float32)
    if self.normalise == "token":
      return weights_BT
    total_BT = _segment_total(weights_BT, batch.segments_BT)
    return jnp.where(total_BT > 0, weights_BT / jnp.maximum(total_BT, 1e-9), 0)


def _segment_total(x_BT, segments_BT):
  count = x_BT.shape[1] + 1
  total = lambda x, s: jax.ops.segment_sum(x, s, num_segments=count)[s]
  return jax.vmap(total)(x_BT, segments_BT)


def _neftune(segments_BT, alpha):
  length_BT = _segment_total(jnp.ones(segments_BT.shape, jnp.float32), segments_BT)
  return jnp.where(segments_BT != 0, alpha / jnp.sqrt(length_BT), 0)
