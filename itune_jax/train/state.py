"""What a run carries from step to step, and nothing else."""

from collections.abc import Mapping
import dataclasses
import functools
import types
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import optax

from itune_jax.core import rng
from itune_jax.parallel import shard


@functools.partial(
  jax.tree_util.register_dataclass, data_fields=("trainable", "opt_state", "step", "key", "memory"), meta_fields=()
)
@dataclasses.dataclass(frozen=True)
class State:
  """Donated to every step. `step` is the number of steps taken, and so of batches consumed.

  `memory` is what else a step changes: numbers that the objective keeps, and arrays of a reference that follows.
  """

  trainable: dict[str, jax.Array]
  opt_state: Any
  step: jax.Array
  key: jax.Array
  memory: dict[str, Any] = dataclasses.field(default_factory=dict)


def create(
  trainable: dict[str, Any],
  optimizer: optax.GradientTransformation,
  seed: int,
  mesh: Mesh,
  memory: Mapping[str, Any] = types.MappingProxyType({}),
) -> State:
  """A state at step 0. The arrays are copied: the state is donated, and the caller may still hold them.

  memory: arrays on the mesh, and plain numbers.
  """
  where = {name: value.sharding for name, value in trainable.items()}
  trainable = {name: jnp.copy(value) for name, value in trainable.items()}
  opt_state = jax.jit(optimizer.init, out_shardings=_like(optimizer, trainable, where, mesh))(trainable)
  # Made on the mesh, not put there: devices of other processes can only be reached by a program.
  start = lambda: (jnp.zeros((), jnp.int32), rng.named(rng.root(seed), "train"))
  numbers = {name: value for name, value in memory.items() if isinstance(value, (int, float))}
  made = lambda: {name: jnp.full((), value, jnp.float32) for name, value in numbers.items()}
  kept = jax.jit(made, out_shardings=shard.replicated(mesh))() if numbers else {}
  kept |= {name: jnp.copy(value) for name, value in memory.items() if name not in numbers}
  step, key = jax.jit(start, out_shardings=shard.replicated(mesh))()
  return State(trainable, opt_state, step, key, kept)


def abstract(
  trainable: dict[str, Any],
  optimizer: optax.GradientTransformation,
  mesh: Mesh,
  memory: Mapping[str, Any] = types.MappingProxyType({}),
) -> State:
  """The shapes, dtypes and shardings of a state, for trainable parameters that are ShapeDtypeStructs."""
  where = {name: value.sharding for name, value in trainable.items()}
  shaped = lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s)
  moments = jax.eval_shape(optimizer.init, trainable)
  rest = jax.eval_shape(lambda: (jnp.zeros((), jnp.int32), rng.root(0)))
  step, key = jax.tree.map(lambda x: shaped(x, shard.replicated(mesh)), rest)
  number = jax.ShapeDtypeStruct((), jnp.float32, sharding=shard.replicated(mesh))
  kept = {name: number if isinstance(value, (int, float)) else value for name, value in memory.items()}
  return State(trainable, jax.tree.map(shaped, moments, _like(optimizer, trainable, where, mesh)), step, key, kept)


def _like(optimizer, trainable, where, mesh):
  """Moments lie where their parameters lie, along the axes that they share; counters are replicated."""

  def of(path, leaf):
    name = next((k.key for k in reversed(path) if getattr(k, "key", None) in where), None)
    if name is None or not leaf.shape:
      return shard.replicated(mesh)
    return (
      where[name] if leaf.shape == trainable[name].shape else _shared(leaf.shape, trainable[name].shape, where[name])
    )

  return jax.tree_util.tree_map_with_path(of, jax.eval_shape(optimizer.init, trainable))


def _shared(shape, whole, where):
  """The sharding of what has some axes of a parameter, in front and at the end, and others between."""
  spec = (*where.spec, *(None,) * (len(whole) - len(where.spec)))
  pairs = list(zip(shape, whole, strict=False))
  front = next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))
  behind = next((i for i, (a, b) in enumerate(zip(shape[::-1], whole[::-1], strict=False)) if a != b), 0)
  behind = min(behind, len(shape) - front, len(whole) - front)
  middle = (None,) * (len(shape) - front - behind)
  return jax.NamedSharding(where.mesh, jax.P(*spec[:front], *middle, *spec[len(spec) - behind :]))
