"""What a mixture is measured by between two steps: the objective's own loss on rows of a source, and its gradient.

Both are the programs of a training step without the optimizer, over batches of the same geometry. So they work with
every objective, and with any number of devices and processes.
"""

from collections.abc import Callable, Mapping
import types
from typing import Any

import jax
import jax.numpy as jnp
import optax

from itune_jax.core import contracts
from itune_jax.parallel import shard
from itune_jax.train import state as state_lib
from itune_jax.train import step as step_lib


def make_loss(
  bind: Callable, objective: contracts.Objective, others: Mapping[str, step_lib.FrozenView] = types.MappingProxyType({})
) -> Callable:
  """`loss(state, frozen, batch, key) -> (Σ loss, Σ weight)` of a global batch [M, B, T], compiled."""

  def loss(state: state_lib.State, frozen, batch, key):
    numbers, followed = step_lib.kept_of(objective, state)
    found = step_lib.sums(bind, objective, state.trainable, {**frozen, **followed}, batch, key, others, numbers)
    return found.loss, found.weight

  return jax.jit(loss)


def make_gradient(
  bind: Callable,
  objective: contracts.Objective,
  where: Mapping[str, Any],
  others: Mapping[str, step_lib.FrozenView] = types.MappingProxyType({}),
) -> Callable:
  """`gradient(state, frozen, batch, key) -> gradient` of the mean loss of a global batch [M, B, T], compiled.

  where: the shardings of what trains, which are those of its gradient.
  """

  def gradient(state: state_lib.State, frozen, batch, key):
    numbers, followed = step_lib.kept_of(objective, state)
    seen = {**frozen, **followed}
    total, grads = step_lib.gradients(bind, objective, state.trainable, seen, batch, key, others, numbers)
    return shard.constrain(jax.tree.map(lambda g: g / jnp.maximum(total.weight, 1e-9), grads), dict(where))

  return jax.jit(gradient)


@jax.jit
def cosine(one: Mapping[str, Any], other: Mapping[str, Any]) -> Any:
  """The cosine of two gradients, 0 where one is nothing."""
  products = jax.tree.map(lambda a, b: jnp.sum(a * b), dict(one), dict(other))
  size = optax.tree.norm(one) * optax.tree.norm(other)
  return jnp.where(size > 0, sum(jax.tree.leaves(products)) / jnp.maximum(size, 1e-30), 0.0)


@jax.jit
def mean(gradients: list[Mapping[str, Any]]) -> Any:
  """The mean of several gradients, each counted alike."""
  return jax.tree.map(lambda *each: sum(each) / len(each), *map(dict, gradients))
