"""Sites: the only places where a parameter meets data, and so the only places an adapter can sit.

`Proj` is every parametrised matmul, `Embed` every table, `Tap` an identity on an activation. Each has an
adapter slot, an empty `nnx.Dict`; model files contain sites and know nothing of adapters.

A new adapter is a few lines, and works stacked, scanned, rematerialised and sharded:

    class Ia3(site.Adapter):
      def __init__(self, spec):
        self.scale = site.AdapterParam(jnp.ones(spec.in_shape), axes=spec.in_axes)
      def pre(self, x, ctx):
        return x * numerics.align(self.scale[...].astype(x.dtype), x)
"""

from collections.abc import Callable
import dataclasses
import math
from typing import Any, Literal

from flax import nnx
import jax
from jax import ad_checkpoint
import jax.numpy as jnp

from itune_jax.core import numerics
from itune_jax.nn import quant


Kind = Literal["proj", "embed", "tap"]  # of sites


class AdapterParam(nnx.Param):
  """A parameter of an adapter; `trainable=False` in its metadata makes it a constant that can be swapped.

  `saved=True` beside it: what was drawn or made of the weights at attaching, so that checkpoints must hold it.
  """


class Weight:
  """A lazy handle on a kernel, so that nothing is dequantised or merged that no adapter asks for."""

  def __init__(self, read: Callable[[], Any], shape: tuple[int, ...]):
    self._read, self._value, self.shape = read, None, shape

  @property
  def value(self):
    """The kernel as an array."""
    if self._value is None:
      self._value = self._read()
    return self._value

  def contract(self, x, num_in: int):
    """Contracts the last `num_in` axes of x with the first of the kernel."""
    return contract(x, self.value, num_in)


class PackedWeight(Weight):
  """A handle on a quantised kernel, which is contracted as it lies."""

  def __init__(self, store, shape: tuple[int, ...], dtype, ctx=None):
    super().__init__(lambda: read_kernel(store, dtype), shape)
    self._store, self._ctx = store, ctx

  def contract(self, x, num_in: int):
    return quant.contract(x, self._store, num_in, self._ctx)


@dataclasses.dataclass(frozen=True)
class SiteSpec:
  """What a method is told of one site, without stacked dimensions.

  `layers` holds the expanded names of a stacked site (`blocks/0/attn/q`, ...), else the site's own name.
  `in_shape`/`out_shape` are the contracted and produced dimensions of a Proj; of a Tap, `out_shape` is what an adapter
  may put in, if anything.
  """

  name: str
  kind: Kind
  in_shape: tuple[int, ...]
  out_shape: tuple[int, ...]
  in_axes: tuple[str | None, ...]
  out_axes: tuple[str | None, ...]
  layers: tuple[str, ...]


class Adapter(nnx.Module):
  """Base of all adapters. Order at a Proj: every pre, every weight, matmul, every post, then the (changed) bias.

  Array leaves only (a Python number would recompile when it changes) and no Rngs: randomness is `ctx.key`,
  None outside training. keeps_output: what `post` returns is kept for the backward pass under the name "adapter_out".
  sees_ends: what it does to a token depends on where its prompt ends, so no part of a prompt may run by itself.
  """

  keeps_output = False
  sees_ends = False

  @property
  def hooks(self) -> frozenset[str]:
    """Those of `HOOKS` that the adapter has of its own; where it has none, it changes nothing."""
    return frozenset(hook for hook in HOOKS if getattr(type(self), hook) is not getattr(Adapter, hook))

  def changes_bias(self, exists: bool) -> bool:
    """Whether `bias` gives another than it gets, at a site that has a bias or has none."""
    del exists
    return "bias" in self.hooks

  def pre(self, x, ctx):
    """Changes the input of the site."""
    return x

  def weight(self, w: Weight, ctx) -> Weight:
    """Changes the kernel of the site."""
    return w

  def post(self, x, y, w: Weight | None, ctx):
    """Changes the output y of the site, given its input x and kernel w."""
    return y

  def fused(self, x, w: Weight, ctx):
    """What pre, weight, matmul and post make of x, where this adapter is alone at a Proj and knows a shorter way."""

  def bias(self, bias):
    """Changes the bias [*out] of the site; None where it has none."""
    return bias

  def attend(self, x, logits, ctx):
    """Changes the logits of a table that is read backwards (tied embeddings), given the hidden states x."""
    return logits

  def merge(self, w, bank):
    """The kernel [*in, *out], float32, that makes the adapter superfluous; TypeError if there is none.

    bank: what the adapters of all layers share, by name, as in ctx."""
    raise TypeError(f"{type(self).__name__} has no equal kernel: it cannot be merged")


HOOKS = ("pre", "weight", "post", "bias", "attend")  # by which an adapter changes what a site computes


class Wrapper(Adapter):
  """An adapter around another, whose hooks it has."""

  def __init__(self, inner: Adapter):
    self.inner = inner

  @property
  def sees_ends(self) -> bool:
    return self.inner.sees_ends

  @property
  def hooks(self) -> frozenset[str]:
    return self.inner.hooks

  def changes_bias(self, exists: bool) -> bool:
    return self.inner.changes_bias(exists)


def where_changed(choose: Callable[[Any, Any], Any], new, old):
  """choose(new, old); of the payload of a tap (`taps`) field by field of those that changed, where None before is 0."""
  if not isinstance(old, tuple):
    return choose(new, old)
  pairs = zip(new, old, strict=True)
  return type(old)(*(n if n is o else choose(n, jnp.zeros_like(n) if o is None else o) for n, o in pairs))


class Proj(nnx.Module):
  """A projection by `eqn`, such as "...D,DNH->...NH"; the contracted axes come first in the kernel.

  Contractions run in two dimensions whatever the equation: over two axes XLA on CPU is a third slower.
  """

  def __init__(
    self, eqn: str, shape: tuple[int, ...], axes: tuple[str | None, ...], key, *, bias: bool = False, dtype=jnp.float32
  ):
    inputs, out = eqn.replace(" ", "").split("->")
    x, w = inputs.split(",")
    contracted = x.removeprefix("...")
    if w != contracted + out.removeprefix("..."):
      raise ValueError(f"Proj({eqn!r}): the kernel must be the contracted axes, then the new ones")
    self.num_in, self.axes = len(contracted), tuple(axes)
    self.core_shape = tuple(shape)
    fan_in = math.prod(shape[: self.num_in])
    self.kernel = nnx.Param(_normal(key, shape, fan_in**-0.5, dtype), axes=tuple(axes))
    self.bias = (
      nnx.Param(jnp.zeros(shape[self.num_in :], dtype), axes=tuple(axes)[self.num_in :]) if bias else nnx.data(None)
    )
    self.adapters = nnx.Dict()

  def spec(self, name: str, layers: tuple[str, ...]) -> SiteSpec:
    """What a method needs to know of this site."""
    n = self.num_in
    return SiteSpec(name, "proj", self.core_shape[:n], self.core_shape[n:], self.axes[:n], self.axes[n:], layers)

  def __call__(self, x, ctx):
    """Applies to x [..., *in]; returns [..., *out] in x's dtype."""
    adapters, w = in_order(self), self._weight(x.dtype, ctx)
    y = adapters[0].fused(x, w, ctx) if len(adapters) == 1 else None
    y = self._step_by_step(x, w, adapters, ctx) if y is None else y
    bias = None if self.bias is None else self.bias[...]
    for adapter in adapters:
      bias = adapter.bias(bias)
    return y if bias is None else y + numerics.align(bias.astype(y.dtype), y)

  def _step_by_step(self, x, w: Weight, adapters: list[Adapter], ctx):
    for adapter in adapters:
      x = adapter.pre(x, ctx)
    for adapter in adapters:
      w = adapter.weight(w, ctx)
    y = w.contract(x, self.num_in)
    for adapter in adapters:
      y = adapter.post(x, y, w, ctx)
    return y

  def _weight(self, dtype, ctx) -> Weight:
    store, shape = self.kernel, self.core_shape
    if isinstance(store, nnx.Param):
      return Weight(lambda: read_kernel(store, dtype), shape)
    return PackedWeight(store, shape, dtype, ctx)


class Embed(nnx.Module):
  """A table of vectors by token id, which can be read backwards as the output projection."""

  def __init__(self, vocab: int, width: int, key, *, dtype=jnp.float32):
    self.core_shape, self.axes = (vocab, width), ("vocab", "embed")
    self.table = nnx.Param(_normal(key, (vocab, width), width**-0.5, dtype), axes=self.axes)
    self.adapters = nnx.Dict()

  def spec(self, name: str, layers: tuple[str, ...]) -> SiteSpec:
    """What a method needs to know of this site."""
    (V, D), (v, d) = self.core_shape, self.axes
    return SiteSpec(name, "embed", (V,), (D,), (v,), (d,), layers)

  def __call__(self, tokens_BT, ctx):
    """Vectors [B, T, D], in training with uniform noise of half-width `ctx.noise_BT` / √D (NEFTune)."""
    w = Weight(lambda: self.table[...].astype(ctx.dtype), self.core_shape)
    for adapter in in_order(self):
      w = adapter.weight(w, ctx)
    x_BTD = jnp.take(w.value, tokens_BT, axis=0, mode="clip")  # ids behind the table belong to an adapter
    for adapter in in_order(self):
      x_BTD = adapter.post(tokens_BT, x_BTD, w, ctx)
    if ctx.noise_BT is not None and ctx.key is not None:
      noise = ctx.uniform(0x4E45, x_BTD.shape, -1.0, 1.0)
      x_BTD += (noise * (ctx.noise_BT[..., None] / math.sqrt(x_BTD.shape[-1]))).astype(x_BTD.dtype)
    return x_BTD

  def attend(self, x, ctx=None):
    """Logits [..., V] of hidden states by the same table (tied embeddings)."""
    logits = jax.lax.dot_general(x, self.table[...].astype(x.dtype), (((x.ndim - 1,), (1,)), ((), ())))
    for adapter in in_order(self):
      logits = adapter.attend(x, logits, ctx)
    return logits


class Tap(nnx.Module):
  """An identity on an activation: sharding constraint, name for rematerialisation, and adapter point in one."""

  def __init__(self, name: str, axes: tuple[str | None, ...] | None = None, *, width: dict[str, int] | None = None):
    """width: of what an adapter may put in here, by axis."""
    self.name, self.axes, self.width = name, axes, tuple((width or {}).items())
    self.adapters = nnx.Dict()

  def spec(self, name: str, layers: tuple[str, ...]) -> SiteSpec:
    """What a method needs to know of this site."""
    return SiteSpec(name, "tap", (), tuple(n for _, n in self.width), (), tuple(axis for axis, _ in self.width), layers)

  def __call__(self, y, ctx, x=None):
    """Returns y, changed by adapters given x (what y was computed from, where the model passes it)."""
    for adapter in in_order(self):
      y = adapter.post(x, y, None, ctx)
    if self.axes is None:
      return y
    return ad_checkpoint.checkpoint_name(ctx.constrain(y, self.axes), self.name)


SITES = (Proj, Embed, Tap)


def read_kernel(store, dtype):
  """The kernel [*in, *out] behind a Param or a quantised store."""
  if isinstance(store, nnx.Param):
    return store[...].astype(dtype)
  return quant.dequantise(store.layout(), quant.arrays(store), dtype)


def quantise(proj: Proj, how: quant.Quant, lead: int) -> None:
  """Puts packed codes in place of a projection's kernel, whose first `lead` axes are stacked."""
  make = lambda kernel: nnx.split(quant.KINDS[how.kind](kernel, proj.num_in, proj.axes))[1]
  core = jax.ShapeDtypeStruct(proj.core_shape, jnp.float32)
  graph, _ = nnx.split(nnx.eval_shape(lambda k: quant.KINDS[how.kind](k, proj.num_in, proj.axes), core))
  for _ in range(lead):
    make = jax.vmap(make)
  proj.kernel = nnx.merge(graph, make(proj.kernel[...]))


def in_order(node) -> list[Adapter]:
  """The adapters of a site by name: an order that survives taking the module apart."""
  return [adapter for _, adapter in sorted(node.adapters.items())]


def contract(x, w, num_in: int):
  """Contracts the last `num_in` axes of x with the first of w, as one two-dimensional matmul."""
  lead, out = x.shape[: x.ndim - num_in], w.shape[num_in:]
  fan_in = math.prod(w.shape[:num_in])
  return _matmul(x.reshape(*lead, fan_in), w.reshape(fan_in, -1)).reshape(*lead, *out)


@jax.custom_vjp
def _matmul(x, w):
  return jax.lax.dot_general(x, w, (((x.ndim - 1,), (0,)), ((), ())))


def _matmul_backward(saved, d_y):
  """The weight's gradient, its narrow side first: at an adapter's rank the other order is thrice as slow on CPU."""
  x, w = saved
  d_x = jax.lax.dot_general(d_y, w, (((d_y.ndim - 1,), (1,)), ((), ())))
  lead = tuple(range(x.ndim - 1))
  if w.shape[1] < w.shape[0]:
    d_w = jax.lax.dot_general(d_y, x, ((lead, lead), ((), ()))).T
  else:
    d_w = jax.lax.dot_general(x, d_y, ((lead, lead), ((), ())))
  return d_x, d_w


_matmul.defvjp(lambda x, w: (_matmul(x, w), (x, w)), _matmul_backward)


def _normal(key, shape, scale, dtype):
  return (jax.random.normal(key, shape, jnp.float32) * scale).astype(dtype)
