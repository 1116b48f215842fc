"""Losses of single answers of which it is known whether they are wanted: KTO, unpaired APO, and BCO."""

from collections.abc import Mapping
import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from itune_jax.core import batch as batch_lib
from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import ranges
from itune_jax.objectives import groups

LABEL = batch_lib.Column("label")  # 1 on an answer that is wanted, -1 on one that is not, 0 on one to another prompt
MISMATCH = batch_lib.Column("mismatch")  # 1 on an answer to another prompt, which the feed puts beside each


class Answers(NamedTuple):
  """Of each group [B, G] its own answer: log π/π_ref, log π, length, label; what stands where `is_there` is false means
  nothing. mismatched: Σ log π/π_ref of the answer to another prompt beside it."""

  ratio: Any
  logp: Any
  length: Any
  label: Any
  is_there: Any
  mismatched: Any


def of(batch: batch_lib.Batch, logp_BT, ref_BT) -> Answers:
  """The answers of a batch, of log p [B, T] of its targets by policy and reference. Raises InputError without any."""
  if batch.groups_BT is None:
    raise errors.InputError(
      "a loss on single answers met a batch without them: prepare the data with Source.format 'unpaired'"
    )
  weights_BT, label_BT = batch.weights_BT.astype(jnp.float32), batch.columns["label"]
  own_BT, other_BT = jnp.where(label_BT != 0, weights_BT, 0), jnp.where(label_BT == 0, weights_BT, 0)
  total = lambda x_BT: groups.sums(x_BT, batch.groups_BT, 1)
  is_there = groups.present(own_BT, batch.groups_BT, 1)
  length = jnp.where(is_there, jnp.maximum(total(own_BT), 1e-9), 1)
  label = jnp.sign(total(own_BT * label_BT))
  ratio = total(own_BT * (logp_BT - ref_BT))
  return Answers(ratio, total(own_BT * logp_BT), length, label, is_there, total(other_BT * (logp_BT - ref_BT)))


def figures(answers: Answers, rewards) -> dict[str, tuple[Any, Any]]:
  """What people watch, as (sum, count): rewards and log-probs of both kinds of answers, and how often the sign of a
  reward is the label's."""

  def mean(x, where):
    where = where & answers.is_there
    return jax.lax.stop_gradient(jnp.sum(jnp.where(where, x, 0))), where.sum().astype(jnp.float32)

  wanted, unwanted, every = answers.label > 0, answers.label < 0, answers.is_there
  found = {}
  for name, where in (("chosen", wanted), ("rejected", unwanted)):
    found[f"rewards/{name}"] = mean(rewards, where)
    found[f"logps/{name}"] = mean(answers.logp, where)
    found[f"logps/{name}_by_token"] = mean(answers.logp / answers.length, where)
  found["rewards/accuracy"] = mean((rewards * answers.label > 0).astype(jnp.float32), every)
  found["rewards/size"] = mean(jnp.abs(rewards), every)
  found["rewards/all"] = mean(rewards, every)
  found["labels/wanted"] = mean(wanted.astype(jnp.float32), every)
  return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Unpaired(contracts.Objective):
  """A loss of single answers against a reference; the mean over all answers of a step.

  beta: how far the policy may go from the reference. desirable: weight of answers that are wanted. undesirable: weight
  of the others. check_start: the run ends at its first step where policy and reference differ. chunk: positions
  projected onto the vocabulary at a time, by each shard of the batch; 0 for the default.
  """

  beta: float = 0.1
  desirable: float = 1.0
  undesirable: float = 1.0
  check_start: bool = True
  chunk: ranges.NonNegativeInt = 0

  def __post_init__(self):
    check.check_types(self)
    name = type(self).__name__
    check.require(self.beta > 0, f"{name}.beta must be positive, not {self.beta}")
    check.require(
      self.desirable > 0 and self.undesirable > 0,
      f"{name}(desirable={self.desirable}, undesirable={self.undesirable}): both weights must be positive",
    )

  @property
  def needs(self) -> tuple[str, ...]:
    """The reference."""
    return ("reference",)

  @property
  def columns(self) -> tuple[batch_lib.Column, ...]:
    """The label of each answer."""
    return (LABEL,)

  @property
  def starts_at(self) -> Mapping[str, float]:
    """Rewards are 0 where policy and reference are the same."""
    return {"rewards/size": 0.0} if self.check_start else {}

  def _answers(self, views: Mapping[str, contracts.View], batch: batch_lib.Batch, key: Any) -> Answers:
    policy, reference = views["policy"], views["reference"]
    logp_BT = policy.token_logprobs(batch, policy.context(batch, key), chunk=self.chunk)
    return of(batch, logp_BT, reference.token_logprobs(batch, reference.context(batch), chunk=self.chunk))

  def _sums(self, answers: Answers, losses, **more: tuple[Any, Any]) -> contracts.Sums:
    weight = jnp.where(answers.label > 0, self.desirable, self.undesirable)
    loss = jnp.sum(jnp.where(answers.is_there, weight * losses, 0))
    count = answers.is_there.sum().astype(jnp.float32)
    return contracts.Sums(loss, count, figures(answers, self.beta * answers.ratio) | more)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kto(_Unpaired):
  """KTO (Ethayarajh et al. 2024): 1 - σ(±β(log π/π_ref - z)), + for answers that are wanted, - for the others; z the
  mean log π/π_ref of answers to other prompts over the whole step, no less than 0, without gradient.

  loss: "kto", or "apo_zero" (D'Oosterlinck et al. 2024, unpaired) for which z is 0 and nothing is mismatched. beta: how
  far the policy may go from the reference. desirable: weight of answers that are wanted. undesirable: weight of the
  others. check_start: the run ends at its first step where policy and reference differ. chunk: positions projected onto
  the vocabulary at a time, by each shard of the batch; 0 for the default.
  """

  loss: Literal["kto", "apo_zero"] = "kto"

  @property
  def columns(self) -> tuple[batch_lib.Column, ...]:
    """The label of each answer, and which answers are to other prompts."""
    return (LABEL, MISMATCH) if self.loss == "kto" else (LABEL,)

  @property
  def couples_batch(self) -> bool:
    """Whether z is taken over all answers of a step."""
    return self.loss == "kto"

  def __call__(self, views: Mapping[str, contracts.View], batch: batch_lib.Batch, key: Any) -> contracts.Sums:
    """Sums over one micro-batch."""
    answers = self._answers(views, batch, key)
    kl = jnp.zeros(())
    if self.loss == "kto":
      total = jnp.sum(jnp.where(answers.is_there, answers.mismatched, 0))
      kl = jax.lax.stop_gradient(jnp.maximum(total / jnp.maximum(answers.is_there.sum(), 1), 0))
    losses = 1 - jax.nn.sigmoid(answers.label * self.beta * (answers.ratio - kl))
    one = jnp.ones(())
    return self._sums(answers, losses, **({"kl": (kl, one)} if self.loss == "kto" else {}))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bco(_Unpaired):
  """BCO (Jung et al. 2024): -log σ(±(r - δ)), r = β log π/π_ref, δ the mean of all rewards of the run up to and with
  this step, without gradient.

  beta: how far the policy may go from the reference. desirable: weight of answers that are wanted. undesirable: weight
  of the others. check_start: the run ends at its first step where policy and reference differ. chunk: positions
  projected onto the vocabulary at a time, by each shard of the batch; 0 for the default.
  """

  @property
  def couples_batch(self) -> bool:
    """δ has the rewards of the step in it."""
    return True

  @property
  def remembers(self) -> Mapping[str, float]:
    """The mean of the rewards so far, and of how many."""
    return {"mean": 0.0, "count": 0.0}

  def remember(self, memory: Mapping[str, Any], metrics: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    """With those of a step."""
    total, count = metrics["rewards/all"]
    return self._with(memory, total, count)

  def __call__(self, views: Mapping[str, contracts.View], batch: batch_lib.Batch, key: Any) -> contracts.Sums:
    """Sums over one micro-batch."""
    answers = self._answers(views, batch, key)
    rewards = self.beta * answers.ratio
    total, count = figures(answers, rewards)["rewards/all"]
    shift = self._with(batch.memory, total, count)["mean"]
    losses = -jax.nn.log_sigmoid(answers.label * (rewards - shift))
    return self._sums(answers, losses, shift=(shift, jnp.ones(())))

  def _with(self, memory: Mapping[str, Any], total, count) -> dict[str, Any]:
    """The running mean, by its difference: sums of a long run would lose digits."""
    before, seen = memory["mean"], memory["count"]
    after = seen + count
    return {"mean": before + (total - before * count) / jnp.maximum(after, 1), "count": after}
