"""DPO (Rafailov et al. 2023) and what is computed from the same four sums of log-probs: 16 losses, and their sums."""

from collections.abc import Mapping
import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from itune_jax.core import batch as batch_lib
from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import numerics
from itune_jax.core import ranges
from itune_jax.objectives import groups
from itune_jax.objectives.preference import divergence as divergence_lib
from itune_jax.objectives.preference import formulas
from itune_jax.objectives.preference import pairs as pairs_lib

_LOWEST_BETA = 1e-3  # of one that adapts to its pair


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dpo(contracts.Objective):
  """Σ_k weight_k · loss_k of pairs against a reference; the mean over all pairs of a step.

  losses: names of `formulas.LOSSES`; several are added up (MPO, Wang et al. 2024). weights: one for each, all 1 where
  none is given. beta: how far the policy may go from the reference; the larger, the less. label_smoothing: share of
  labels that are taken to be wrong, of the losses "cdpo", "robust", "exo_pair", "aot" and "aot_unpaired". divergence:
  what keeps the policy near the reference: "reverse_kl", "forward_kl", "js" or "alpha". divergence_alpha: the α of the
  last. discopop_tau: the temperature of the loss "discopop". tail: what the log-prob of a token counts that stands
  behind the length of the shorter answer, in policy and reference (LD-DPO); 1 is no change. weighted: weighs each pair
  by how likely the policy is to write both answers (WPO, Zhou et al. 2024). beta_gain: β of a pair becomes β(1 + gain ·
  (βΔ - beta_margin)), Δ its reward margin, at least 0.001 (β-DPO, Wu et al. 2024, by pair); 0 is no change.
  beta_margin: the margin at which β stays as it is. offset: this times the column `margin` is what a pair's βΔ must
  exceed (ODPO, Amini et al. 2024), of the losses "sigmoid" and "cdpo"; 0 reads no column. check_start: the run ends at
  its first step where policy and reference differ. chunk: positions projected onto the vocabulary at a time, by each
  shard of the batch; 0 for the default.
  """

  losses: tuple[str, ...] = ("sigmoid",)
  weights: tuple[float, ...] = ()
  beta: float = 0.1
  label_smoothing: float = 0.0
  divergence: divergence_lib.Divergence = "reverse_kl"
  divergence_alpha: ranges.PositiveFloat = 0.5
  discopop_tau: float = 0.05
  tail: ranges.Share = 1.0
  weighted: bool = False
  beta_gain: ranges.NonNegativeFloat = 0.0
  beta_margin: float = 0.0
  offset: ranges.NonNegativeFloat = 0.0
  check_start: bool = True
  chunk: ranges.NonNegativeInt = 0

  def __post_init__(self):
    check.check_types(self)
    known, names = formulas.LOSSES, tuple(self.losses)
    wrong = [name for name in names if name not in known]
    check.require(not wrong, f"Dpo.losses has {wrong[:1]}; losses are {', '.join(known)}")
    check.require(names, f"Dpo.losses is empty; losses are {', '.join(known)}")
    check.require(
      len(self.weights) in (0, len(names)), f"Dpo.weights = {self.weights}: give one for each of {', '.join(names)}"
    )
    good = all(weight >= 0 for weight in self.weights) and (not self.weights or any(self.weights))
    check.require(good, f"Dpo.weights = {self.weights}: they are 0 or more, and not all 0")
    check.require(self.beta > 0 and math.isfinite(self.beta), f"Dpo.beta must be positive, not {self.beta}")
    check.require(self.discopop_tau > 0, f"Dpo.discopop_tau must be positive, not {self.discopop_tau}")
    self._check_smoothing(names)
    self._check_reach(names)

  def _check_smoothing(self, names: tuple[str, ...]) -> None:
    smoothing = self.label_smoothing
    check.require(0 <= smoothing < 0.5, f"Dpo.label_smoothing must be 0 or more, below 0.5, not {smoothing}")
    acts = [name for name in names if name in formulas.SMOOTHED]
    check.require(
      not smoothing or acts,
      f"Dpo.label_smoothing = {smoothing} acts on none of {', '.join(names)}: smoothed DPO is the loss 'cdpo'",
    )
    check.require(
      smoothing or "exo_pair" not in names, "the loss 'exo_pair' needs Dpo.label_smoothing above 0, such as 0.001"
    )

  def _check_reach(self, names: tuple[str, ...]) -> None:
    """Raises InputError for a value that would act on some of the losses only, or on none."""
    others = [name for name in names if name not in formulas.DIVERGENT]
    check.require(
      self.divergence == "reverse_kl" or not others,
      f"Dpo.divergence = {self.divergence!r} is not defined for {', '.join(others)}",
    )
    ranked = [name for name in names if name in formulas.RANKED]
    check.require(not (ranked and self.weighted), f"Dpo.weighted weighs pairs, which {', '.join(ranked)} takes apart")
    check.require(not (ranked and self.beta_gain), f"Dpo.beta_gain is of pairs, which {', '.join(ranked)} takes apart")
    check.require(
      not self.offset or set(names) <= {"sigmoid", "cdpo"},
      f"Dpo.offset is defined for the losses 'sigmoid' and 'cdpo', not for {', '.join(names)}",
    )
    check.require(self.beta_gain or not self.beta_margin, "Dpo.beta_margin acts only where Dpo.beta_gain is set")

  @property
  def needs(self) -> tuple[str, ...]:
    """The reference."""
    return ("reference",)

  @property
  def columns(self) -> tuple[batch_lib.Column, ...]:
    """The side of each answer, and the margin of scores where it counts."""
    return (pairs_lib.SIDE, pairs_lib.MARGIN) if self.offset else (pairs_lib.SIDE,)

  @property
  def couples_batch(self) -> bool:
    """Whether pairs are ranked against all others of a step."""
    return any(name in formulas.RANKED for name in self.losses)

  @property
  def starts_at(self) -> Mapping[str, float]:
    """Rewards are 0 where policy and reference are the same: the loss "sigmoid" is log 2 then."""
    return {"rewards/size": 0.0} if self.check_start else {}

  def __call__(self, views: Mapping[str, contracts.View], batch: batch_lib.Batch, key: Any) -> contracts.Sums:
    """Sums over one micro-batch."""
    policy, reference = views["policy"], views["reference"]
    logp_BT, square_BT = self._policy(policy, batch, policy.context(batch, key))
    ref_BT = reference.token_logprobs(batch, reference.context(batch), chunk=self.chunk)
    pairs = pairs_lib.of(batch, logp_BT, ref_BT, self.tail)
    given = formulas.Given(
      pairs,
      self._betas(pairs),
      smoothing=self.label_smoothing,
      tau=self.discopop_tau,
      kind=self.divergence,
      alpha=self.divergence_alpha,
    )
    weights = self.weights or (1.0,) * len(self.losses)
    if self.offset:
      given = _Shifted(**vars(given), shift=self.offset * _margins(batch))
    loss = sum(weight * formulas.LOSSES[name](given) for name, weight in zip(self.losses, weights, strict=True))
    if self.weighted:
      loss *= _likeliness(batch, logp_BT, square_BT)
    chosen, rejected = pairs.ratios
    return pairs_lib.sums(pairs, loss, (self.beta * chosen, self.beta * rejected))

  def _policy(self, view: contracts.View, batch: batch_lib.Batch, ctx: batch_lib.Ctx) -> tuple[Any, Any]:
    """log p of each target, and log Σ_v p(v)² of its distribution where pairs are weighted."""
    if not self.weighted:
      return view.token_logprobs(batch, ctx, chunk=self.chunk), 0.0
    return view.over_vocabulary(_logp_and_square, batch, ctx, columns=batch.targets_BT, chunk=self.chunk)

  def _betas(self, pairs: pairs_lib.Pairs):
    if not self.beta_gain:
      return self.beta
    chosen, rejected = pairs.ratios
    gap = self.beta * jax.lax.stop_gradient(chosen - rejected) - self.beta_margin
    return jnp.maximum(self.beta * (1 + self.beta_gain * gap), _LOWEST_BETA)


@dataclasses.dataclass(frozen=True)
class _Shifted(formulas.Given):
  """The same with an offset of each pair."""

  shift: Any = 0.0

  @property
  def logits(self):
    """βd - offset."""
    c, r = self.scores
    return self.beta * (c - r) - self.shift


def _margins(batch: batch_lib.Batch):
  """The margin of each pair [B, G], which stands at every token of the preferred answer."""
  chosen_BT, _ = pairs_lib.sides(batch)
  here_BT = (chosen_BT != 0).astype(jnp.float32)
  total = groups.sums(here_BT * batch.columns["margin"], batch.groups_BT)
  return total / jnp.maximum(groups.sums(here_BT, batch.groups_BT), 1)


def _logp_and_square(logits, targets):
  """log p(target), and log Σ_v p(v)² = lse(2z) - 2 lse(z)."""
  z = logits[0]
  lse = numerics.softmax_parts(z)[2]
  return numerics.at_target(z, targets) - lse, numerics.softmax_parts(2 * z)[2] - 2 * lse


def _likeliness(batch: batch_lib.Batch, logp_BT, square_BT):
  """Π over both answers of exp(mean_t(log p - log Σ_v p²)) [B, G], without gradient."""
  aligned_BT = jax.lax.stop_gradient(logp_BT - square_BT)
  mean = pairs_lib.of(batch, aligned_BT).means
  return jnp.exp(mean[0] + mean[1])
