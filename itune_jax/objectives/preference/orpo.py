"""ORPO (Hong et al. 2024): an SFT term, and a log-odds ratio of both answers; no reference."""

from collections.abc import Mapping
import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp

from itune_jax.core import batch as batch_lib
from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import ranges
from itune_jax.objectives import groups
from itune_jax.objectives.preference import pairs as pairs_lib

_HIGHEST = -1e-6  # of a mean log-prob: the odds of a certain answer have no logarithm


@dataclasses.dataclass(frozen=True, kw_only=True)
class Orpo(contracts.Objective):
  """nll - β log σ(log odds(chosen) - log odds(rejected)), odds = p/(1-p), log p the mean log-prob a token.

  beta: weight of the log-odds ratio. nll: what the SFT term is a mean over: the tokens of the preferred "answer" (as
  in LLaMA-Factory), or of "prompt_and_answer" (as in TRL). chunk: positions projected onto the vocabulary at a time, by
  each shard of the batch; 0 for the default.
  """

  beta: float = 0.1
  nll: Literal["answer", "prompt_and_answer"] = "answer"
  chunk: ranges.NonNegativeInt = 0

  def __post_init__(self):
    check.check_types(self)
    check.require(self.beta >= 0, f"Orpo.beta must be 0 or more, not {self.beta}")

  @property
  def columns(self) -> tuple[batch_lib.Column, ...]:
    """The side of each answer."""
    return (pairs_lib.SIDE,)

  def __call__(self, views: Mapping[str, contracts.View], batch: batch_lib.Batch, key: Any) -> contracts.Sums:
    """Sums over one micro-batch."""
    view, wanted = views["policy"], batch
    if self.nll == "prompt_and_answer":
      wanted = _with_prompts(batch)
    logp_BT = view.token_logprobs(wanted, view.context(batch, key), chunk=self.chunk)
    pairs = pairs_lib.of(batch, logp_BT)
    chosen, rejected = (jnp.where(pairs.is_pair, jnp.minimum(mean, _HIGHEST), -1.0) for mean in pairs.means)
    nll = -pairs.means[0]
    if self.nll == "prompt_and_answer":
      read_BT = (wanted.weights_BT != 0) & _of_chosen(batch)
      total = lambda x_BT: groups.sums(jnp.where(read_BT, x_BT, 0), batch.groups_BT)
      nll = -total(logp_BT) / jnp.maximum(total(jnp.ones_like(logp_BT)), 1)
    odds = (chosen - rejected) - (pairs_lib.log1mexp(chosen) - pairs_lib.log1mexp(rejected))
    loss = nll - self.beta * jax.nn.log_sigmoid(odds)
    return pairs_lib.sums(pairs, loss, (self.beta * chosen, self.beta * rejected))


def _of_chosen(batch: batch_lib.Batch):
  """Which positions [B, T] are of preferred answers and their prompts, one that stands once included."""
  assert batch.groups_BT is not None
  is_trunk_BT = jnp.zeros_like(batch.groups_BT, bool) if batch.repeats else batch.groups_BT > 0
  return (batch.columns["side"] > 0) | is_trunk_BT


def _with_prompts(batch: batch_lib.Batch) -> batch_lib.Batch:
  """The batch with a weight on every position of groups. A prompt that stands once has no targets of its own; the token
  behind each of its places is the next of the row: the first branch begins with its last token."""
  pairs_lib.sides(batch)
  following_BT = jnp.pad(batch.tokens_BT[:, 1:], ((0, 0), (0, 1)))
  is_trunk_BT = jnp.zeros_like(batch.groups_BT, bool) if batch.repeats else batch.groups_BT > 0
  targets_BT = jnp.where(is_trunk_BT, following_BT, batch.targets_BT)
  weights_BT = (batch.groups_BT != 0).astype(jnp.float32)
  return dataclasses.replace(batch, targets_BT=targets_BT, weights_BT=weights_BT)
