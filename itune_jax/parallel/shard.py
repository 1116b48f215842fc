"""From logical axes to shardings: parameters, gradients, batches."""

from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

from itune_jax.core import axes as axes_lib


def shardings(
  shapes: Mapping[str, Any], axes: Mapping[str, tuple[str, ...]], rules: axes_lib.Rules, mesh: Mesh
) -> dict[str, NamedSharding]:
  """The sharding of every parameter, by path. `shapes` maps paths to anything with a shape."""
  return {
    name: NamedSharding(mesh, axes_lib.partition_spec(axes[name], value.shape, rules, mesh))
    for name, value in shapes.items()
  }


def place(params: Mapping[str, Any], where: Mapping[str, NamedSharding]) -> dict[str, jax.Array]:
  """Puts arrays onto their shardings."""
  return {name: jax.device_put(value, where[name]) for name, value in params.items()}


def constrain(tree: Any, where: Any) -> Any:
  """Pins gradients to the shardings of their parameters: without it they lose the fsdp axis."""
  return jax.tree.map(jax.lax.with_sharding_constraint, tree, where)


def everywhere(tree: Any, mesh: Mesh) -> Any:
  """Inside a trace: results that every process can read whole."""
  return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, replicated(mesh)), tree)


def replicated(mesh: Mesh) -> NamedSharding:
  """The sharding of scalars and keys."""
  return NamedSharding(mesh, PartitionSpec())


def batch_sharding(shape: Any, mesh: Mesh, rules: axes_lib.Rules, *, stacked: bool = False) -> NamedSharding:
  """How an array of a batch lies: rows along the data axes, positions by their rule, the rest whole."""
  lead = (None,) if stacked else ()
  names = (*lead, "batch", "length") if len(shape) == len(lead) + 2 else (*lead, "batch")
  return NamedSharding(mesh, axes_lib.partition_spec(names + (None,) * (len(shape) - len(names)), shape, rules, mesh))


def held(where: NamedSharding, shape: tuple[int, ...], axis: int) -> list[int]:
  """Which places along an axis of an array the devices of this process hold, in order."""
  parts: Any = where.addressable_devices_indices_map(shape).values()
  spans = {part[axis].indices(shape[axis]) for part in parts}
  return sorted({place for span in spans for place in range(*span)})


def global_batch(batch: Any, mesh: Mesh, rules: axes_lib.Rules, rows: int, *, stacked: bool = False) -> Any:
  """Arrays that hold this process's rows (`hosts.rows`) of a batch of `rows`, as global arrays along the data axes.

  `stacked` batches have a leading micro-batch axis, which is never sharded.
  """
  axis = int(stacked)

  def put(x):
    x = np.asarray(x)
    shape = (*x.shape[:axis], rows, *x.shape[axis + 1 :])
    where = batch_sharding(shape, mesh, rules, stacked=stacked)
    mine = held(where, shape, axis)

    def fetch(index):
      start, stop, _ = index[axis].indices(rows)
      at = mine.index(start)
      return x[(*index[:axis], slice(at, at + stop - start), *index[axis + 1 :])]

    return jax.make_array_from_callback(shape, where, fetch)

  return jax.tree.map(put, batch)


def same_batch(batch: Any, mesh: Mesh, rules: axes_lib.Rules) -> Any:
  """A batch that every process holds whole, as global arrays along the data axes."""

  def put(x):
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, batch_sharding(x.shape, mesh, rules), lambda index: x[index])

  return jax.tree.map(put, batch)
