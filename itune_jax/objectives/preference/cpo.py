"""Losses of pairs without a reference: CPO, SimPO, AlphaPO, and SLiC."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp

from itune_jax.core import check
from itune_jax.core import ranges
from itune_jax.objectives.preference import pairs as pairs_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cpo(pairs_lib.PairObjective):
  """CPO (Xu et al. 2024): z = β(log π(chosen) - log π(rejected)), and an SFT term.

  loss: "sigmoid" -log σ(z), "hinge" max(0, 1 - z), "ipo" (z/β - 1/(2β))² of log-probs by token. label_smoothing: share
  of labels that are taken to be wrong, of "sigmoid".
  """

  loss: Literal["sigmoid", "hinge", "ipo"] = "sigmoid"
  label_smoothing: float = 0.0
  sft: float = 1.0

  def __post_init__(self):
    check.check_types(self)
    _check(self, self.loss != "sigmoid")

  def losses(self, pairs: pairs_lib.Pairs) -> Any:
    """The loss of each pair."""
    chosen, rejected = pairs.means if self.loss == "ipo" else (pairs.chosen, pairs.rejected)
    if self.loss == "ipo":
      return (chosen - rejected - 1 / (2 * self.beta)) ** 2
    z = self.beta * (chosen - rejected)
    return jax.nn.relu(1 - z) if self.loss == "hinge" else pairs_lib.log_sigmoid_smoothed(z, self.label_smoothing)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simpo(pairs_lib.PairObjective):
  """SimPO (Meng et al. 2024): -log σ(β(r_chosen - r_rejected) - γ), r the mean log-prob a token.

  gamma: the margin γ that rewards must differ by, after β. alpha: AlphaPO (Gupta et al. 2025) takes r = (1 - p^-α)/α
  for p = exp(mean log-prob); 0 is log p. label_smoothing: share of labels that are taken to be wrong.
  """

  beta: float = 2.0
  gamma: ranges.NonNegativeFloat = 1.0
  alpha: float = 0.0
  label_smoothing: float = 0.0

  def __post_init__(self):
    check.check_types(self)
    _check(self, False)

  def losses(self, pairs: pairs_lib.Pairs) -> Any:
    """The loss of each pair."""
    chosen, rejected = self.rewards(pairs)
    return pairs_lib.log_sigmoid_smoothed(chosen - rejected - self.gamma, self.label_smoothing)

  def rewards(self, pairs: pairs_lib.Pairs) -> tuple[Any, Any]:
    """β r of both answers."""
    chosen, rejected = pairs.means
    return self.beta * self._shaped(chosen), self.beta * self._shaped(rejected)

  def _shaped(self, mean):
    return -jnp.expm1(-self.alpha * mean) / self.alpha if self.alpha else mean


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slic(pairs_lib.PairObjective):
  """SLiC-HF (Zhao et al. 2023): max(0, δ - log π(chosen) + log π(rejected)), and an SFT term of weight `sft`.

  delta: the margin δ of log-probs. by_token: whether these are means over the tokens of an answer.
  """

  beta: float = 1.0
  delta: ranges.NonNegativeFloat = 1.0
  by_token: bool = False
  sft: float = 0.1

  def __post_init__(self):
    check.check_types(self)
    _check(self, False)
    check.require(self.beta == 1, "Slic.beta must be 1: the margin is Slic.delta")

  def losses(self, pairs: pairs_lib.Pairs) -> Any:
    """The loss of each pair."""
    chosen, rejected = pairs.means if self.by_token else (pairs.chosen, pairs.rejected)
    return jax.nn.relu(self.delta - chosen + rejected)


def _check(value: Any, without_smoothing: bool) -> None:
  name, smoothing = type(value).__name__, vars(value).get("label_smoothing", 0.0)
  check.require(value.beta > 0, f"{name}.beta must be positive, not {value.beta}")
  check.require(value.sft >= 0, f"{name}.sft must be a weight of 0 or more, not {value.sft}")
  check.require(0 <= smoothing < 0.5, f"{name}.label_smoothing must be 0 or more, below 0.5, not {smoothing}")
  check.require(
    not (smoothing and without_smoothing), f"{name}.label_smoothing acts on the loss 'sigmoid' alone: set it to 0"
  )
