"""Pairs of answers in packed rows: sums over each answer, the figures that people watch, and the base of objectives."""

import abc
from collections.abc import Mapping
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from itune_jax.core import batch as batch_lib
from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import ranges
from itune_jax.objectives import groups

SIDE = batch_lib.Column("side")  # 1 on the answer that is preferred, -1 on the other
MARGIN = batch_lib.Column("margin")  # by how much the score of the preferred answer is the higher one


class Pairs(NamedTuple):
  """Of each pair [B, G] the sums over both answers; what stands where `is_pair` is false means nothing.

  A sum is Σ w·log p over the trained tokens of an answer, its length Σ w: their number where all weights are 1.
  The reference's sums are 0 for objectives without one.
  """

  chosen: Any
  rejected: Any
  chosen_length: Any
  rejected_length: Any
  is_pair: Any
  ref_chosen: Any = 0.0
  ref_rejected: Any = 0.0

  @property
  def ratios(self) -> tuple[Any, Any]:
    """log π/π_ref of both answers."""
    return self.chosen - self.ref_chosen, self.rejected - self.ref_rejected

  @property
  def means(self) -> tuple[Any, Any]:
    """log π a token of both answers."""
    return self.chosen / self.chosen_length, self.rejected / self.rejected_length


def sides(batch: batch_lib.Batch) -> tuple[Any, Any]:
  """Weights [B, T] of the tokens of preferred answers, and of the others. Raises InputError without groups."""
  if batch.groups_BT is None:
    raise errors.InputError(
      "a loss on pairs met a batch without pairs: prepare the data with Source.format 'preference'"
    )
  weights_BT, side_BT = batch.weights_BT.astype(jnp.float32), batch.columns["side"]
  return jnp.where(side_BT > 0, weights_BT, 0), jnp.where(side_BT < 0, weights_BT, 0)


def of(batch: batch_lib.Batch, logp_BT, ref_BT=None, tail: float = 1.0) -> Pairs:
  """The pairs of a batch, of log p [B, T] of its targets.

  ref_BT: those of the reference. tail: what a token counts that stands behind the length of the shorter answer of its
  pair (LD-DPO, Liu et al. 2024), in the sums and not in the lengths.
  """
  chosen_BT, rejected_BT = sides(batch)
  total = lambda x_BT: groups.sums(x_BT, batch.groups_BT)
  factor_BT = 1.0 if tail == 1 else jnp.where(_behind_shorter(batch, chosen_BT, rejected_BT), tail, 1.0)
  sums = lambda x_BT: (total(chosen_BT * factor_BT * x_BT), total(rejected_BT * factor_BT * x_BT))
  chosen_length, rejected_length = total(chosen_BT), total(rejected_BT)
  is_pair = groups.present(batch.weights_BT, batch.groups_BT)
  some = lambda length: jnp.where(is_pair, jnp.maximum(length, 1e-9), 1)
  refs = sums(ref_BT) if ref_BT is not None else (jnp.zeros_like(chosen_length),) * 2
  return Pairs(*sums(logp_BT), some(chosen_length), some(rejected_length), is_pair, *refs)


def _behind_shorter(batch: batch_lib.Batch, chosen_BT, rejected_BT):
  """Which tokens [B, T] are trained tokens of an answer with a number above the length of the pair's shorter answer."""
  trained_BT = (batch.weights_BT != 0).astype(jnp.int32)
  before_BT = jnp.cumsum(trained_BT, axis=1) - trained_BT
  begins_BT = batch.segments_BT != jnp.pad(batch.segments_BT[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
  number_BT = before_BT - jax.lax.cummax(jnp.where(begins_BT, before_BT, 0), axis=1)  # counted from 0 in each answer
  count = lambda x_BT: groups.sums((x_BT != 0).astype(jnp.int32), batch.groups_BT)
  shorter = jnp.minimum(count(chosen_BT), count(rejected_BT))
  return number_BT >= jnp.take_along_axis(shorter, jnp.abs(batch.groups_BT), axis=1)


def log_sigmoid_smoothed(z, smoothing: float):
  """-(1-ε) log σ(z) - ε log σ(-z): the loss of a label that is wrong with probability ε (cDPO, Mitchell 2023)."""
  return -(1 - smoothing) * jax.nn.log_sigmoid(z) - smoothing * jax.nn.log_sigmoid(-z)


def log1mexp(x):
  """log(1 - e^x) of x < 0, and its gradient, without loss of digits near 0 and far from it (Mächler 2012)."""
  near = x > -0.6931472
  far_x, near_x = jnp.where(near, -1.0, x), jnp.where(near, x, -0.5)
  return jnp.where(near, jnp.log(-jnp.expm1(near_x)), jnp.log1p(-jnp.exp(far_x)))


def figures(pairs: Pairs, rewards: tuple[Any, Any]) -> dict[str, tuple[Any, Any]]:
  """What people watch, as (sum, count): rewards of both sides, margin, accuracy, log-probs by answer and by token,
  and by how much the preferred answers are the longer ones."""
  mean = lambda x: (jax.lax.stop_gradient(jnp.sum(jnp.where(pairs.is_pair, x, 0))), count)
  count = pairs.is_pair.sum().astype(jnp.float32)
  chosen, rejected = rewards
  by_token = pairs.means
  return {
    "rewards/chosen": mean(chosen),
    "rewards/rejected": mean(rejected),
    "rewards/margin": mean(chosen - rejected),
    "rewards/accuracy": mean((chosen > rejected).astype(jnp.float32)),
    "rewards/size": mean((jnp.abs(chosen) + jnp.abs(rejected)) / 2),
    "logps/chosen": mean(pairs.chosen),
    "logps/rejected": mean(pairs.rejected),
    "logps/chosen_by_token": mean(by_token[0]),
    "logps/rejected_by_token": mean(by_token[1]),
    "length/difference": mean(pairs.chosen_length - pairs.rejected_length),
  }


def sums(pairs: Pairs, loss, rewards: tuple[Any, Any]) -> contracts.Sums:
  """A loss of each pair [B, G] as a sum over pairs, to be divided by their number over the whole step."""
  count = pairs.is_pair.sum().astype(jnp.float32)
  return contracts.Sums(jnp.sum(jnp.where(pairs.is_pair, loss, 0)), count, figures(pairs, rewards))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairObjective(contracts.Objective):
  """A loss that needs no more than the log-probs of the policy.

  beta: the temperature of rewards. sft: weight of the mean negative log-prob a token of the preferred answer, which is
  added to the loss of its pair; 0 for none. chunk: positions projected onto the vocabulary at a time, by each shard of
  the batch; 0 for the default.
  """

  beta: float = 0.1
  sft: ranges.NonNegativeFloat = 0.0
  chunk: ranges.NonNegativeInt = 0

  @property
  def columns(self) -> tuple[batch_lib.Column, ...]:
    """The side of each answer."""
    return (SIDE,)

  def __call__(self, views: Mapping[str, contracts.View], batch: batch_lib.Batch, key: Any) -> contracts.Sums:
    """Sums over one micro-batch."""
    view = views["policy"]
    pairs = of(batch, view.token_logprobs(batch, view.context(batch, key), chunk=self.chunk))
    loss = self.losses(pairs)
    if self.sft:
      loss -= self.sft * pairs.means[0]
    return sums(pairs, loss, self.rewards(pairs))

  @abc.abstractmethod
  def losses(self, pairs: Pairs) -> Any:
    """The loss of each pair [B, G]."""

  def rewards(self, pairs: Pairs) -> tuple[Any, Any]:
    """What both answers are worth by the policy: by default β log π."""
    return self.beta * pairs.chosen, self.beta * pairs.rejected
