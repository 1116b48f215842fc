"""Supervised fine-tuning: cross-entropy on the trained tokens, as a sum and its weight."""

from collections.abc import Mapping
import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from itune_jax.core import batch as batch_lib
from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import examples
from itune_jax.core import ranges
from itune_jax.core import vocabulary
from itune_jax.core import rng


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sft(contracts.Objective):
  """Σ w·nll over trained tokens.

  normalise: "token" weighs every trained token alike; "example" every example alike, whatever its length.
  z_loss: coefficient of lse² (PaLM, Chowdhery et al. 2022). neftune_alpha: noise U(-1, 1)·α/√(L·D) on the
  embeddings, L the length of the example and not of the packed row (Jain et al. 2023); a prompt that several examples
  share gets one noise, as strong as theirs are on average. chunk: positions projected onto
  the vocabulary at a time, by each shard of the batch; 0 is 256, and fewer where the vocabulary is larger than 49,152,
  so that memory does not grow with it. router_balance: coefficient of the load-balance term of mixtures
  of experts (Fedus et al. 2021), meant over layers; router_balance_over: "segment" weighs each segment's own term by
  its trained tokens, and so is the same however a batch is cut; "batch" is one term over all tokens of a micro-batch
  and all layers, as transformers has it, and is not.
  """

  normalise: Literal["token", "example"] = "token"
  z_loss: ranges.NonNegativeFloat = 0.0
  neftune_alpha: ranges.NonNegativeFloat = 0.0
  chunk: int = 0
  router_balance: ranges.NonNegativeFloat = 0.0
  router_balance_over: Literal["segment", "batch"] = "segment"

  def __post_init__(self):
    check.check_types(self)
    check.require(self.chunk >= 0, f"Sft.chunk must be a number of positions, or 0 for the default, not {self.chunk}")

  def __call__(self, views: Mapping[str, contracts.View], batch: batch_lib.Batch, key) -> contracts.Sums:
    """Sums over one micro-batch."""
    view, weights_BT = views["policy"], self.weights(batch)
    ctx = view.context(batch, rng.named(key, "sft"))
    if self.neftune_alpha:
      ctx = ctx.replace(noise_BT=_neftune(batch.segments_BT, batch.trunks_BT, self.neftune_alpha))
    if self.router_balance:
      ctx = ctx.replace(aux={})
    hidden_BTD, aux = view.hidden(batch.tokens_BT, ctx)
    loss, nll_BT, hit_BT = vocabulary.cross_entropy(
      lambda h, at: view.project(h, ctx.replace(at_BT=at)),
      hidden_BTD,
      batch.targets_BT,
      weights_BT,
      chunk=self.chunk,
      shards=ctx.logit_shards,
      z_loss=self.z_loss,
    )
    trained_BT = (weights_BT != 0).astype(jnp.float32)
    tokens = trained_BT.sum()
    metrics = {
      "nll": (jax.lax.stop_gradient((trained_BT * nll_BT).sum()), tokens),
      "accuracy": (hit_BT.astype(jnp.float32).sum(), tokens),
    }
    if self.router_balance:
      balance = self._balance(aux, weights_BT)
      loss += self.router_balance * balance
      metrics["router_balance"] = (jax.lax.stop_gradient(balance), weights_BT.sum())
    return contracts.Sums(loss, weights_BT.sum(), metrics)

  def _balance(self, aux, weights_BT):
    """Σ w · load-balance term; 1 a token where the experts share evenly, times the experts of a token. The terms of the
    model's own experts and of adapters', of each number of experts, add up."""
    kinds = sorted(name.removesuffix("_layers") for name in aux if name.endswith("_layers"))
    check.require(
      kinds,
      "Sft.router_balance is set, but nothing routes here: the model is no mixture of experts, and no method is one"
      " (or layers run in stages)",
    )
    return sum(self._balance_of(kind, aux, weights_BT) for kind in kinds)

  def _balance_of(self, kind: str, aux, weights_BT):
    if self.router_balance_over == "segment":
      return jnp.sum(weights_BT * aux[f"{kind}_balance_BT"]) / aux[f"{kind}_layers"]
    sent_E, probs_E = aux[f"{kind}_sent_E"], aux[f"{kind}_probs_E"]
    routed = jnp.maximum(jnp.sum(probs_E), 1)
    return weights_BT.sum() * probs_E.shape[0] * jnp.sum(sent_E * probs_E) / routed**2

  def weights(self, batch: batch_lib.Batch):
    """Token weights; under "example" those of one segment sum to its share of weighted tokens, 1."""
    weights_BT = batch.weights_BT.astype(jnp.float32)
    if self.normalise == "token":
      return weights_BT
    total_BT = _example_total(weights_BT, batch.segments_BT, batch.trunks_BT)
    return jnp.where(total_BT > 0, weights_BT / jnp.maximum(total_BT, 1e-9), 0)


def _example_total(x_BT, segments_BT, groups_BT):
  return jax.vmap(lambda total, s: total[s])(examples.totals(x_BT, segments_BT, groups_BT), segments_BT)


def _neftune(segments_BT, groups_BT, alpha):
  length_BT = _example_total(jnp.ones(segments_BT.shape, jnp.float32), segments_BT, groups_BT)
  scale_BT = jnp.where(segments_BT != 0, alpha / jnp.sqrt(length_BT), 0)
  if groups_BT is None:
    return scale_BT
  variance_BT = examples.over_branches(1 / length_BT, segments_BT, groups_BT)
  mean_BT = variance_BT / jnp.maximum(examples.copies(segments_BT, groups_BT), 1)
  return jnp.where(groups_BT > 0, alpha * jnp.sqrt(mean_BT), scale_BT)
