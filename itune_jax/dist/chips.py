"""What a TPU chip has, by the name that JAX gives its kind."""

from typing import NamedTuple


class Chip(NamedTuple):
  """Its short name, and its memory in GiB as the vendor rounds it."""

  name: str
  hbm_gib: float


# From the system-architecture pages of Google Cloud TPU: v4, v5e, v5p, v6e.
CHIPS = {
  "TPU v4": Chip("v4", 32.0),
  "TPU v5 lite": Chip("v5e", 16.0),
  "TPU v5": Chip("v5p", 95.0),
  "TPU v6 lite": Chip("v6e", 32.0),
}
