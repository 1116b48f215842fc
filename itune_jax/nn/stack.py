"""A stack of equal layers: built by vmap, run by one scan, compiled once whatever the depth."""

from collections.abc import Callable
import dataclasses
from typing import Any, Literal

from flax import nnx
import jax
import jax.numpy as jnp

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.nn import site
from itune_jax.nn import skeleton

# What the "taps" policy keeps: the outputs of the large matmuls and of attention, and what adapters name. Norms,
# rotations, gates and residual sums are cheap to make again.
TAPS = ("attn_q", "attn_k", "attn_v", "attn_out", "attn_lse", "mlp_gate", "mlp_up", "residual", "adapter_out")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Remat:
  """What the backward pass finds saved: everything ("none"), named taps ("taps"), layer inputs only ("full").

  policy: one of the three. names: the taps that "taps" saves.
  """

  policy: Literal["none", "taps", "full"] = "none"
  names: tuple[str, ...] = TAPS

  def __post_init__(self):
    check.check_types(self)

  def wrap(self, body: Callable, layers: Any) -> Callable:
    """The body of a scan over `layers`, rematerialised by this policy."""
    if self.policy == "none":
      return body
    names = [name for name in self.names if name not in _kept_before(layers)]
    keep = jax.checkpoint_policies.save_only_these_names(*names) if self.policy == "taps" else None
    return jax.checkpoint(body, policy=keep, prevent_cse=False)


def _kept_before(layers: Any) -> set[str]:
  """Taps ("attn_q") behind a projection ("…/attn/q") whose adapter keeps its output anyway: it would be kept twice."""
  sites = [(path, node) for path, node in skeleton.sites(layers).items() if isinstance(node, site.Proj)]
  keeps = lambda node: any(adapter.keeps_output for adapter in site.in_order(node)[-1:])
  return {"_".join(path.split("/")[-2:]) for path, node in sites if keeps(node)}


def build(make_layer: Callable[[jax.Array], nnx.Module], depth: int, key: jax.Array, axis: str | None = None) -> Any:
  """A module like one layer whose every array has a leading axis of `depth`, called `axis` (or else "layers")."""
  graph, _ = nnx.split(nnx.eval_shape(lambda: make_layer(jax.random.key(0))))
  state = jax.vmap(lambda k: nnx.split(make_layer(k))[1])(jax.random.split(key, depth))
  module = nnx.merge(graph, state)
  if axis is not None:
    for variable in jax.tree.leaves(nnx.state(module), is_leaf=lambda v: isinstance(v, nnx.Param)):
      variable.set_metadata(axes=(axis, *variable.get_metadata()["axes"]))
  return module


def apart(layers: Any) -> nnx.List:
  """The layers of a stack as modules of their own, each with its part of the arrays."""
  graph, state = nnx.split(layers)
  depth = jax.tree.leaves(state)[0].shape[0]
  return nnx.List([nnx.merge(graph, jax.tree.map(lambda a: a[i], state)) for i in range(depth)])


def is_apart(layers: Any) -> bool:
  """Whether these layers have been taken apart."""
  return isinstance(layers, nnx.List)


def run(layers: Any, x, ctx, *args, per_layer: Any = None, cache: Any = None, remat: Remat = Remat(), first=0):
  """Runs x through the stack. A layer is `layer(x, ctx, *args, cache=, layer=[, given=]) -> (x, cache, aux)`.

  `per_layer` holds arrays [L, ...] that are data and no parameters (a window, which rotary table); a layer gets
  its own as `given`. Returns (x, cache, aux), aux summed over the layers, with what adapters add to `ctx.aux`. The
  cache rides in the carry, updated in place. Layers taken `apart` run without a scan. `first` is the number of the
  first of these layers, where they are a stage of a stack. What `ctx.shows` asks for stands among the sums.

  Raises InputError for what `ctx.shows` asks for and is not there.
  """
  if is_apart(layers):
    return _one_by_one(layers, x, ctx, args, per_layer, cache)
  graph, state = nnx.split(layers)
  depth = jax.tree.leaves(state)[0].shape[0]

  def body(carry, scanned):
    x, cache = carry
    state, index, given = scanned
    more = {} if given is None else {"given": given}
    layer_ctx = ctx.at_layer(first + index)
    x, cache, aux = nnx.merge(graph, state)(x, layer_ctx, *args, cache=cache, layer=index, **more)
    return (x, cache), ({**aux, **(layer_ctx.aux or {})}, _parts(ctx, x, layer_ctx.shown))

  scanned = state, jnp.arange(depth), per_layer
  body = remat.wrap(body, layers)
  if not ctx.shows:
    (x, cache), (aux, _) = jax.lax.scan(body, (x, cache), scanned)
    return x, cache, jax.tree.map(lambda per_layer: per_layer.sum(0), aux)
  (x, cache), aux, shown = _showing(body, (x, cache), scanned, ctx, depth)
  return x, cache, jax.tree.map(lambda per_layer: per_layer.sum(0), aux) | {contracts.SHOWN: shown}


def _parts(ctx, x, shown: dict[str, Any] | None) -> dict[str, Any]:
  """Of a layer that gave x and left others, the parts that are asked for of any layer."""
  if not ctx.shows:
    return {}
  there = {"out": x, **(shown or {})}
  missing = sorted({part for part, _ in ctx.shows} - set(there))
  if missing:
    raise errors.InputError(f"parts {missing} of layers are asked for: this model's layers show {sorted(there)}")
  return {part: there[part] for part, _ in ctx.shows}


def _showing(body: Callable, start, scanned, ctx, depth: int) -> tuple[Any, Any, dict[tuple[str, int], Any]]:
  """The scan, with what `ctx.shows` asks for: each layer writes its parts into a slot of the carry, and the layers
  that nobody asked for share one. So the parts of all layers never exist at once."""
  if any(not 0 <= layer < depth for _, layer in ctx.shows):
    asked = sorted({layer for _, layer in ctx.shows})
    raise errors.InputError(f"layers {asked} are asked for: this model has those from 0 to {depth - 1}")
  layers = {part: sorted({layer for name, layer in ctx.shows if name == part}) for part, _ in ctx.shows}
  slots = {part: [some.index(i) if i in some else len(some) for i in range(depth)] for part, some in layers.items()}
  _, (_, shapes) = jax.eval_shape(body, start, jax.tree.map(lambda a: a[0], scanned))
  empty = {part: jnp.zeros((len(layers[part]) + 1, *one.shape), one.dtype) for part, one in shapes.items()}

  def step(carry, given):
    scanned, slot = given
    inner, (aux, parts) = body(carry[0], scanned)
    put = lambda part, kept: jax.lax.dynamic_update_index_in_dim(kept, parts[part], slot[part], 0)
    return (inner, {part: put(part, kept) for part, kept in carry[1].items()}), aux

  numbers = {part: jnp.asarray(some, jnp.int32) for part, some in slots.items()}
  (inner, kept), aux = jax.lax.scan(step, (start, empty), (scanned, numbers))
  return inner, aux, {(part, layer): kept[part][slots[part][layer]] for part, layer in ctx.shows}


def _one_by_one(layers, x, ctx, args, per_layer, cache):
  sums = []
  for i, layer in enumerate(layers):
    more = {} if per_layer is None else {"given": jax.tree.map(lambda a: a[i], per_layer)}
    layer_ctx = ctx.at_layer(i)
    x, cache, aux = layer(x, layer_ctx, *args, cache=cache, layer=i, **more)
    sums.append({**aux, **(layer_ctx.aux or {})})
  return x, cache, jax.tree.map(lambda *each: sum(each), *sums)
