"""Learning-rate schedules as values: linear warm-up, then constant, linear or cosine decay."""

import dataclasses
from typing import Literal

import optax

from itune_jax.core import check


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
  """Peak rate after `warmup` (a share of all steps below 1, else steps), decaying to `final` of the peak.

  rate: the peak of the learning rate. kind: how it goes on behind the warm-up. warmup: steps of linear rise, a share
  of all steps below 1, else their number. final: the share of the peak at which the last step ends.
  """

  rate: float = 1e-4
  kind: Literal["constant", "linear", "cosine"] = "cosine"
  warmup: float = 0.03
  final: float = 0.0

  def __post_init__(self):
    check.check_types(self)
    check.require(0 <= self.final <= 1, f"Schedule.final = {self.final}; it is a share of the rate, from 0 to 1")
    check.require(
      self.rate > 0 and self.warmup >= 0, f"Schedule(rate={self.rate}, warmup={self.warmup}): rate > 0, warmup >= 0"
    )

  def make(self, steps: int) -> optax.Schedule:
    """Learning rate by step, over a run of `steps`. Raises InputError when warm-up takes all of them."""
    warmup = int(round(self.warmup * steps)) if self.warmup < 1 else int(self.warmup)
    check.require(
      warmup < steps or not warmup,
      f"Schedule.warmup = {self.warmup:g} steps, but the run has {steps}: the rate would never reach its peak; give a "
      "share below 1, or more STEPS",
    )
    rest = max(1, steps - warmup)
    after = {
      "constant": optax.constant_schedule(self.rate),
      "linear": optax.linear_schedule(self.rate, self.rate * self.final, rest),
      "cosine": optax.cosine_decay_schedule(self.rate, rest, self.final),
    }[self.kind]
    if not warmup:
      return after
    # The first step already moves: rate/warmup, not 0.
    start = optax.linear_schedule(self.rate / warmup, self.rate, max(1, warmup - 1))
    return optax.join_schedules([start, after], [warmup])
