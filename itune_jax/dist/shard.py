"""From logical axes to shardings: parameters, gradients, batches."""
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

from itune_jax.core import axes as axes_lib


def shardings(shapes: Mapping[str, Any], axes: Mapping[str, tuple[str, ...]], rules: axes_lib.Rules, mesh: Mesh) -> dict[str, NamedSharding]:
  """The sharding of every parameter, by path. `shapes` maps paths to anything with a shape."""
  return {name: NamedSharding(mesh, axes_lib.partition_spec(axes[name], value.shape, rules, mesh))
          for name, value in shapes.items()}


def place(params: Mapping[str, Any], where: Mapping[str, NamedSharding]) -> dict[str, jax.Array]:
  """Puts arrays onto their shardings."""
  return {name: jax.device_put(value, where[name]) for name, value in params.items()}


def constrain(tree: Any, where: Any) -> Any:
  """Pins gradients to the shardings of their parameters: without it they lose the fsdp axis."""
  return jax.tree.map(jax.lax.with_sharding_constraint, tree, where)


def replicated(mesh: Mesh) -> NamedSharding:
  """The sharding of scalars and keys."""
  return NamedSharding(mesh, PartitionSpec())


def batch_sharding(shape: Any, mesh: Mesh, rules: axes_lib.Rules, *, stacked: bool = False) -> NamedSharding:
  """How an array of a batch lies: rows along the data axes, positions by their rule, the rest whole."""
  lead = (None,) if stacked else ()
  names = (*lead, "batch", "length") if len(shape) == len(lead) + 2 else (*lead, "batch")
  return NamedSharding(mesh, axes_lib.partition_spec(names + (None,) * (len(shape) - len(names)), shape, rules, mesh))


def global_batch(batch: Any, mesh: Mesh, rules: axes_lib.Rules, *, stacked: bool = False) -> Any:
  """Arrays of this process's rows as global arrays, rows laid along the data axes.

  `stacked` batches have a leading micro-batch axis, which is never sharded.
  """

  def put(x):
    x = np.asarray(x)
    return jax.make_array_from_process_local_data(batch_sharding(x.shape, mesh, rules, stacked=stacked), x)

  return jax.tree.map(put, batch)
