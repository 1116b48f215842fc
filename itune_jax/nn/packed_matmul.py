"""Few rows times a 4-bit kernel on TPU, which is read packed and unpacked tile by tile (Mosaic).

XLA unpacks a kernel into memory before it multiplies, which for the rows of one decoding step costs several times what
reading the codes does. For many rows that is little beside the product, and is left to XLA.
"""

import math
from typing import NamedTuple

import jax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

ROWS = 256  # at most
OUT = (512, 256, 128)  # outputs of a tile
BLOCKS = (16, 8)  # blocks of 64 inputs of a tile
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


class Place(NamedTuple):
  """Where a packed kernel is multiplied.

  Attributes:
    platform: "cpu", "tpu", "gpu"; "interpret" runs the kernel without a TPU. mesh (None: one device), codes: how
    they lie. rows: the mesh axes of rows. gathered: how each packed array lies once gathered; None where none is.
  """

  platform: str
  mesh: Mesh | None = None
  codes: PartitionSpec = PartitionSpec(None, None, None)
  rows: tuple[str, ...] = ()
  gathered: tuple[NamedSharding, ...] | None = None


def looked_up(codes):
  """NF4[codes], by choosing between halves: gathers of single numbers are slow on TPU, and fuse with nothing."""
  values = [jnp.float32(value) for value in NF4]
  for bit in range(4):
    one = ((codes >> bit) & 1) == 1
    values = [jnp.where(one, high, low) for low, high in zip(values[0::2], values[1::2], strict=True)]
  return values[0]


def supports(place: Place, x, codes) -> bool:
  """Whether the kernel takes these: few rows, on TPU, whole tiles on every device."""
  if place.platform not in ("tpu", "interpret") or place.gathered is not None or math.prod(x.shape[:-1]) > ROWS:
    return False
  blocks, _, out = _on_device(place, codes.shape)
  return _tile(blocks, BLOCKS) is not None and _tile(out, OUT) is not None


def nf4(place: Place, x, codes, absmax_KO):
  """x [..., in] times the kernel of these codes [K, 32, out], K blocks of 64 inputs, with scales [K, out]."""
  K, half, out = codes.shape
  lead, fan_in = x.shape[:-1], x.shape[-1]
  x_MI = jnp.pad(x.reshape(-1, fan_in), ((0, 0), (0, 2 * half * K - fan_in)))
  # A byte holds the codes of two inputs of a block: each half of it meets inputs of its own.
  x_MKhr = x_MI.reshape(-1, K, 2, half)
  low, high = (x_MKhr[:, :, h].reshape(-1, half * K) for h in (0, 1))
  y = (_call if place.mesh is None else _on_mesh)(place, low, high, codes, absmax_KO)
  return y.reshape(*lead, out).astype(x.dtype)


def _on_mesh(place: Place, low, high, codes, absmax_KO):
  """Every device its part of the kernel; what parts of the inputs give is summed."""
  inputs, _, outputs = place.codes
  taken = {*(inputs or ()), *(outputs or ())}
  rows = tuple(axis for axis in place.rows if axis not in taken)
  assert place.mesh is not None
  rows = rows if low.shape[0] % math.prod(place.mesh.shape[axis] for axis in rows) == 0 else ()

  def local(*given):
    y = _call(place, *given)
    return jax.lax.psum(y, inputs) if inputs else y

  lies, spec = (PartitionSpec(rows, inputs),) * 2, PartitionSpec(inputs, outputs)
  run = jax.shard_map(
    local, mesh=place.mesh, in_specs=(*lies, place.codes, spec), out_specs=PartitionSpec(rows, outputs), check_vma=False
  )
  return run(low, high, codes, absmax_KO)


def _call(place: Place, low, high, codes, absmax_KO):
  """One device's part, float32 [M, out]."""
  (M, _), (K, half, out) = low.shape, codes.shape
  blocks, width = _tile(K, BLOCKS), _tile(out, OUT)
  assert blocks is not None and width is not None
  rows = -(-M // 16) * 16
  low, high = (jnp.pad(x, ((0, rows - M), (0, 0))) for x in (low, high))
  inputs = pl.BlockSpec((rows, half * blocks), lambda o, k: (0, k))
  call = pl.pallas_call(
    _kernel,
    grid=(out // width, K // blocks),
    in_specs=[
      inputs,
      inputs,
      pl.BlockSpec((blocks, half, width), lambda o, k: (k, 0, o)),
      pl.BlockSpec((blocks, width), lambda o, k: (k, o)),
    ],
    out_specs=pl.BlockSpec((rows, width), lambda o, k: (0, o)),
    out_shape=jax.ShapeDtypeStruct((rows, out), jnp.float32),
    compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "arbitrary")),
    interpret=place.platform == "interpret",
    name="nf4_matmul",
  )
  return call(low, high, codes, absmax_KO)[:M]


def _kernel(low_ref, high_ref, codes_ref, absmax_ref, y_ref):
  """A tile of outputs over one tile of inputs; the grid's last axis sums them in place."""

  @pl.when(pl.program_id(1) == 0)
  def _():
    y_ref[...] = jnp.zeros_like(y_ref)

  codes, scale = codes_ref[...].astype(jnp.int32), absmax_ref[...][:, None, :]
  kernel = lambda half: (looked_up(half) * scale).astype(low_ref.dtype).reshape(-1, codes.shape[2])
  # Mosaic refuses to be asked for more than bfloat16 holds.
  precision = "highest" if low_ref.dtype == jnp.float32 else "default"
  dot = lambda x, w: jax.lax.dot(x, w, precision=precision, preferred_element_type=jnp.float32)
  y_ref[...] += dot(low_ref[...], kernel(codes & 15)) + dot(high_ref[...], kernel(codes >> 4))


def _tile(size: int, sizes: tuple[int, ...]) -> int | None:
  """The largest of these that divides a size; a size no larger than the largest is a tile itself."""
  return next((tile for tile in sizes if size % tile == 0), size if size <= sizes[0] else None)


def _on_device(place: Place, shape: tuple[int, ...]) -> tuple[int, ...]:
  if place.mesh is None:
    return shape
  return NamedSharding(place.mesh, place.codes).shard_shape(shape)
