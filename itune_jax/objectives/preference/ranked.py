"""Losses of several answers with scores: the likelihood of their order (Plackett-Luce), or of each of their pairs."""

from collections.abc import Mapping
import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp

from itune_jax.core import batch as batch_lib
from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import ranges

SCORE = batch_lib.Column("score")  # how good an answer is; of a list of answers their order alone counts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ranked(contracts.Objective):
  """The loss of lists of answers by their rewards β log π/π_ref; the mean over all lists of a step.

  loss: "plackett_luce" -Σ_i log softmax of r_i among the answers that score no higher (DPO's own appendix, Rafailov et
  al. 2023), or "pairwise" the mean of -log σ(r_i - r_j) over the pairs in which i scores higher. Of two answers both
  are DPO. Answers of one score do not compete. beta: how far the policy may go from the reference. by_gap: pairs weigh
  as much as their scores differ, of "pairwise" (their weights have the mean 1 in each list). check_start: the run ends
  at its first step where policy and reference differ. chunk: positions projected onto the vocabulary at a time, by each
  shard of the batch; 0 for the default.
  """

  loss: Literal["plackett_luce", "pairwise"] = "plackett_luce"
  beta: float = 0.1
  by_gap: bool = False
  check_start: bool = True
  chunk: ranges.NonNegativeInt = 0

  def __post_init__(self):
    check.check_types(self)
    check.require(self.beta > 0, f"Ranked.beta must be positive, not {self.beta}")
    check.require(
      not self.by_gap or self.loss == "pairwise", "Ranked.by_gap weighs pairs: the loss 'pairwise' has them"
    )

  @property
  def needs(self) -> tuple[str, ...]:
    """The reference."""
    return ("reference",)

  @property
  def columns(self) -> tuple[batch_lib.Column, ...]:
    """The score of each answer."""
    return (SCORE,)

  @property
  def starts_at(self) -> Mapping[str, float]:
    """Rewards are 0 where policy and reference are the same."""
    return {"rewards/size": 0.0} if self.check_start else {}

  def __call__(self, views: Mapping[str, contracts.View], batch: batch_lib.Batch, key: Any) -> contracts.Sums:
    """Sums over one micro-batch."""
    policy, reference = views["policy"], views["reference"]
    logp_BT = policy.token_logprobs(batch, policy.context(batch, key), chunk=self.chunk)
    ref_BT = reference.token_logprobs(batch, reference.context(batch), chunk=self.chunk)
    rewards, scores, numbers = answers(batch, self.beta * (logp_BT - ref_BT))
    return self.of(rewards, scores, numbers, batch)

  def of(self, rewards, scores, numbers, batch: batch_lib.Batch) -> contracts.Sums:
    """Sums of answers [B, S] with these rewards and scores, in lists by number; 0 is no answer."""
    there = numbers > 0
    same = (numbers[:, :, None] == numbers[:, None, :]) & there[:, :, None]
    gap = scores[:, :, None] - scores[:, None, :]
    better, difference = same & (gap > 0), rewards[:, :, None] - rewards[:, None, :]
    size = same.sum(-1).astype(jnp.float32)  # answers of the list of each
    each = -jax.nn.log_sigmoid(difference)
    pairs_of = lambda x: _of_list(jnp.where(better, x, 0).sum(-1), same)
    count = jnp.maximum(pairs_of(jnp.ones_like(gap)), 1)
    if self.loss == "pairwise":
      weight = gap / jnp.maximum(pairs_of(gap) / count, 1e-9)[:, :, None] if self.by_gap else jnp.ones_like(gap)
      loss = jnp.sum(jnp.where(better, weight * each, 0) / count[:, :, None])
    else:
      lower = same & ((gap > 0) | jnp.eye(gap.shape[1], dtype=bool)[None])
      lse = jax.nn.logsumexp(jnp.where(lower, rewards[:, None, :], -jnp.inf), axis=-1, where=lower)
      loss = jnp.sum(jnp.where(there, lse - rewards, 0))
    lists = jnp.sum(jnp.where(there, 1 / jnp.maximum(size, 1), 0))
    stop = jax.lax.stop_gradient
    right = jnp.where(better, (difference > 0) / count[:, :, None], 0).sum()
    answers_there = there.sum().astype(jnp.float32)
    metrics = {
      "rewards/accuracy": (stop(right), lists),
      "rewards/size": (stop(jnp.sum(jnp.where(there, jnp.abs(rewards), 0))), answers_there),
      "rewards/margin": (stop(jnp.sum(jnp.where(better, difference / count[:, :, None], 0))), lists),
      "answers": (answers_there, lists),
    }
    return contracts.Sums(loss, lists, metrics)


def _of_list(x, same):
  """Σ over all answers of the list of each [B, S]."""
  return jnp.sum(jnp.where(same, x[:, None, :], 0), axis=-1)


def answers(batch: batch_lib.Batch, values_BT):
  """Σ w · value of each answer [B, S], its score, and the number of its list; 0 where there is none.

  Raises InputError for a batch without groups.
  """
  if batch.groups_BT is None:
    raise errors.InputError("a loss of lists met a batch without them: prepare the data with Source.format 'ranked'")
  count = batch.segments_BT.shape[1] + 1
  weights_BT = batch.weights_BT.astype(jnp.float32)
  total = lambda x_BT: jax.vmap(lambda x, s: jax.ops.segment_sum(x, s, num_segments=count))(x_BT, batch.segments_BT)
  most = batch.segments_BT.shape[1] // 2 + 2  # answers that a row may hold: each has two positions at least
  there = total((weights_BT != 0).astype(jnp.float32)) > 0
  length = jnp.maximum(total((weights_BT != 0).astype(jnp.float32)), 1)
  trained = (weights_BT != 0).astype(jnp.float32)
  number = jnp.round(total(trained * jnp.abs(batch.groups_BT)) / length).astype(jnp.int32)
  score = total(trained * batch.columns["score"]) / length
  order = jnp.argsort(~there, axis=1, stable=True)[:, :most]  # what is there first: lists are short, rows are long
  take = lambda x: jnp.take_along_axis(x, order, axis=1)
  return take(total(weights_BT * values_BT)), take(score), take(jnp.where(there, number, 0))
