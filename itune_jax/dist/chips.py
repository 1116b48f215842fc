"""What a TPU chip has, by the name that JAX gives its kind."""

from typing import NamedTuple


class Chip(NamedTuple):
  """Memory in GiB as vendors round it, and the peak of bfloat16 matmuls in FLOP/s."""

  name: str
  hbm_gib: float
  peak_flops: float


# From the system-architecture pages of Google Cloud TPU: v4, v5e, v5p, v6e.
CHIPS = {
  "TPU v4": Chip("v4", 32.0, 275e12),
  "TPU v5 lite": Chip("v5e", 16.0, 197e12),
  "TPU v5": Chip("v5p", 95.0, 459e12),
  "TPU v6 lite": Chip("v6e", 32.0, 918e12),
}
