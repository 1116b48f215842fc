"""TPO (Saeidi et al. 2024): a contrast of two answers, and an SFT term on a third that is better than both."""

import dataclasses
from typing import Any, Literal
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from itune_jax.core import batch as batch_lib
from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import ranges
from itune_jax.objectives import groups
from itune_jax.objectives.preference import pairs as pairs_lib

GOLD = batch_lib.Column("gold")  # 1 on the third answer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tpo(contracts.Objective):
  """loss(β(log π(chosen) - log π(rejected))) - alpha · mean log π a token of the gold answer; no reference model.

  loss: "sigmoid", "hinge", "ipo" of log-probs by token, or "tpo_l" -log σ(βΔ - gamma) of log-probs by token. beta: the
  temperature of the contrast. alpha: weight of the SFT term. gamma: the margin of "tpo_l". label_smoothing: share of
  labels that are taken to be wrong, of "sigmoid" and "tpo_l". chunk: positions projected onto the vocabulary at a time,
  by each shard of the batch; 0 for the default.
  """

  loss: Literal["sigmoid", "hinge", "ipo", "tpo_l"] = "sigmoid"
  beta: float = 0.01
  alpha: float = 1.0
  gamma: ranges.NonNegativeFloat = 0.5
  label_smoothing: float = 0.0
  chunk: ranges.NonNegativeInt = 0

  def __post_init__(self):
    check.check_types(self)
    check.require(self.beta > 0, f"Tpo.beta must be positive, not {self.beta}")
    check.require(self.alpha > 0, f"Tpo.alpha must be positive, not {self.alpha}: without the SFT term it is cpo.Cpo")
    check.require(
      0 <= self.label_smoothing < 0.5, f"Tpo.label_smoothing must be 0 or more, below 0.5, not {self.label_smoothing}"
    )
    check.require(
      not self.label_smoothing or self.loss in ("sigmoid", "tpo_l"),
      "Tpo.label_smoothing acts on the losses 'sigmoid' and 'tpo_l' alone: set it to 0",
    )

  @property
  def columns(self) -> tuple[batch_lib.Column, ...]:
    """The side of both answers, and which is the third."""
    return (pairs_lib.SIDE, GOLD)

  def __call__(self, views: Mapping[str, contracts.View], batch: batch_lib.Batch, key: Any) -> contracts.Sums:
    """Sums over one micro-batch."""
    view = views["policy"]
    logp_BT = view.token_logprobs(batch, view.context(batch, key), chunk=self.chunk)
    pairs = pairs_lib.of(batch, logp_BT)
    gold_BT = jnp.where(batch.columns["gold"] > 0, batch.weights_BT.astype(jnp.float32), 0)
    total = lambda x_BT: groups.sums(x_BT, batch.groups_BT)
    length = jnp.where(pairs.is_pair, jnp.maximum(total(gold_BT), 1e-9), 1)
    nll = -total(gold_BT * logp_BT) / length
    chosen, rejected = pairs.means if self.loss in ("ipo", "tpo_l") else (pairs.chosen, pairs.rejected)
    found = pairs_lib.sums(pairs, self._contrast(chosen - rejected) + self.alpha * nll, self._rewards(chosen, rejected))
    count = pairs.is_pair.sum().astype(jnp.float32)
    gold = jax.lax.stop_gradient(jnp.sum(jnp.where(pairs.is_pair, nll, 0))), count
    return found._replace(metrics={**found.metrics, "nll/gold": gold})

  def _contrast(self, gap):
    if self.loss == "hinge":
      return jax.nn.relu(1 - self.beta * gap)
    if self.loss == "ipo":
      return (gap - 1 / (2 * self.beta)) ** 2
    z = self.beta * gap - (self.gamma if self.loss == "tpo_l" else 0)
    return pairs_lib.log_sigmoid_smoothed(z, self.label_smoothing)

  def _rewards(self, chosen, rejected) -> tuple[Any, Any]:
    return self.beta * chosen, self.beta * rejected
