"""Quantised frozen kernels: int8 per output channel, and 4-bit NormalFloat with double quantisation.

A quantised projection keeps packed codes only. Its matmul has its own transpose rule, which saves the packed arrays:
under plain autodiff a scan over layers would keep every layer's dequantised kernel for the backward pass.
"""

import dataclasses
import functools
import math
import re
from typing import Any, Literal

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
import numpy as np

from itune_jax.core import check
from itune_jax.core import numerics
from itune_jax.nn import packed_matmul

BLOCK = 64  # values that share a scale under nf4, along the contracted axes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quant:
  """Which projections of a frozen base are quantised, and how. `sites` is matched against stacked names
  (`blocks/attn/q`); routers, embeddings and heads stay whole unless named.

  kind: "nf4" (4-bit NormalFloat, Dettmers et al. 2023) or "int8" (by output). sites: the regex.
  """

  kind: Literal["int8", "nf4"] = "nf4"
  sites: str = r"(blocks|encoder|decoder)/(.*/)?(q|k|v|o|qkv|gate|up|down|gate_up)"

  def __post_init__(self):
    check.check_types(self)
    check.regex(self.sites, "Quant.sites")

  def matches(self, site: str) -> bool:
    """Whether a site is quantised."""
    return re.fullmatch(self.sites, site) is not None


class Int8(nnx.Module):
  """codes · scale: int8 codes [*in, *out] and a float32 scale for each output channel [*out]."""

  def __init__(self, kernel, num_in: int, axes: tuple[str | None, ...]):
    self.num_in = num_in
    scale = jnp.max(jnp.abs(kernel.astype(jnp.float32)), axis=tuple(range(num_in))) / 127.0
    scale = jnp.where(scale == 0, 1.0, scale)
    codes = jnp.round(kernel.astype(jnp.float32) / numerics.align(scale, kernel))
    self.codes = nnx.Param(codes.astype(jnp.int8), axes=axes)
    self.scale = nnx.Param(scale, axes=axes[num_in:])

  def parts(self):
    """The parameters that stand for the kernel."""
    return self.codes, self.scale

  def layout(self):
    """What `dequantise` must know besides."""
    return "int8", self.num_in, tuple(self.codes.shape)


class Nf4(nnx.Module):
  """Codes of two values a byte, [blocks, 32, out]; a scale for each block of 64 values along the contracted axes.

  A byte holds values r and r + 32 of a block, so that unpacking moves nothing between rows. The scales [blocks, out]
  are quantised themselves: int8 around their mean, with a float32 step for each output (where the paper has one for
  256 scales, wherever they lie), so that each device holds what belongs to its codes. 4 + 8 / 64 + 32 / inputs bits
  a value.
  """

  def __init__(self, kernel, num_in: int, axes: tuple[str | None, ...]):
    self.num_in, self.core_shape = num_in, tuple(kernel.shape)
    fan_in = math.prod(kernel.shape[:num_in])
    blocks = -(-fan_in // BLOCK)
    w = jnp.pad(kernel.astype(jnp.float32).reshape(fan_in, -1), ((0, blocks * BLOCK - fan_in), (0, 0)))
    w = w.reshape(blocks, BLOCK, -1)
    scales, steps, offset = _quantise_scales(jnp.max(jnp.abs(w), axis=1))
    absmax = _scales(scales, steps, offset)
    unit = w / jnp.where(absmax == 0, 1.0, absmax)[:, None]
    middle = jnp.asarray((packed_matmul.NF4[1:] + packed_matmul.NF4[:-1]) / 2)
    codes = jnp.searchsorted(middle, unit).astype(jnp.uint8)
    self.codes = nnx.Param(codes[:, : BLOCK // 2] | (codes[:, BLOCK // 2 :] << 4), axes=(axes[0], None, axes[num_in]))
    self.scales = nnx.Param(scales, axes=(axes[0], axes[num_in]))
    self.steps = nnx.Param(steps, axes=(axes[num_in],))
    self.offset = nnx.Param(offset, axes=())

  def parts(self):
    """The parameters that stand for the kernel."""
    return self.codes, self.scales, self.steps, self.offset

  def layout(self):
    """What `dequantise` must know besides."""
    return "nf4", self.num_in, self.core_shape


def arrays(store) -> tuple[Any, ...]:
  """The arrays that stand for a kernel."""
  return tuple(part[...] for part in store.parts())


KINDS: dict[str, Any] = {"int8": Int8, "nf4": Nf4}


def _quantise_scales(absmax_KO):
  """int8 codes [K, out] of the scales of blocks, the step of each output, and what they are counted from."""
  offset = jnp.mean(absmax_KO)
  steps_O = jnp.max(jnp.abs(absmax_KO - offset), axis=0) / 127.0
  codes = jnp.round((absmax_KO - offset) / jnp.where(steps_O == 0, 1.0, steps_O)[None])
  return codes.astype(jnp.int8), steps_O, offset


def _scales(codes_KO, steps_O, offset):
  """The scales of blocks [K, out] of an nf4 kernel."""
  return codes_KO.astype(jnp.float32) * steps_O[None] + offset


def dequantise(layout, packed, dtype):
  """The kernel [*in, *out] that packed arrays stand for."""
  kind, num_in, shape = layout
  if kind == "int8":
    codes, scale = packed
    return (codes.astype(jnp.float32) * numerics.align(scale, codes)).astype(dtype)
  codes = packed[0]
  blocks, half, out = codes.shape
  absmax = _scales(*packed[1:])[:, None]
  halves = [(packed_matmul.looked_up(code) * absmax).astype(dtype) for code in (codes & 15, codes >> 4)]
  w = jnp.concatenate(halves, axis=1).reshape(blocks * 2 * half, out)
  return w[: math.prod(shape[:num_in])].reshape(shape)


def contract(x, store, num_in: int, ctx=None):
  """Contracts the last `num_in` axes of x with a quantised kernel; only packed arrays are saved for its gradient."""
  layout = store.layout()
  lead, out = x.shape[: x.ndim - num_in], layout[2][num_in:]
  fan_in = math.prod(layout[2][:num_in])
  y: Any = _matmul(layout, _place(store, ctx), x.reshape(*lead, fan_in), arrays(store))
  return y.reshape(*lead, *out)


def _place(store, ctx) -> packed_matmul.Place:
  if ctx is None or ctx.mesh is None or ctx.mesh.size == 1:
    return packed_matmul.Place(jax.default_backend() if ctx is None else ctx.platform)
  axes = tuple(store.codes.get_metadata()["axes"])
  codes = ctx.spec(axes, store.codes[...].shape)
  place = packed_matmul.Place(ctx.platform, ctx.mesh, codes, dict(ctx.rules)["batch"])
  if ctx.without_rows(axes) == axes:
    return place
  lies = lambda x: NamedSharding(ctx.mesh, ctx.spec(ctx.without_rows(x.get_metadata()["axes"]), x[...].shape))
  return place._replace(gathered=tuple(map(lies, store.parts())))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _matmul(layout, place, x, packed) -> Any:
  if layout[0] == "nf4" and packed_matmul.supports(place, x, packed[0]):
    return packed_matmul.nf4(place, x, packed[0], _scales(*packed[1:]))
  w, scale_O = _gathered(layout, place, packed, x.dtype)
  dims = (((x.ndim - 1,), (0,)), ((), ()))
  if scale_O is None:
    return jax.lax.dot_general(x, w, dims)
  product = jax.lax.dot_general(x, w, dims, preferred_element_type=jnp.float32)
  return (product * numerics.align(scale_O, product)).astype(x.dtype)


def _gathered(layout, place, packed, dtype):
  """The kernel [in, out] without the scales [out] of its outputs (int8; else None), and these: they come behind the
  product. Where the kernel must be gathered its codes are, half or a quarter of what it is in bfloat16."""
  kind, num_in, shape = layout
  if place.gathered is not None:
    packed = jax.tree.map(jax.lax.with_sharding_constraint, packed, place.gathered)
  fan_in = math.prod(shape[:num_in])
  if kind == "int8":
    codes, scale = packed
    return codes.astype(dtype).reshape(fan_in, -1), scale.reshape(-1)
  return dequantise(layout, packed, dtype).reshape(fan_in, -1), None


def _backward(layout, place, packed, d_y):
  w, scale_O = _gathered(layout, place, packed, d_y.dtype)
  scaled = d_y if scale_O is None else (d_y * numerics.align(scale_O, d_y)).astype(d_y.dtype)
  d_x = jax.lax.dot_general(scaled, w, (((d_y.ndim - 1,), (1,)), ((), ())))
  # Frozen: integers have no tangent, and the float scales get none.
  zero = lambda a: np.zeros(a.shape, jax.dtypes.float0) if jnp.issubdtype(a.dtype, jnp.integer) else jnp.zeros_like(a)
  return d_x, jax.tree.map(zero, packed)


_matmul.defvjp(lambda layout, place, x, packed: (_matmul(layout, place, x, packed), packed), _backward)
