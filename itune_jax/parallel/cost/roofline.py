"""How long a compiled step takes at least: arithmetic, memory and links of a chip, none of them waiting for another.

step_s = max(FLOPs / peak, HBM bytes / HBM rate, overlapped collectives) + collectives that nothing overlaps
"""

import collections
import math
from typing import Any, NamedTuple

from jax.sharding import Mesh
import numpy as np

from itune_jax.parallel.cost import chips
from itune_jax.parallel.cost import hlo

# Matrix products of the attention kernels of nn/splash.py: q·k and p·v; backward makes scores again in both kernels.
_SPLASH = {"_fwd_": 2, "_dq_": 3, "_dkv_": 4}


class Roofline(NamedTuple):
  """Seconds of one call by what bounds them, and bytes that a chip receives by mesh axes."""

  compute_s: float
  memory_s: float
  overlapped_s: float
  exposed_s: float
  bytes_by_axes: dict[str, float]

  @property
  def step_s(self) -> float:
    """The prediction."""
    return max(self.compute_s, self.memory_s, self.overlapped_s) + self.exposed_s

  @property
  def bound(self) -> str:
    """What a chip waits for most."""
    parts = {"compute": self.compute_s, "memory": self.memory_s, "links": self.overlapped_s}
    return max(parts, key=lambda name: parts[name])


def kernel_flops(name: str, operands: tuple[hlo.Array, ...]) -> float:
  """Arithmetic of one call of a kernel of ours; 0 for others."""
  if name.startswith("nf4_matmul"):
    rows, codes = operands[0].shape[0], next(a.shape for a in operands if a.kind == "u8")
    return 2.0 * rows * 2 * math.prod(codes)  # a byte stands for two values
  if not name.startswith("splash"):
    return 0.0
  products = next((n for part, n in _SPLASH.items() if part in name), 0)
  q = next((a.shape for a in operands if a.kind in ("bf16", "f32") and len(a.shape) >= 3), ())
  # Causal over a row, half of the score matrix: such a kernel is given places beside the segments of both sides.
  causal = sum(a.kind == "s32" for a in operands) > 2
  return products * float(math.prod(q)) * q[-2] * (1 if causal else 2) if q else 0.0


def predict(counts: hlo.Counts, chip: chips.Chip, mesh: Mesh) -> Roofline:
  """Times of counted work on a mesh of such chips, whose devices know their coordinates."""
  overlapped = exposed = 0.0
  by_axes: dict[str, float] = collections.defaultdict(float)
  for one in counts.collectives:
    if one.op == "network":
      by_axes["slices"] += one.nbytes
      overlapped += one.nbytes / chip.dcn_rate
      continue
    group = hlo.members(one.groups, mesh.size)
    if len(group) < 2:
      continue
    by_axes[_axes(group, mesh)] += one.nbytes
    seconds = one.nbytes / _rate(one.op, group, chip, mesh)
    overlapped, exposed = (overlapped + seconds, exposed) if one.overlapped else (overlapped, exposed + seconds)
  return Roofline(counts.flops / chip.flops, counts.hbm_bytes / chip.hbm_rate, overlapped, exposed, dict(by_axes))


def _axes(group: list[int], mesh: Mesh) -> str:
  """The mesh axes along which the devices of a group differ."""
  places = np.array(np.unravel_index(group, tuple(mesh.shape.values())))
  return "+".join(name for name, at in zip(mesh.shape, places, strict=True) if len(set(at.tolist())) > 1)


def _rate(op: str, group: list[int], chip: chips.Chip, mesh: Mesh) -> float:
  """Bytes a second that a chip can receive in a collective over the group."""
  if not hasattr(mesh.devices.flat[0], "coords"):  # GPUs: inside a machine, or between machines
    return chip.link_rate if len({device // chip.wraps_at for device in group}) == 1 else chip.dcn_rate
  return chip.link_rate * (1.0 if op == "collective-permute" else _links(group, chip, mesh))


def _links(group: list[int], chip: chips.Chip, mesh: Mesh) -> float:
  """Links of a chip that a collective over the group can use at once: two on a ring, one on a line, for each axis."""
  devices: Any = mesh.devices.ravel()
  coords = np.array([device.coords for device in devices])
  whole = coords.max(axis=0) + 1
  spans = [len(set(coords[group][:, axis].tolist())) for axis in range(coords.shape[1])]
  return max(1.0, sum(2.0 if n == whole[i] and n % chip.wraps_at == 0 else 1.0 for i, n in enumerate(spans) if n > 1))
