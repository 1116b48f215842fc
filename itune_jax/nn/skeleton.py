"""Modules as (skeleton, flat parameters): the narrow waist between NNX and plain JAX."""

from collections.abc import Mapping
import dataclasses
import itertools
from typing import Any

from flax import nnx
import jax

from itune_jax.core import contracts
from itune_jax.nn import site


@dataclasses.dataclass(frozen=True)
class Skeleton:
  """All of a module that is not an array. Hashable, so compiled functions can close over it."""

  graph: Any
  treedef: Any
  names: tuple[str, ...]

  def build(self, params) -> Any:
    """The module, holding these arrays. Every name must be given; more names are an error."""
    if set(params) != set(self.names):
      missing, extra = sorted(set(self.names) - set(params)), sorted(set(params) - set(self.names))
      raise ValueError(f"parameters do not fit: missing {missing[:5]}, unexpected {extra[:5]}")
    return nnx.merge(self.graph, jax.tree.unflatten(self.treedef, [params[name] for name in self.names]))


def disassemble(module: nnx.Module) -> tuple[Skeleton, dict[str, Any]]:
  """Splits a module into its skeleton and a flat dictionary of its arrays by path."""
  graph, state = nnx.split(module)
  leaves, treedef = jax.tree_util.tree_flatten_with_path(state)
  names = tuple(_path(path) for path, _ in leaves)
  return Skeleton(graph, treedef, names), dict(zip(names, (leaf for _, leaf in leaves), strict=True))


def metadata(module: nnx.Module) -> dict[str, dict[str, Any]]:
  """`axes`, `adapter`, `trainable` and `saved` of every parameter by path."""
  state = nnx.state(module)
  by_path = {}
  leaves, _ = jax.tree_util.tree_flatten_with_path(state, is_leaf=lambda x: isinstance(x, nnx.Param))
  for path, variable in leaves:
    by_path[_path(path)] = {
      "axes": tuple(variable.get_metadata().get("axes", ())),
      "adapter": isinstance(variable, site.AdapterParam),
      "trainable": variable.get_metadata().get("trainable", True),
      "saved": variable.get_metadata().get("saved", False),
    }
  return by_path


def sites(module: nnx.Module) -> dict[str, Any]:
  """Every site by its path (`blocks/attn/q`); a stacked site appears once."""
  return {"/".join(map(str, path)): node for path, node in nnx.iter_modules(module) if isinstance(node, site.SITES)}


def lead(path: str, stacks: Mapping[str, int]) -> tuple[int, ...]:
  """The stacked axes in front of a site's or parameter's arrays. `stacks` maps module paths to depths."""
  return tuple(depth for prefix, depth in sorted(stacks.items()) if path.startswith(prefix + "/"))


def leaves(module: Any) -> dict[str, contracts.Leaf]:
  """How every parameter of a model is laid out, by path."""
  kernels = {f"{path}/kernel": node.num_in for path, node in sites(module).items() if isinstance(node, site.Proj)}
  names = metadata(module)
  return {name: contracts.Leaf(len(lead(name, module.cfg.stacks)), kernels.get(name, 0)) for name in names}


def expanded(path: str, stacks: Mapping[str, int]) -> tuple[str, ...]:
  """The names of the single sites behind a stacked one, in the order of its axes: `blocks/attn/q` gives
  `blocks/0/attn/q`, `blocks/1/attn/q`, ...; a site outside all stacks is its own name."""
  prefixes = sorted(prefix for prefix in stacks if path.startswith(prefix + "/"))
  names = []
  for at in itertools.product(*(range(stacks[prefix]) for prefix in prefixes)):
    name = path
    for prefix, index in reversed(list(zip(prefixes, at, strict=True))):
      name = f"{prefix}/{index}{name[len(prefix) :]}"
    names.append(name)
  return tuple(names)


def _path(path) -> str:
  parts = [
    str(getattr(entry, "key", getattr(entry, "idx", None)))
    for entry in path
    if hasattr(entry, "key") or hasattr(entry, "idx")
  ]
  return "/".join(parts)
