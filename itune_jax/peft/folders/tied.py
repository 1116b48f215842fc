"""Adapters of a model whose embedding and output projection are one table.

peft gives each its own as soon as one of them is saved whole or the projection gets an adapter: what trains is a copy,
and the other stays the base's. Only what peft ties by itself (`ensure_weight_tying`, rows of tokens) changes both.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

from flax import nnx
import jax
import numpy as np

from itune_jax.core import errors
from itune_jax.peft.folders import chosen
from itune_jax.peft.folders import codec

_WHOLE = ("weight", "modules_to_save.weight")
_COPIES = ("base_layer.weight", "original_module.weight")


def own_tables(
  config: Mapping[str, Any], tensors: codec.Arrays, head: str, embed: str, path: str
) -> tuple[codec.Arrays, bool]:
  """Tensors of a folder for a tied base, and whether its tables part.

  Args:
    tensors: by module and name. head, embed: the modules.

  Raises:
    InputError when the file has two tables, and the config does not say that there are two.
  """
  of = lambda module: {key.removeprefix(f"{module}."): key for key in tensors if key.startswith(f"{module}.")}
  heads, embeds = of(head), of(embed)
  if any(name not in (*_WHOLE, *_COPIES) for name in heads):
    if any("trainable_tokens" in name for name in embeds) and not any("trainable_tokens" in name for name in heads):
      raise errors.InputError(f"{path}: rows of tokens of a tied table beside an adapter of {head} are not supported")
    return tensors, True
  whole = lambda found: next((found[name] for name in _WHOLE if name in found), None)
  mine, table = whole(heads), whole(embeds)
  saved = {module: chosen.is_saved(config, module) for module in (head, embed)}
  if mine is None:
    return tensors, table is not None and saved[embed] and not config.get("ensure_weight_tying")
  rest = {key: tensor for key, tensor in tensors.items() if key != mine}
  if table is None:
    # By peft a head that no wrapper holds is the table of both.
    return (tensors, True) if saved[head] else ({**rest, f"{embed}.weight": tensors[mine]}, False)
  if np.array_equal(tensors[mine], tensors[table]):
    return rest, False
  if not any(saved.values()):
    raise errors.InputError(f"{path}: {mine} and {table} differ, and the base ties them: the adapter of another base")
  return tensors, True


def untied(model: Any) -> Any:
  """The model of shapes with an output projection of its own."""
  cfg = dataclasses.replace(model.cfg, tied=False)
  return nnx.eval_shape(lambda: cfg.make(jax.random.key(0), remat=model.remat))
