"""How a model lies while it makes one token a row after the other: laid out for it once an evaluation.

Training shards every kernel over the batch's axes too (fsdp), and gathers it for thousands of positions. For a few
rows that is all the time there is. So each device keeps a part of every kernel's wide axis, and the rows, which are
small, go round instead (tensor parallelism, Shoeybi et al. 2019); a model whose copy is small lies whole everywhere.
The cache stays cut by rows.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh

SHARE = 2**30  # bytes of weights on a device that are read fast enough: kernels are cut no finer


def prepare(bind: Any, params: Any) -> tuple[Any, Any]:
  """The binder and parameters that decoding is fastest on; they are a second copy.

  On CPU layers are taken apart as well: there, cutting one out of a stack takes as long as using it for one token.
  Prompts do not mind.
  """
  if bind.mesh.size > 1:
    bind = laid_out(bind, params)
    where = bind.shardings(params)
    params = {name: jax.device_put(value, where[name]) for name, value in params.items()}
  return bind.apart(params) if bind.mesh.devices.flat[0].platform == "cpu" else (bind, params)


def laid_out(bind: Any, params: Mapping[str, Any]) -> Any:
  """The binder with the rules of decoding; arrays or shapes in."""
  size = sum(math.prod(x.shape) * x.dtype.itemsize for x in params.values())
  return bind.under(rules(dict(bind.rules), bind.mesh, size))


def rules(table: dict[str, tuple[str, ...]], mesh: Mesh, size: int) -> dict[str, tuple[str, ...]]:
  """The table for a model of so many bytes: kernels cut along as many of their axes as leave `SHARE` to a device."""
  wide = table["heads"]
  for axis in (*reversed(table["embed"]), *table["layers"]):
    if size / math.prod(mesh.shape.get(a, 1) for a in wide) > SHARE and axis not in wide:
      wide = (*wide, axis)
  of_weights = dict.fromkeys(("heads", "mlp", "vocab", "vocab_out", "embed"), wide)  # embed: where no wide axis divides
  of_rows = {name: tuple(a for a in table[name] if a not in wide) for name in ("batch", "loss_batch")}
  activations = dict.fromkeys(("act_heads", "act_mlp", "act_vocab"), wide)
  return table | of_weights | of_rows | activations | {"layers": ()}
