"""Attaching methods to a model: which sites, stacked or not; what trains; and merging back.

A method is a frozen value with a `name`. It either sits on sites (`sites`, `make`) or opens base parameters
(`opens`), or both:

    sites: str                     regex over expanded site names (`blocks/3/attn/q`)
    kinds: tuple[str, ...]         of "proj", "embed", "tap"
    make(spec, key, w=None, **layer_values) -> Adapter        for one layer; stacked by vmap
    layer_values(spec, matched) -> {name: array [L, ...]}     optional; else unmatched layers are gated off
    needs_weight: bool             optional; then `w` is the layer's kernel
    shared(specs, key) -> {name: array}                       optional; a bank outside the stack, frozen
    opens(names) -> names          base parameters that train

Base parameter paths never change by attaching.
"""
from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import re
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import numpy as np

from itune_jax.core import axes as axes_lib
from itune_jax.core import errors
from itune_jax.core import rng
from itune_jax.nn import site as site_lib
from itune_jax.nn import tree as nn_tree


@dataclasses.dataclass(frozen=True)
class Attached:
  """A model with its methods. `params` holds the adapters' arrays and the base's, all by path."""
  module: Any
  params: dict[str, Any]
  trainable: frozenset[str]
  methods: tuple[Any, ...]


class Gated(site_lib.Adapter):
  """An adapter that is off in some layers of a stack: exact identity there, and no gradient."""

  def __init__(self, inner: site_lib.Adapter, active):
    self.inner = inner
    self.active = site_lib.AdapterParam(active, axes=(), trainable=False)

  def _choose(self, new, old):
    return jax.tree.map(lambda n, o: jnp.where(self.active[...], n, o), new, old)

  def pre(self, x, ctx):
    return self._choose(self.inner.pre(x, ctx), x)

  def weight(self, w, ctx):
    new = self.inner.weight(w, ctx)
    return w if new is w else site_lib.Weight(lambda: self._choose(new.value, w.value), w.shape)

  def post(self, x, y, w, ctx):
    return self._choose(self.inner.post(x, y, w, ctx), y)

  def merge(self, w):
    return self._choose(self.inner.merge(w), w)


def attach(module, params: Mapping[str, Any], methods: Sequence[Any], key, *, mesh: Mesh,
           rules: axes_lib.Rules = axes_lib.DEFAULT_RULES, dtype=jnp.float32) -> Attached:
  """Puts methods onto a model; the given module and arrays stay as they are.

  Args:
    module: with shapes in place of arrays. params: base arrays by path. dtype: of the adapters' arrays.

  Raises:
    InputError with the list of sites when a pattern matches none, or when two methods have one name.
  """
  module = nnx.merge(*nnx.split(module))
  params = dict(params)
  trainable: set[str] = set()
  names = [method.name for method in methods]
  if len(set(names)) < len(names):
    raise errors.InputError(f"two methods are called the same: {names}; give them different names")
  for method in methods:
    if getattr(method, "sites", None):
      params |= _attach_one(module, params, method, rng.named(key, method.name), mesh, rules, dtype)
    if hasattr(method, "opens"):
      trainable |= set(method.opens(sorted(n for n in params if "/adapters/" not in n and not n.startswith("bank/"))))
  meta = nn_tree.metadata(module)
  trainable |= {name for name, m in meta.items() if m["adapter"] and m["trainable"]}
  return Attached(module, params, frozenset(trainable), tuple(methods))


def _attach_one(module, params, method, key, mesh, rules, dtype):
  places = list(_matches(module, method))
  added: dict[str, Any] = {}
  if hasattr(method, "shared"):
    for name, value in method.shared([spec for _, spec, _ in places], rng.named(key, "bank")).items():
      module.bank[f"{method.name}_{name}"] = site_lib.AdapterParam(value, axes=(None,) * value.ndim, trainable=False)
      added[f"bank/{method.name}_{name}"] = jax.device_put(value, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
  for node, spec, matched in places:
    base = f"{spec.name}/adapters/{method.name}"
    kernel = params.get(f"{spec.name}/kernel") if getattr(method, "needs_weight", False) else None
    graph, state = _make_stacked(method, spec, matched, key, kernel, mesh, rules, dtype)
    node.adapters[method.name] = nnx.merge(graph, state)
    _, arrays = nn_tree.disassemble(node.adapters[method.name])
    added |= {f"{base}/{name}": value for name, value in arrays.items()}
  return added


def _matches(module, method) -> Iterable[tuple[Any, site_lib.SiteSpec, np.ndarray]]:
  found = nn_tree.sites(module)
  kinds = getattr(method, "kinds", ("proj",))
  regex = _compile(method)
  known, any_match = [], False
  for path, node in found.items():
    layers = _layers(path, node, module)
    spec = node.spec(path, layers)
    if spec.kind not in kinds:
      continue
    known.append(path)
    matched = np.array([bool(regex.fullmatch(name)) for name in layers])
    if matched.any():
      any_match = True
      yield node, spec, matched
  if not any_match:
    raise errors.InputError(f"{type(method).__name__}(sites={method.sites!r}) matches no site; sites are (with the "
                            f"layer's number after 'blocks/'): {', '.join(sorted(known))}")


def _compile(method) -> re.Pattern:
  try:
    return re.compile(method.sites)
  except re.error as e:
    raise errors.InputError(f"{type(method).__name__}(sites={method.sites!r}) is no regular expression: {e}") from None


def _layers(path: str, node, module) -> tuple[str, ...]:
  first, _, rest = path.partition("/")
  if first != "blocks":
    return (path,)
  return tuple(f"blocks/{i}/{rest}" for i in range(module.cfg.depth))


def is_stacked(spec: site_lib.SiteSpec) -> bool:
  """Whether the arrays of this site have a leading layer axis."""
  return spec.layers != (spec.name,)


def _make_stacked(method, spec, matched, key, kernel, mesh, rules, dtype):
  values = method.layer_values(spec, matched) if hasattr(method, "layer_values") else {}
  gate = not values and not matched.all()

  def one(key, values, active, w):
    adapter = method.make(spec, key, w=w, **values)
    adapter = Gated(adapter, active) if gate else adapter
    for variable in jax.tree.leaves(nnx.state(adapter), is_leaf=lambda v: isinstance(v, nnx.Param)):
      trains = variable.get_metadata().get("trainable", True)
      variable[...] = variable[...].astype(dtype) if trains else variable[...]
    return nnx.split(adapter)

  keys = jnp.stack([rng.named(key, name) for name in spec.layers])
  given = (keys, {k: jnp.asarray(v) for k, v in values.items()}, jnp.asarray(matched), kernel)
  if not is_stacked(spec):
    given = jax.tree.map(lambda x: x[0], given[:3]) + (kernel,)
  shape_of = lambda x: jax.ShapeDtypeStruct(x.shape[1:] if is_stacked(spec) else x.shape, x.dtype)
  graph = nnx.split(nnx.eval_shape(lambda: nnx.merge(*one(*jax.tree.map(jnp.zeros_like, _examples(given, shape_of))))))[0]
  run = jax.vmap(lambda *a: one(*a)[1]) if is_stacked(spec) else lambda *a: one(*a)[1]
  shapes = jax.eval_shape(run, *given)
  meta = nn_tree.metadata(nnx.merge(graph, shapes))
  leaves, treedef = jax.tree.flatten(shapes)
  names = nn_tree.disassemble(nnx.merge(graph, shapes))[0].names
  where = [jax.sharding.NamedSharding(mesh, axes_lib.partition_spec(meta[n]["axes"], leaf.shape, rules, mesh))
           for n, leaf in zip(names, leaves, strict=True)]
  return graph, jax.jit(run, out_shardings=jax.tree.unflatten(treedef, where))(*given)


def _examples(given, shape_of):
  keys, values, active, w = jax.tree.map(shape_of, given)
  return jax.random.key(0) if keys.dtype != jnp.uint32 else keys, values, active, w


def merge(attached: Attached) -> dict[str, Any]:
  """Base parameters with every adapter merged in, in float32, from the original base.

  Raises InputError naming the method when an adapter is not linear in its input.
  """
  base = {n: v for n, v in attached.params.items() if "/adapters/" not in n and not n.startswith("bank/")}
  live, _ = nn_tree.disassemble(attached.module)
  module = live.build({n: attached.params[n] for n in live.names})
  for path, node in nn_tree.sites(module).items():
    for name, adapter in node.adapters.items():
      if node.spec(path, (path,)).kind != "proj":
        raise errors.InputError(f"{name} sits on {path}, which has no kernel: it cannot be merged")
      graph, state = nnx.split(adapter)
      kernel = base[f"{path}/kernel"]
      fold = lambda w, state, graph=graph: nnx.merge(graph, state).merge(w.astype(jnp.float32))
      stacked = kernel.ndim > len(node.core_shape)
      try:
        merged = jax.jit(jax.vmap(fold) if stacked else fold)(kernel, state)
      except TypeError as e:
        raise errors.InputError(f"{name} on {path}: {e}") from None
      base[f"{path}/kernel"] = merged
  return base
