"""Attaching methods to a model: which sites, stacked or not; what trains; and merging back.

A method is a frozen value with a `name`. It either sits on sites (`sites`, `make`) or opens base parameters
(`opens`), or both:

    sites: str                     regex over expanded site names (`blocks/3/attn/q`)
    kinds: tuple[str, ...]         of "proj", "embed", "tap"
    make(spec, key, w=None, **layer_values) -> Adapter        for one layer; stacked by vmap
    layer_values(spec, matched) -> {name: array [L, ...]}     optional; else unmatched layers are gated off
    needs_weight: bool             optional; then `w` is the layer's kernel
    statistic: str                 optional; then `make` takes it too (`calibrate`): None until it was measured
    calibrated(spectra, layers) -> method                     of those that ask for moments; as the inputs want it
    shared(specs, key) -> {name: array}                       optional; a bank outside the stack
    shared_trains: tuple[str, ...]                            optional; which of the bank trains
    opens(names) -> names          base parameters that train
    penalty(trainable) -> scalar   optional; added to the gradient once a step
    transform(optimizer, steps) -> optimizer                  optional; what goes around the optimizer

Base parameter paths never change by attaching.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
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
from itune_jax.nn import skeleton


_LEAF = {"proj": "kernel", "embed": "table"}  # the parameter that a site's adapters act on


@dataclasses.dataclass(frozen=True)
class Attached:
  """A model with its methods. `params` holds the adapters' arrays and the base's, all by path."""

  module: Any
  params: dict[str, Any]
  trainable: frozenset[str]
  methods: tuple[Any, ...]
  constants: frozenset[str] = frozenset()  # adapters' arrays that do not train and cannot be made again


def each(choose: Callable[[Any, Any], Any], new, old):
  """choose(new, old); of a tap on several activations, of each that changed, where None before is zero."""
  if not isinstance(new, tuple):
    return choose(new, old)
  pairs = zip(new, old, strict=True)
  return tuple(n if n is o else choose(n, jnp.zeros_like(n) if o is None else o) for n, o in pairs)


class Gated(site_lib.Adapter):
  """An adapter that is off in some layers of a stack: exact identity there, and no gradient."""

  def __init__(self, inner: site_lib.Adapter, active):
    self.inner = inner
    self.active = site_lib.AdapterParam(active, axes=(), trainable=False)

  @property
  def sees_ends(self) -> bool:
    return self.inner.sees_ends

  def _choose(self, new, old):
    return each(lambda n, o: jnp.where(self.active[...], n, o), new, old)

  def pre(self, x, ctx):
    return self._choose(self.inner.pre(x, ctx), x)

  def weight(self, w, ctx):
    new = self.inner.weight(w, ctx)
    return w if new is w else site_lib.Weight(lambda: self._choose(new.value, w.value), w.shape)

  def post(self, x, y, w, ctx):
    own = ctx if ctx.aux is None else ctx.replace(aux={})
    new = self.inner.post(x, y, w, own)
    if own.aux:
      ctx.leave({name: value * self.active[...].astype(jnp.float32) for name, value in own.aux.items()})
    return self._choose(new, y)

  def bias(self, bias):
    new = self.inner.bias(bias)
    return new if new is bias else self._choose(new, jnp.zeros_like(new) if bias is None else bias)

  def attend(self, x, logits, ctx):
    return self._choose(self.inner.attend(x, logits, ctx), logits)

  def merge(self, w, bank):
    return self._choose(self.inner.merge(w, bank), w)


def attach(
  module,
  params: Mapping[str, Any],
  methods: Sequence[Any],
  key,
  *,
  mesh: Mesh,
  rules: axes_lib.Rules = axes_lib.DEFAULT_RULES,
  dtype=jnp.float32,
  statistics: Mapping[str, Mapping[str, Any]] | None = None,
) -> Attached:
  """Puts methods onto a model; the given module and arrays stay as they are.

  Args:
    module: with shapes in place of arrays. params: base arrays by path; where they are shapes, so are the adapters'.
      dtype: of the adapters' arrays. statistics: by method and site, of methods that start from data; without them such
      a method is not a number until arrays are put in its place.

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
      known = (statistics or {}).get(method.name, {})
      params |= _attach_one(module, params, method, rng.named(key, method.name), mesh, rules, dtype, known)
    if hasattr(method, "opens"):
      trainable |= set(method.opens(sorted(n for n in params if "/adapters/" not in n and not n.startswith("bank/"))))
  meta = skeleton.metadata(module)
  trainable |= {name for name, m in meta.items() if m["adapter"] and m["trainable"]}
  constants = frozenset(name for name, m in meta.items() if m["saved"])
  return Attached(module, params, frozenset(trainable), tuple(methods), constants)


def _attach_one(module, params, method, key, mesh, rules, dtype, statistics):
  places = list(_matches(module, method))
  shaped = any(isinstance(value, jax.ShapeDtypeStruct) for value in params.values())
  added: dict[str, Any] = {}
  if hasattr(method, "shared"):
    added |= _bank(module, method, [spec for _, spec, _ in places], rng.named(key, "bank"), mesh, shaped)
  plans = [
    _plan(method, node, spec, matched, module.cfg.stacks, key, params, mesh, rules, dtype, statistics.get(spec.name))
    for node, spec, matched in places
  ]
  # One compilation for all sites: a program apiece would cost seconds.
  make = lambda given: [plan.run(*g) for plan, g in zip(plans, given, strict=True)]
  where, given = [plan.where for plan in plans], [plan.given for plan in plans]
  if shaped:
    states = jax.tree.map(_shape, jax.eval_shape(make, given), where)
  else:
    states = jax.jit(make, out_shardings=where)(given)
  for (node, spec, _), plan, state in zip(places, plans, states, strict=True):
    node.adapters[method.name] = nnx.merge(plan.graph, state)
    _, arrays = skeleton.disassemble(node.adapters[method.name])
    added |= {f"{spec.name}/adapters/{method.name}/{name}": value for name, value in arrays.items()}
  return added


def _shape(x, sharding):
  return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)


def _bank(module, method, specs, key, mesh, shaped: bool) -> dict[str, Any]:
  """Puts what a method's layers share into the model's bank, a copy on every device; returns it by path."""
  everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  make = lambda: method.shared(specs, key)
  if shaped:
    found = {name: _shape(x, everywhere) for name, x in jax.eval_shape(make).items()}
  else:
    found = jax.jit(make, out_shardings=everywhere)()
  trains = getattr(method, "shared_trains", ())
  for name, value in found.items():
    kept = dict(trainable=name in trains, saved=name not in trains)
    module.bank[f"{method.name}_{name}"] = site_lib.AdapterParam(value, axes=(None,) * value.ndim, **kept)
  return {f"bank/{method.name}_{name}": value for name, value in found.items()}


def layers_of(module, method) -> dict[str, list[str | None]]:
  """Expanded names of the layers of every site that a method is for; None where a layer is left out."""
  return {
    spec.name: [name if on else None for name, on in zip(spec.layers, matched, strict=True)]
    for _, spec, matched in _matches(module, method)
  }


def _matches(module, method) -> Iterable[tuple[Any, site_lib.SiteSpec, np.ndarray]]:
  found = skeleton.sites(module)
  kinds = getattr(method, "kinds", ("proj",))
  regex = _compile(method)
  known, any_match = [], False
  for path, node in found.items():
    spec = node.spec(path, skeleton.expanded(path, module.cfg.stacks))
    if spec.kind not in kinds:
      continue
    known.append(path)
    matched = np.array([bool(regex.fullmatch(name)) for name in spec.layers])
    if matched.any():
      any_match = True
      yield node, spec, matched
  if not any_match:
    raise errors.InputError(
      f"{type(method).__name__}(sites={method.sites!r}) matches no site; sites are (with the "
      f"layer's number after the stack's name): {', '.join(sorted(known))}"
    )


def _compile(method) -> re.Pattern:
  try:
    return re.compile(method.sites)
  except re.error as e:
    raise errors.InputError(f"{type(method).__name__}(sites={method.sites!r}) is no regular expression: {e}") from None


@dataclasses.dataclass(frozen=True)
class _Plan:
  """How the adapter of one site is made: `run(*given)` is its state, to lie on `where`."""

  graph: Any
  run: Any
  given: tuple[Any, ...]
  where: Any


def _plan(method, node, spec, matched, stacks, key, params, mesh, rules, dtype, statistic) -> _Plan:
  lead = skeleton.lead(spec.name, stacks)
  values = method.layer_values(spec, matched) if hasattr(method, "layer_values") else {}
  gate = not values and not matched.all()
  kernel, read = _kernel(node, spec, params) if getattr(method, "needs_weight", False) else (None, lambda none: none)

  def one(stream, values, active, kernel, statistic):
    more = {"statistic": statistic} if getattr(method, "statistic", "") else {}
    adapter = method.make(spec, jax.random.fold_in(key, stream), w=read(kernel), **values, **more)
    adapter = Gated(adapter, active) if gate else adapter
    for variable in jax.tree.leaves(nnx.state(adapter), is_leaf=lambda v: isinstance(v, nnx.Param)):
      if variable.get_metadata().get("trainable", True):
        variable[...] = variable[...].astype(dtype)
    return nnx.split(adapter)

  streams = np.array([rng.stream(name) for name in spec.layers], np.uint32)
  given = (streams, dict(values), np.asarray(matched), kernel)
  # One value per expanded name, laid out as the stacked axes are: (L,), (L, E) of experts, () of a single site.
  given = (*jax.tree.map(lambda x: np.reshape(x, (*lead, *np.shape(x)[1:])), given[:3]), kernel, statistic)
  example = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[len(lead) :], x.dtype), given)
  graph = nnx.split(nnx.eval_shape(lambda given: nnx.merge(*one(*given)), example))[0]
  run = lambda *a: one(*a)[1]
  for _ in lead:
    run = jax.vmap(run)
  shapes = jax.eval_shape(run, *given)
  adapter = nnx.merge(graph, shapes)
  axes = {name: meta["axes"] for name, meta in skeleton.metadata(adapter).items()}
  leaves, treedef = jax.tree.flatten(shapes)
  where = [
    jax.sharding.NamedSharding(mesh, axes_lib.partition_spec(axes[name], leaf.shape, rules, mesh))
    for name, leaf in zip(skeleton.disassemble(adapter)[0].names, leaves, strict=True)
  ]
  return _Plan(graph, run, given, jax.tree.unflatten(treedef, where))


def _kernel(node, spec, params) -> tuple[Any, Any]:
  """The arrays of a kernel or table, packed where it is quantised, and what reads one layer of them."""
  plain = params.get(f"{spec.name}/{_LEAF[spec.kind]}")
  if plain is not None:
    return plain, lambda kernel: kernel
  live, _ = skeleton.disassemble(node.kernel)
  arrays = {name: params[f"{spec.name}/kernel/{name}"] for name in live.names}
  return arrays, lambda arrays: site_lib.read_kernel(live.build(arrays), node.core_shape, jnp.float32)


def penalty_of(methods: Sequence[Any]) -> Any:
  """The sum of the methods' penalties as a function of the trainable parameters; None without any."""
  penalties = [method.penalty for method in methods if hasattr(method, "penalty")]
  return (lambda trainable: sum(penalty(trainable) for penalty in penalties)) if penalties else None


def around(methods: Sequence[Any], optimizer: Any, steps: int) -> Any:
  """The optimizer with what the methods put around it."""
  for method in methods:
    optimizer = method.transform(optimizer, steps) if hasattr(method, "transform") else optimizer
  return optimizer


def _merge_order(node) -> list[tuple[str, Any]]:
  """What acts on the weight, then on the output, then on the input: y = post(weight(W) · pre(x)), from inside out."""

  def acts_on(adapter):
    inner = _inner(adapter)
    overrides = [getattr(inner, hook) is not getattr(site_lib.Adapter, hook) for hook in ("pre", "post", "weight")]
    return 2 if overrides[0] else 1 if overrides[1] else 0

  ordered = sorted(node.adapters.items())
  pre = [pair for pair in ordered if acts_on(pair[1]) == 2]
  rest = sorted((pair for pair in ordered if acts_on(pair[1]) != 2), key=lambda pair: acts_on(pair[1]))
  return rest + pre[::-1]


def merge(attached: Attached) -> dict[str, Any]:
  """Base parameters with every adapter merged in, in float32, from the original base.

  Raises InputError naming the method when an adapter is not linear in its input.
  """
  base = {n: v for n, v in attached.params.items() if "/adapters/" not in n and not n.startswith("bank/")}
  live, _ = skeleton.disassemble(attached.module)
  module = live.build({n: attached.params[n] for n in live.names})
  for path, node in skeleton.sites(module).items():
    for name, adapter in _merge_order(node):
      leaf = _LEAF.get(node.spec(path, (path,)).kind)
      if leaf is None:
        raise errors.InputError(f"{name} sits on {path}, which has no kernel: it cannot be merged")
      if f"{path}/{leaf}" not in base:
        raise errors.InputError(f"{path} is quantised: merge into the full base instead (itune merge --dequantise)")
      if leaf == "table" and module.head is None and _inner(adapter).attend is site_lib.Adapter.attend:
        raise errors.InputError(f"{name} changes the embedding and not the output projection that shares its table")
      base[f"{path}/{leaf}"], bias = _folded(
        node, adapter, base[f"{path}/{leaf}"], base.get(f"{path}/bias"), module.bank, name, path
      )
      if bias is not None:
        base[f"{path}/bias"] = bias
  return base


def _folded(node, adapter, kernel, bias, bank, name, path):
  """Kernel and bias of a site with one adapter merged in, layer by layer."""
  graph, state = nnx.split(adapter)

  def fold(kernel, bias, state):
    adapter = nnx.merge(graph, state)
    up = lambda x: None if x is None else x.astype(jnp.float32)
    return adapter.merge(up(kernel), bank), adapter.bias(up(bias))

  for _ in range(kernel.ndim - len(node.core_shape)):
    fold = jax.vmap(fold)
  try:
    kernel, new_bias = jax.jit(fold)(kernel, bias, state)
  except TypeError as e:
    raise errors.InputError(f"{name} on {path}: {e}") from None
  if bias is None and new_bias is not None:
    raise errors.InputError(f"{name} adds a bias to {path}, which has none: it cannot be merged")
  return kernel, new_bias


def _inner(adapter) -> type:
  return type(adapter.inner if isinstance(adapter, Gated) else adapter)
