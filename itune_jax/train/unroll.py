"""Rates learned by differentiating through K steps of training (deep unfolding, arXiv 2512.03768).

The loss of held-out batches behind K steps is a function of the logarithms of the groups' rates. Its gradient is taken
forwards, one direction a group: groups are few, nothing of the K steps is kept, and memory does not grow with K. What
is learned are factors of a base rate, to be written as `adamw.Group(rate_scale=…)`, or as a scale of adapters.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.train import step as step_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unroll:
  """How rates are learned.

  groups: regexes over the paths of what trains; a path belongs to the first that matches all of it, and the last takes
  the rest. rate: what all groups begin with. steps: outer steps, each of which runs the K inner ones anew. outer_rate:
  of Adam on the logarithms of the rates. limit: by how much a rate may differ from the first one, as a factor.
  b1, b2, eps: of the inner Adam.
  """

  groups: tuple[str, ...]
  rate: float = 1e-3
  steps: int = 10
  outer_rate: float = 0.3
  limit: float = 100.0
  b1: float = 0.9
  b2: float = 0.999
  eps: float = 1e-8

  def __post_init__(self):
    check.check_types(self)
    check.require(self.groups, "Unroll.groups is empty: name the parameters whose rates are learned")
    for pattern in self.groups:
      check.regex(pattern, "Unroll.groups")
    check.require(self.rate > 0 and self.outer_rate > 0 and self.limit > 1, "Unroll: rates above 0, limit above 1")

  def numbers(self, names: Sequence[str]) -> dict[str, int]:
    """The group of each path. Raises InputError for a group that nothing belongs to."""
    of = lambda name: next((i for i, p in enumerate(self.groups) if re.fullmatch(p, name)), len(self.groups) - 1)
    found = {name: of(name) for name in names}
    for i, pattern in enumerate(self.groups):
      check.require(i in found.values(), f"Unroll group {pattern!r} matches no trained parameter of its own")
    return found


class Learned(NamedTuple):
  """The rate of each group, the held-out loss behind K steps by outer step, and the rates of each outer step."""

  rates: dict[str, float]
  losses: list[float]
  history: list[list[float]]


def loss_behind(
  bind: Callable,
  objective: contracts.Objective,
  unroll: Unroll,
  trainable: Mapping[str, Any],
  others: Mapping[str, step_lib.FrozenView],
  key: Any,
) -> Callable:
  """`(log rates [G], trainable, frozen, inner batches [K, M, B, T], held-out batch [M, B, T]) -> mean loss`."""
  numbers = unroll.numbers(sorted(trainable))
  adam = optax.scale_by_adam(unroll.b1, unroll.b2, unroll.eps)

  def run(log_rates, trainable, frozen, inner, outer):
    def one(carry, batch):
      params, state, k = carry
      drawn = jax.random.fold_in(key, k)
      sums, grads = step_lib.gradients(bind, objective, params, frozen, batch, drawn, others)
      grads = jax.tree.map(lambda g: g / jnp.maximum(sums.weight, 1e-9), grads)
      changes: tuple[Any, Any] = adam.update(grads, state, params)
      updates, state = changes
      params = {name: p - jnp.exp(log_rates[numbers[name]]) * updates[name] for name, p in params.items()}
      return (params, state, k + 1), None

    start = dict(trainable)
    (params, _, _), _ = jax.lax.scan(one, (start, adam.init(start), 0), inner)
    sums, _ = step_lib.gradients(bind, objective, params, frozen, outer, key, others)
    return sums.loss / jnp.maximum(sums.weight, 1e-9)

  return run


def learn(
  bind: Callable,
  objective: contracts.Objective,
  unroll: Unroll,
  trainable: Mapping[str, Any],
  frozen: Mapping[str, Any],
  batches: Callable[[int], tuple[Any, Any]],
  others: Mapping[str, step_lib.FrozenView] | None = None,
  seed: int = 0,
) -> Learned:
  """Learns the rates. batches: of outer step n the inner batches, stacked [K, …], and the held-out one."""
  run = loss_behind(bind, objective, unroll, trainable, others or {}, jax.random.key(seed))

  @jax.jit
  def both(log_rates, trainable, frozen, inner, outer):
    value = lambda logs: (lambda loss: (loss, loss))(run(logs, trainable, frozen, inner, outer))
    return jax.jacfwd(value, has_aux=True)(log_rates)

  first = jnp.full(len(unroll.groups), jnp.log(unroll.rate), jnp.float32)
  outer, logs = optax.adam(unroll.outer_rate), first
  state, losses, history = outer.init(logs), [], []
  for n in range(unroll.steps):
    grad, loss = both(logs, dict(trainable), dict(frozen), *batches(n))
    losses.append(float(loss))
    history.append([float(x) for x in jnp.exp(logs)])
    updates, state = outer.update(grad, state)
    room = jnp.log(unroll.limit)
    moved: Any = optax.apply_updates(logs, updates)
    logs = jnp.clip(moved, first - room, first + room)
  rates = {pattern: float(x) for pattern, x in zip(unroll.groups, jnp.exp(logs), strict=True)}
  return Learned(rates, losses, history)
