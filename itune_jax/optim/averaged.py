"""AdamW whose result is another point than the one that its gradients are taken at: averages of parameters (EMA, SWA),
and schedule-free training (Defazio et al. 2024). Evaluations, exports and later runs take that result."""

from collections.abc import Iterable, Mapping
import dataclasses
import types
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.optim import adamw


class Average(NamedTuple):
  """The state of an average: of the optimizer inside, the mean so far, and the steps done."""

  inner: Any
  mean: Any
  count: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Averaged(adamw.AdamW):
  """AdamW, and a mean of the parameters behind each step.

  average: "ema" weighs the parameters of n steps ago by decay^n; "swa" is their plain mean (Izmailov et al. 2018).
  decay: of "ema". start: the step that averaging begins at, a share of all steps below 1, else their number; before it
  the mean is the parameters themselves. every: steps between two of those that are averaged, of "swa".
  """

  average: Literal["ema", "swa"] = "ema"
  decay: float = 0.999
  start: float = 0.0
  every: int = 1

  def __post_init__(self):
    super().__post_init__()
    check.require(0 < self.decay < 1, f"Averaged.decay must be between 0 and 1, not {self.decay}")
    check.require(self.start >= 0, f"Averaged.start must be 0 or more, not {self.start}")
    check.require(self.every > 0, f"Averaged.every must be a number of steps, not {self.every}")
    check.require(self.every == 1 or self.average == "swa", "Averaged.every acts on 'swa' alone: set it to 1")

  def make(
    self, steps: int, names: Iterable[str], leaves: Mapping[str, contracts.Leaf] = types.MappingProxyType({})
  ) -> tuple[optax.GradientTransformation, optax.Schedule]:
    inner, rate = super().make(steps, names, leaves)
    start = round(self.start * steps) if self.start < 1 else int(self.start)
    check.require(start < steps or not start, f"Averaged.start = {self.start:g}, and the run has {steps} steps")

    def init(params):
      return Average(inner.init(params), jax.tree.map(jnp.array, params), jnp.zeros((), jnp.int32))

    def update(updates, state, params=None):
      updates, own = inner.update(updates, state.inner, params)
      moved: Any = params
      after, count = optax.apply_updates(moved, updates), state.count + 1
      share = self._share(count - start)
      mixed = lambda mean, new: jnp.where(count <= start, new, mean + share * (new - mean)).astype(mean.dtype)
      return updates, Average(own, jax.tree.map(mixed, state.mean, after), count)

    return optax.GradientTransformation(init, update), rate

  def _share(self, n):
    """What the n-th step that is averaged counts in the mean, n from 1."""
    if self.average == "ema":
      return jnp.where(n <= 1, 1.0, 1 - self.decay)
    taken = (n - 1) // self.every + 1
    return jnp.where((n - 1) % self.every == 0, 1 / jnp.maximum(taken, 1), 0.0)

  def used(self, opt_state: Any, trainable: Mapping[str, Any]) -> Mapping[str, Any]:
    """The mean."""
    del trainable
    return _found(opt_state, Average).mean


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScheduleFree(adamw.AdamW):
  """AdamW without a schedule: gradients are taken between the iterates and their mean, and the mean is the result.

  The schedule is "constant", with a warm-up if wanted. b1: how near to the mean gradients are taken (the paper's β),
  in place of the first moment's decay.
  """

  def __post_init__(self):
    super().__post_init__()
    check.require(
      self.schedule.kind == "constant",
      f"ScheduleFree has no schedule: set schedule.Schedule.kind = 'constant', not {self.schedule.kind!r}",
    )
    check.require(0 < self.b1 < 1, f"ScheduleFree.b1 must be between 0 and 1, not {self.b1}")

  def make(
    self, steps: int, names: Iterable[str], leaves: Mapping[str, contracts.Leaf] = types.MappingProxyType({})
  ) -> tuple[optax.GradientTransformation, optax.Schedule]:
    check.require(not self.groups, "ScheduleFree has one rate: leave out its groups")
    inner, rate = dataclasses.replace(self, clip=0.0).inner(steps, names, leaves)
    free = optax.contrib.schedule_free(inner, rate, b1=self.b1)
    clip = [optax.clip_by_global_norm(self.clip)] if self.clip else []
    return optax.chain(*clip, free), rate

  def inner(self, steps: int, names: Iterable[str], leaves: Mapping[str, contracts.Leaf]):
    """AdamW without a first moment, at the same rate."""
    return super().make(steps, names, leaves)

  def direction(self, kind, group):
    del kind
    return optax.chain(
      optax.scale_by_rms(self.b2, self.eps, bias_correction=True), optax.add_decayed_weights(group.weight_decay)
    )

  def used(self, opt_state: Any, trainable: Mapping[str, Any]) -> Mapping[str, Any]:
    """The mean of the iterates."""
    return optax.contrib.schedule_free_eval_params(_found(opt_state, optax.contrib.ScheduleFreeState), trainable)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Anchored(adamw.AdamW):
  """AdamW that is drawn to where it started (L2-SP, Li et al. 2018), so that less is forgotten: a step adds
  anchor · (start - parameters), decoupled as weight decay is. An adapter that starts as nothing is drawn to the base.

  anchor: how strongly.
  """

  anchor: float = 0.01

  def __post_init__(self):
    super().__post_init__()
    check.require(self.anchor > 0, f"Anchored.anchor must be positive, not {self.anchor}")

  def direction(self, kind, group):
    return optax.chain(super().direction(kind, group), _towards_start(self.anchor))


class _Start(NamedTuple):
  start: Any


def _towards_start(strength: float) -> optax.GradientTransformation:
  def update(updates, state, params=None):
    pulled = lambda u, p, first: u + strength * (p - first).astype(u.dtype)  # a step goes against it
    return jax.tree.map(pulled, updates, params, state.start), state

  return optax.GradientTransformation(lambda params: _Start(jax.tree.map(jnp.array, params)), update)


def _found(opt_state: Any, kind: type) -> Any:
  """The part of an optimizer's state that is of this kind, whatever methods have wrapped around it."""
  is_it = lambda x: isinstance(x, kind)
  return next(x for x in jax.tree.leaves(opt_state, is_leaf=is_it) if is_it(x))
