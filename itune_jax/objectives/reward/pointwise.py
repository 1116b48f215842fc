"""Rewards of single answers and of steps: a number, a verdict, or a verdict on each step (process rewards)."""

from collections.abc import Mapping
import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp

from itune_jax.core import batch as batch_lib
from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.objectives.reward import scores as scores_lib

SCORE, LABEL = batch_lib.Column("score"), batch_lib.Column("label")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regression(scores_lib.Scoring):
  """The score of an answer is a number of its row; the mean over all answers.

  loss: "squared" (s - y)², or "huber" which is |s - y| - 1/2 where they differ by more than 1. centre, scale: y is
  (score - centre) / scale of the row's score, so that a head that starts at 0 need not go far. chunk: positions
  projected onto the head at a time, by each shard of the batch; 0 for the default.

  centre: what is taken off a row's score. scale: what it is divided by.
  """

  loss: Literal["squared", "huber"] = "squared"
  centre: float = 0.0
  scale: float = 1.0

  def __post_init__(self):
    super().__post_init__()
    check.require(self.scale > 0, f"Regression.scale must be positive, not {self.scale}")

  @property
  def columns(self) -> tuple[batch_lib.Column, ...]:
    """The score of each answer, and where it ends."""
    return (SCORE, scores_lib.END)

  def __call__(self, views: Mapping[str, contracts.View], batch: batch_lib.Batch, key: Any) -> contracts.Sums:
    """Sums over one micro-batch."""
    there_BT = batch.weights_BT != 0
    wanted_BT = (batch.columns["score"] - self.centre) / self.scale
    error_BT = self.scores(views["policy"], batch, key) - wanted_BT
    size_BT = jnp.abs(error_BT)
    each_BT = error_BT**2
    if self.loss == "huber":
      each_BT = jnp.where(size_BT > 1, size_BT - 0.5, 0.5 * error_BT**2)
    metrics = {
      "error": scores_lib.mean(size_BT, there_BT),
      "rewards/mean": scores_lib.mean(error_BT + wanted_BT, there_BT),
    }
    return contracts.Sums(jnp.sum(jnp.where(there_BT, each_BT, 0)), there_BT.sum().astype(jnp.float32), metrics)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict(scores_lib.Scoring):
  """-log σ(±s): whether an answer is right (outcome rewards, Cobbe et al. 2021) or each of its steps is (process
  rewards, Lightman et al. 2023); the mean over all that is judged.

  steps: whether labels stand at the ends of steps, as in data of the format "stepwise"; if not, at the end of each
  answer ("unpaired"). chunk: positions projected onto the head at a time, by each shard of the batch; 0 for the
  default.
  """

  steps: bool = False

  @property
  def columns(self) -> tuple[batch_lib.Column, ...]:
    """The label of each answer or step, and where answers end."""
    return (LABEL,) if self.steps else (LABEL, scores_lib.END)

  def __call__(self, views: Mapping[str, contracts.View], batch: batch_lib.Batch, key: Any) -> contracts.Sums:
    """Sums over one micro-batch."""
    label_BT = batch.columns["label"]
    there_BT = (batch.weights_BT != 0) & (label_BT != 0)
    scores_BT = self.scores(views["policy"], batch, key)
    loss = jnp.sum(jnp.where(there_BT, -jax.nn.log_sigmoid(label_BT * scores_BT), 0))
    right_BT = (label_BT * scores_BT > 0).astype(jnp.float32)
    metrics = {
      "accuracy": scores_lib.mean(right_BT, there_BT),
      "accuracy/right": scores_lib.mean(right_BT, there_BT & (label_BT > 0)),
      "accuracy/wrong": scores_lib.mean(right_BT, there_BT & (label_BT < 0)),
      "rewards/mean": scores_lib.mean(scores_BT, there_BT),
    }
    return contracts.Sums(loss, there_BT.sum().astype(jnp.float32), metrics)
