"""What a TPU chip has, by the name that JAX gives its kind, and a GPU, by its own."""

from collections.abc import Sequence
import resource
from typing import Any, NamedTuple


class Chip(NamedTuple):
  """A chip: its short name and its figures, a second and one way where they are rates.

  hbm_gib: memory as the vendor rounds it. flops: bfloat16 peak. hbm_rate: bytes to or from memory. link_rate: bytes
  through one inter-chip link; an axis of the torus has a link to each side. wraps_at: an axis whose length is a
  multiple of it is a ring. dcn_rate: bytes of a chip's share of the network between slices.
  """

  name: str
  hbm_gib: float
  flops: float
  hbm_rate: float
  link_rate: float
  wraps_at: int
  dcn_rate: float


# Memory, peak and HBM rate: the system-architecture pages of Google Cloud TPU (v4, v5e, v5p, v6e). Links, network,
# and where axes wrap: "How to Scale Your Model" (Austin et al. 2025), chapter on TPUs.
CHIPS = {
  "TPU v4": Chip("v4", 32.0, 275e12, 1.228e12, 4.5e10, 4, 6.25e9),
  "TPU v5 lite": Chip("v5e", 16.0, 197e12, 0.819e12, 4.5e10, 16, 3.125e9),
  "TPU v5": Chip("v5p", 95.0, 459e12, 2.765e12, 9e10, 4, 6.25e9),
  "TPU v6 lite": Chip("v6e", 32.0, 918e12, 1.64e12, 9e10, 16, 12.5e9),
}

# NVIDIA's data sheets: dense bfloat16, HBM, NVLink one way. wraps_at: GPUs that NVLink joins. Network: a port of
# 200 (a100) or 400 Gb/s a GPU.
GPUS = {
  "a100": Chip("a100", 79.3, 312e12, 2.039e12, 3e11, 8, 2.5e10),
  "h100": Chip("h100", 79.6, 989e12, 3.35e12, 4.5e11, 8, 5e10),
  "h200": Chip("h200", 140.4, 989e12, 4.8e12, 4.5e11, 8, 5e10),
}


def peak_flops(devices: Sequence[Any]) -> float:
  """bfloat16 operations a second of all devices together; 0 where their kind is not known (a CPU)."""
  kind = devices[0].device_kind
  gpus = [chip for name, chip in GPUS.items() if name in kind.lower()]
  chip = CHIPS.get(kind) or next(iter(gpus), None)
  return chip.flops * len(devices) if chip else 0.0


def memory_gib(devices: Sequence[Any]) -> float:
  """The most that one of this process's devices has held so far; on CPU, the process."""
  stats = [device.memory_stats() or {} for device in devices]
  most = max(stat.get("peak_bytes_in_use", 0) for stat in stats)
  return (most or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024) / 2**30
