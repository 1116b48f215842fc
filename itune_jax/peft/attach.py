"""Attaching methods (`method.Method`) to a model: which sites, stacked or not; what trains; and merging back.

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
from itune_jax.nn import skeleton
from itune_jax.peft import method as method_lib


_LEAF = {"proj": "kernel", "embed": "table"}  # the parameter that a site's adapters act on


@dataclasses.dataclass(frozen=True)
class Attached:
  """A model with its methods. `params` holds the adapters' arrays and the base's, all by path."""

  module: Any
  params: dict[str, Any]
  trainable: frozenset[str]
  methods: tuple[method_lib.Method, ...]
  constants: frozenset[str] = frozenset()  # adapters' arrays that do not train and cannot be made again


class Gated(site_lib.Wrapper):
  """An adapter that is off in some layers of a stack: exact identity there, and no gradient."""

  def __init__(self, inner: site_lib.Adapter, active):
    super().__init__(inner)
    self.active = site_lib.AdapterParam(active, axes=(), trainable=False)

  def _choose(self, new, old):
    return site_lib.where_changed(lambda n, o: jnp.where(self.active[...], n, o), new, old)

  def pre(self, x, ctx):
    return self._choose(self.inner.pre(x, ctx), x)

  def weight(self, w, ctx):
    new = self.inner.weight(w, ctx)
    return w if new is w else site_lib.Weight(lambda: self._choose(new.value, w.value), w.shape)

  def post(self, x, y, w, ctx):
    inner_ctx = ctx if ctx.aux is None else ctx.replace(aux={})
    new = self.inner.post(x, y, w, inner_ctx)
    if inner_ctx.aux:
      ctx.add_aux({name: value * self.active[...].astype(jnp.float32) for name, value in inner_ctx.aux.items()})
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
  methods: Sequence[method_lib.Method],
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
    InputError with the list of sites when a pattern matches none, when two methods have one name, or for what is none.
  """
  module = nnx.merge(*nnx.split(module))
  params = dict(params)
  trainable: set[str] = set()
  if strange := [m for m in methods if not isinstance(m, method_lib.Method)]:
    raise errors.InputError(f"{strange[0]!r} is no method: its class must derive from peft.method.SiteMethod or Method")
  names = [method.name for method in methods]
  if len(set(names)) < len(names):
    raise errors.InputError(f"two methods are called the same: {names}; give them different names")
  for method in methods:
    if isinstance(method, method_lib.SiteMethod):
      known = (statistics or {}).get(method.name, {})
      params |= _attach_one(module, params, method, rng.named(key, method.name), mesh, rules, dtype, known)
    shaped = any(isinstance(value, jax.ShapeDtypeStruct) for value in params.values())
    beside = lambda method=method: method.beside(module.cfg.width)
    params |= _banked(module, method.name, beside, lambda name: True, mesh, shaped)
    trainable |= set(method.opens(base_names(params)))
  meta = skeleton.metadata(module)
  trainable |= {name for name, m in meta.items() if m["adapter"] and m["trainable"]}
  constants = frozenset(name for name, m in meta.items() if m["saved"])
  return Attached(module, params, frozenset(trainable), tuple(methods), constants)


def _attach_one(module, params, method: method_lib.SiteMethod, key, mesh, rules, dtype, statistics):
  places = list(_matches(module, method))
  shaped = any(isinstance(value, jax.ShapeDtypeStruct) for value in params.values())
  added = _bank(module, method, [spec for _, spec, _ in places], rng.named(key, "bank"), mesh, shaped)
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


def is_base(name: str) -> bool:
  """Whether a parameter is the base's own, neither an adapter's nor shared by adapters."""
  return "/adapters/" not in name and not name.startswith("bank/")


def base_names(params: Mapping[str, Any]) -> list[str]:
  """The names of the base's parameters, sorted."""
  return sorted(filter(is_base, params))


def _shape(x, sharding):
  return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)


def _bank(module, method: method_lib.SiteMethod, specs, key, mesh, shaped: bool) -> dict[str, Any]:
  """Puts what a method's layers share into the model's bank."""
  make = lambda: method.shared(specs, key)
  return _banked(module, method.name, make, lambda name: name in method.shared_trains, mesh, shaped)


def _banked(module, owner: str, make, trains, mesh, shaped: bool) -> dict[str, Any]:
  """Puts arrays into the model's bank, a copy on every device; returns them by path. trains: which of them do."""
  everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  arrays = {name: _shape(x, everywhere) for name, x in jax.eval_shape(make).items()}
  if arrays and not shaped:
    arrays = jax.jit(make, out_shardings=everywhere)()
  for name, value in arrays.items():
    module.bank[f"{owner}_{name}"] = site_lib.AdapterParam(
      value, axes=(None,) * value.ndim, trainable=trains(name), saved=not trains(name)
    )
  return {f"bank/{owner}_{name}": value for name, value in arrays.items()}


def on_sites(methods: Iterable[method_lib.Method]) -> list[method_lib.SiteMethod]:
  """Those of the methods that put adapters on sites."""
  return [method for method in methods if isinstance(method, method_lib.SiteMethod)]


def layers_of(module, method: method_lib.SiteMethod) -> dict[str, list[str | None]]:
  """Expanded names of the layers of every site that a method is for; None where a layer is left out."""
  return {
    spec.name: [name if on else None for name, on in zip(spec.layers, matched, strict=True)]
    for _, spec, matched in _matches(module, method)
  }


def _matches(module, method: method_lib.SiteMethod) -> Iterable[tuple[Any, site_lib.SiteSpec, np.ndarray]]:
  regex = _compile(method)
  known, any_match = [], False
  for path, node in skeleton.sites(module).items():
    spec = node.spec(path, skeleton.expanded(path, module.cfg.stacks))
    if spec.kind not in method.kinds:
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


def _plan(
  method: method_lib.SiteMethod, node, spec, matched, stacks, key, params, mesh, rules, dtype, statistic
) -> _Plan:
  lead = skeleton.lead(spec.name, stacks)
  values = method.layer_values(spec, matched)
  gate = not values and not matched.all()
  kernel, read = _kernel(node, spec, params) if method.needs_weight else (None, None)

  def one(stream, values, active, kernel, statistic):
    weight = {"w": read(kernel)} if read is not None else {}
    measured = {"statistic": statistic} if method.statistic else {}
    adapter = method.make(spec, jax.random.fold_in(key, stream), **values, **weight, **measured)
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
  return arrays, lambda arrays: site_lib.read_kernel(live.build(arrays), jnp.float32)


def penalty_of(methods: Sequence[method_lib.Method]) -> Any:
  """The sum of the methods' penalties as a function of the trainable parameters; None without any."""
  penalties = [method.penalty for method in methods if isinstance(method, method_lib.Penalised)]
  return (lambda trainable: sum(penalty(trainable) for penalty in penalties)) if penalties else None


def wrap_optimizer(methods: Sequence[method_lib.Method], optimizer: Any, steps: int) -> Any:
  """The optimizer of a run of so many steps with what the methods wrap around it."""
  for method in methods:
    optimizer = method.transform(optimizer, steps)
  return optimizer


def _merge_order(node) -> list[tuple[str, Any]]:
  """What acts on the weight, then on the output, then on the input: y = post(weight(W) · pre(x)), from inside out."""

  ordered = sorted(node.adapters.items())
  pre = [pair for pair in ordered if "pre" in pair[1].hooks]
  rest = [pair for pair in ordered if "pre" not in pair[1].hooks]
  return sorted(rest, key=lambda pair: "post" in pair[1].hooks) + pre[::-1]


def merge(attached: Attached) -> dict[str, Any]:
  """Base parameters with every adapter merged in, in float32, from the original base.

  Raises InputError naming the method when an adapter is not linear in its input.
  """
  base = {name: value for name, value in attached.params.items() if is_base(name)}
  live, _ = skeleton.disassemble(attached.module)
  module = live.build({n: attached.params[n] for n in live.names})
  for path, node in skeleton.sites(module).items():
    for name, adapter in _merge_order(node):
      leaf = _LEAF.get(node.spec(path, (path,)).kind)
      if leaf is None:
        raise errors.InputError(f"{name} sits on {path}, which has no kernel: it cannot be merged")
      if f"{path}/{leaf}" not in base:
        raise errors.InputError(f"{path} is quantised: merge into the full base instead (itune merge --dequantise)")
      if leaf == "table" and module.head is None and "attend" not in adapter.hooks:
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
