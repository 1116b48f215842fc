"""Rotary position embedding (Su et al. 2021) in the half-split layout, with the "llama3" and linear scalings."""

import dataclasses
import math
from typing import Literal

import jax.numpy as jnp
import numpy as np

from itune_jax.core import check


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rope:
  """Frequencies base^(-2i/H), possibly rescaled for contexts longer than `original_length`.

  "linear" divides every frequency by `factor`; "llama3" divides the low ones, keeps the high ones, and
  interpolates between wavelengths original/low_freq and original/high_freq (as Llama 3.1 was trained).
  """

  base: float = 10_000.0
  scaling: Literal["none", "linear", "llama3"] = "none"
  factor: float = 1.0
  low_freq_factor: float = 1.0
  high_freq_factor: float = 4.0
  original_length: int = 8192

  def __post_init__(self):
    check.check_types(self)

  def frequencies(self, head_dim: int) -> np.ndarray:
    """Radians per position, [H/2], float32."""
    freq = 1.0 / self.base ** (np.arange(0, head_dim, 2, dtype=np.float32) / head_dim)
    if self.scaling == "linear":
      freq = freq / self.factor
    elif self.scaling == "llama3":
      wavelength = 2 * math.pi / freq
      low, high = self.original_length / self.low_freq_factor, self.original_length / self.high_freq_factor
      smooth = (self.original_length / wavelength - self.low_freq_factor) / (
        self.high_freq_factor - self.low_freq_factor
      )
      between = (1 - smooth) * freq / self.factor + smooth * freq
      freq = np.where(wavelength > low, freq / self.factor, np.where(wavelength < high, freq, between))
    return freq.astype(np.float32)

  def tables(self, positions_BT, head_dim: int):
    """(cos, sin), each [B, T, 1, H/2] float32, to be computed once for all layers."""
    angle = positions_BT[..., None].astype(jnp.float32) * self.frequencies(head_dim)[None, None]
    return jnp.cos(angle)[:, :, None, :], jnp.sin(angle)[:, :, None, :]


def rotate(x_BTNH, tables):
  """Rotates pairs (i, i + H/2) of every head by their angle; keeps the dtype."""
  cos, sin = tables
  first, second = jnp.split(x_BTNH.astype(jnp.float32), 2, axis=-1)
  return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x_BTNH.dtype)
