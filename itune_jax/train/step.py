"""One optimizer step: micro-batches of sums, one division, one update, and a guard."""

from collections.abc import Callable, Mapping
import dataclasses
import types
from typing import Any

import jax
import jax.numpy as jnp
import optax

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import rng
from itune_jax.parallel import shard
from itune_jax.train import state as state_lib


@dataclasses.dataclass(frozen=True)
class FrozenView:
  """A model that an objective asks for beside the policy: its binder, and its arrays' names among the frozen ones.

  Those of the base alone (a reference with adapters off) are the policy's own arrays; another tree's stand beside them
  under a name of their own (`frozen_tree`). Those of a view with `every` stand in `State.memory`: behind each so many
  steps they become mix · policy + (1 - mix) · themselves.
  """

  bind: Callable
  names: tuple[tuple[str, str], ...]  # name in the model, name among the frozen arrays
  every: int = 0
  mix: float = 1.0

  def __call__(self, frozen: Mapping[str, Any]) -> contracts.View:
    return self.bind({name: jax.lax.stop_gradient(frozen[key]) for name, key in self.names})


def frozen_tree(view: str, bind: Any, params: Mapping[str, Any]) -> tuple[FrozenView, dict[str, Any]]:
  """A view of other arrays than the policy's, and these arrays by the names that they get among the frozen ones."""
  return FrozenView(bind, tuple((n, f"{view}:{n}") for n in params)), {f"{view}:{n}": x for n, x in params.items()}


def gradients(
  bind: Callable,
  objective: contracts.Objective,
  trainable,
  frozen,
  batch,
  key,
  others: Mapping[str, FrozenView] = types.MappingProxyType({}),
  memory: Mapping[str, Any] = types.MappingProxyType({}),
):
  """Sums over a global batch cut into micro-batches, and the gradient of Σ loss.

  Args:
    batch: leaves [M, B, T], M micro-batches run one after the other. frozen: all arrays that do not train, those of
      `others` among them. others: what the objective `needs`, by name. memory: what it `remembers`; what it begins with
      unless given.

  Returns:
    (Sums, gradients): nothing is divided yet, so the cut does not matter.
  """
  loss = _loss_of(bind, objective, frozen, key, others, memory)

  def one(micro):
    (_, sums), grads = jax.value_and_grad(loss, has_aux=True)(trainable, micro)
    return sums, jax.tree.map(lambda g: g.astype(jnp.float32), grads)

  return _added(one, batch)


def sums(
  bind: Callable,
  objective: contracts.Objective,
  trainable,
  frozen,
  batch,
  key,
  others: Mapping[str, FrozenView] = types.MappingProxyType({}),
  memory: Mapping[str, Any] = types.MappingProxyType({}),
) -> contracts.Sums:
  """The same without the gradient."""
  loss = _loss_of(bind, objective, frozen, key, others, memory)
  return _added(lambda micro: loss(trainable, micro)[1], batch)


def _loss_of(bind, objective, frozen, key, others, memory) -> Callable:
  """(what trains, a micro-batch) -> (loss, Sums)."""
  theirs = {key for other in others.values() for name, key in other.names if name != key}
  base = {name: value for name, value in frozen.items() if name not in theirs}
  memory = {name: jnp.asarray(memory.get(name, value), jnp.float32) for name, value in objective.remembers.items()}

  def loss(trainable, micro):
    views = _Views({"policy": bind({**trainable, **base}), **{name: other(frozen) for name, other in others.items()}})
    micro = dataclasses.replace(micro, memory=memory)
    found = objective(views, micro, key)  # what it draws belongs to rows, so every micro-batch has the same key
    if not isinstance(found, contracts.Sums):
      raise TypeError(f"{type(objective).__name__} returns {type(found).__name__}; an objective returns contracts.Sums")
    return found.loss, found

  return loss


class _Views(dict[str, Any]):
  """Views by name, of which one that is not there was not asked for."""

  def __missing__(self, name: str) -> Any:
    raise KeyError(f"an objective reads the view {name!r}; it has {', '.join(self)}. Name others in its `needs`")


def _added(one: Callable, batch) -> Any:
  """What a function gives of each micro-batch, added up."""
  count, rows = jax.tree.leaves(batch)[0].shape[:2]
  batch = dataclasses.replace(batch, rows_B=jnp.arange(count * rows).reshape(count, rows))
  if count == 1:
    return one(jax.tree.map(lambda x: x[0], batch))

  def add(total, micro):
    return jax.tree.map(jnp.add, total, one(micro)), None

  shapes = jax.eval_shape(one, jax.tree.map(lambda x: x[0], batch))
  zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
  return jax.lax.scan(add, zero, batch)[0]


def make_step(
  bind: Callable,
  objective: contracts.Objective,
  optimizer: optax.GradientTransformation,
  rate: optax.Schedule,
  where: Mapping[str, Any],
  penalty: Callable[[Mapping[str, Any]], Any] | None = None,
  others: Mapping[str, FrozenView] = types.MappingProxyType({}),
) -> Callable:
  """`step(state, frozen, batch) -> (state, metrics)`, compiled, the state donated.

  `where` holds the shardings of the trainable parameters. When the loss or the gradient is not finite, or no
  token carries weight, parameters and optimizer stay as they were and `finite` is 0 in the metrics. `penalty` of the
  trainable parameters is added once a step, to the gradient and not to the loss that is reported.
  """

  missing = sorted(set(objective.needs) - set(others))
  check.require(not missing, f"{type(objective).__name__} needs {', '.join(missing)}: this run has no such view")

  def step(state: state_lib.State, frozen, batch):
    key = rng.named(state.key, "step", state.step)
    remembered, followed = kept_of(objective, state)
    seen = {**frozen, **followed}
    total, grads = gradients(bind, objective, state.trainable, seen, batch, key, others, remembered)
    weight = jnp.maximum(total.weight, 1e-9)
    grads = jax.tree.map(lambda g: g / weight, grads)
    extra = {}
    if penalty is not None:
      extra["penalty"], more = jax.value_and_grad(penalty)(state.trainable)
      grads = jax.tree.map(lambda g, m: g + m.astype(g.dtype), grads, more)
    grads = shard.constrain(grads, dict(where))
    norm = optax.tree.norm(grads)
    finite = jnp.isfinite(total.loss) & jnp.isfinite(norm) & (total.weight > 0)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.trainable)
    trainable = optax.apply_updates(state.trainable, updates)
    keep = lambda new, old: jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)
    metrics = {
      "loss": total.loss / weight,
      "grad_norm": norm,
      "learning_rate": rate(state.step),
      "weight": total.weight,
      "finite": finite.astype(jnp.float32),
      "trained_tokens": jnp.sum(batch.weights_BT != 0),
      "padding_share": jnp.mean(batch.segments_BT == 0),
      **extra,
      **{name: value / jnp.maximum(count, 1e-9) for name, (value, count) in total.metrics.items()},
    }
    trainable, step = keep(trainable, state.trainable), state.step + 1
    after = objective.remember(remembered, total.metrics)
    memory = _following(others, followed, trainable, step)
    memory |= {_OBJECTIVE + name: keep(after[name], value) for name, value in remembered.items()}
    new = state_lib.State(trainable, keep(opt_state, state.opt_state), step, state.key, memory)
    return new, {name: jnp.asarray(value, jnp.float32) for name, value in metrics.items()}

  return jax.jit(step, donate_argnums=0)


_OBJECTIVE = "objective:"  # in front of the names of numbers in `State.memory`


def kept_of(objective: contracts.Objective, state: state_lib.State) -> tuple[dict[str, Any], dict[str, Any]]:
  """What a state keeps beside its parameters: the numbers of the objective, and the arrays of views that follow."""
  numbers = {name: state.memory[_OBJECTIVE + name] for name in objective.remembers}
  return numbers, {key: value for key, value in state.memory.items() if not key.startswith(_OBJECTIVE)}


def memory_of(
  objective: contracts.Objective, others: Mapping[str, FrozenView], arrays: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
  """What `State.memory` begins with, and the arrays of other views that stay as they are."""
  followed = {key for other in others.values() if other.every for name, key in other.names if name != key}
  memory = {_OBJECTIVE + name: float(value) for name, value in objective.remembers.items()}
  memory |= {key: value for key, value in arrays.items() if key in followed}
  return memory, {key: value for key, value in arrays.items() if key not in followed}


def _following(others: Mapping[str, FrozenView], arrays: Mapping[str, Any], trainable, step) -> dict[str, Any]:
  """The arrays of views that follow the policy, behind a step."""
  found = dict(arrays)
  for other in others.values():
    for name, key in other.names if other.every else ():
      if key in arrays:
        mixed = other.mix * trainable[name] + (1 - other.mix) * arrays[key]
        found[key] = jnp.where(step % other.every == 0, mixed, arrays[key]).astype(arrays[key].dtype)
  return found
