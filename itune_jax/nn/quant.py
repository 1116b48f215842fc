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
import numpy as np

from itune_jax.core import check
from itune_jax.core import numerics

BLOCK = 64  # values that share a scale under nf4, along the contracted axes
GROUP = 256  # scales that share a scale, under double quantisation
# The 16 quantiles of a normal distribution scaled to [-1, 1], with an exact zero (Dettmers et al. 2023, appendix E).
NF4 = np.array(
  [
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
  ],
  np.float32,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quant:
  """Which projections of a frozen base are quantised, and how. `sites` is matched against stacked names
  (`blocks/attn/q`); routers, embeddings and heads stay whole unless named."""

  kind: Literal["int8", "nf4"] = "nf4"
  sites: str = r"(blocks|encoder|decoder)/(.*/)?(q|k|v|o|qkv|gate|up|down|gate_up)"

  def __post_init__(self):
    check.check_types(self)

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

  def packed(self):
    """The arrays that stand for the kernel."""
    return self.codes[...], self.scale[...]

  def layout(self):
    """What `dequantise` must know besides."""
    return "int8", self.num_in, tuple(self.codes.shape)


class Nf4(nnx.Module):
  """Codes of two values a byte, [blocks, 32, out]; a scale for each block of 64 values along the contracted axes.

  The scales are quantised themselves: int8 around their mean, 256 to a float32 scale. 4.13 bits a value in all.
  """

  def __init__(self, kernel, num_in: int, axes: tuple[str | None, ...]):
    self.num_in, self.core_shape = num_in, tuple(kernel.shape)
    fan_in = math.prod(kernel.shape[:num_in])
    blocks = -(-fan_in // BLOCK)
    w = jnp.pad(kernel.astype(jnp.float32).reshape(fan_in, -1), ((0, blocks * BLOCK - fan_in), (0, 0)))
    w = w.reshape(blocks, BLOCK, -1)
    absmax = jnp.max(jnp.abs(w), axis=1)
    offset, step, absmax_codes, absmax = _quantise_scales(absmax)
    unit = w / jnp.where(absmax == 0, 1.0, absmax)[:, None]
    middle = jnp.asarray((NF4[1:] + NF4[:-1]) / 2)
    codes = jnp.searchsorted(middle, unit).astype(jnp.uint8)
    self.codes = nnx.Param(codes[:, 0::2] | (codes[:, 1::2] << 4), axes=(axes[0], None, axes[num_in]))
    self.scales = nnx.Param(absmax_codes, axes=(None,))
    self.steps = nnx.Param(step, axes=(None,))
    self.offset = nnx.Param(offset, axes=())

  def packed(self):
    """The arrays that stand for the kernel."""
    return self.codes[...], self.scales[...], self.steps[...], self.offset[...]

  def layout(self):
    """What `dequantise` must know besides."""
    return "nf4", self.num_in, self.core_shape


KINDS: dict[str, Any] = {"int8": Int8, "nf4": Nf4}


def _quantise_scales(absmax):
  """(offset, step of each group, int8 codes, the scales that they stand for)."""
  offset = jnp.mean(absmax)
  flat = (absmax - offset).reshape(-1)
  groups = jnp.pad(flat, (0, -flat.size % GROUP)).reshape(-1, GROUP)
  step = jnp.max(jnp.abs(groups), axis=1) / 127.0
  codes = jnp.round(groups / jnp.where(step == 0, 1.0, step)[:, None]).astype(jnp.int8)
  codes = codes.reshape(-1)[: flat.size]
  return offset, step, codes, _scales(codes, step, offset).reshape(absmax.shape)


def _scales(codes, step, offset):
  return codes.astype(jnp.float32) * jnp.repeat(step, GROUP)[: codes.size] + offset


def dequantise(layout, packed, dtype):
  """The kernel [*in, *out] that packed arrays stand for."""
  kind, num_in, shape = layout
  if kind == "int8":
    codes, scale = packed
    return (codes.astype(jnp.float32) * numerics.align(scale, codes)).astype(dtype)
  codes, scales, steps, offset = packed
  blocks, half, out = codes.shape
  absmax = _scales(scales, steps, offset).reshape(blocks, 1, out)
  table = jnp.asarray(NF4)
  pair = jnp.stack([codes & 15, codes >> 4], axis=2).reshape(blocks, 2 * half, out)
  w = (jnp.take(table, pair.astype(jnp.int32)) * absmax).astype(dtype)
  return w.reshape(blocks * 2 * half, out)[: math.prod(shape[:num_in])].reshape(shape)


def contract(x, store, num_in: int):
  """Contracts the last `num_in` axes of x with a quantised kernel; only packed arrays are saved for its gradient."""
  layout = store.layout()
  lead, out = x.shape[: x.ndim - num_in], layout[2][num_in:]
  fan_in = math.prod(layout[2][:num_in])
  y: Any = _matmul(layout, x.reshape(*lead, fan_in), store.packed())
  return y.reshape(*lead, *out)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _matmul(layout, x, packed) -> Any:
  return jax.lax.dot_general(x, _flat(layout, packed, x.dtype), (((x.ndim - 1,), (0,)), ((), ())))


def _flat(layout, packed, dtype):
  _, num_in, shape = layout
  return dequantise(layout, packed, dtype).reshape(math.prod(shape[:num_in]), -1)


def _backward(layout, packed, d_y):
  w = _flat(layout, packed, d_y.dtype)
  d_x = jax.lax.dot_general(d_y, w, (((d_y.ndim - 1,), (1,)), ((), ())))
  # Frozen: integers have no tangent, and the float scales get none.
  zero = lambda a: np.zeros(a.shape, jax.dtypes.float0) if jnp.issubdtype(a.dtype, jnp.integer) else jnp.zeros_like(a)
  return d_x, jax.tree.map(zero, packed)


_matmul.defvjp(lambda layout, x, packed: (_matmul(layout, x, packed), packed), _backward)
