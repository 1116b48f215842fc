"""Rotary position embedding (Su et al. 2021) in the half-split layout, with the scalings for longer contexts."""

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from itune_jax.core import check
from itune_jax.core import ranges

Scaling = Literal["none", "linear", "dynamic", "yarn", "longrope", "llama3"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rope:
  """Frequencies base^(-2i/H), possibly rescaled for contexts longer than `original_length`.

  linear: every frequency is divided by `factor`. dynamic: from `original_length` on the base grows with the length
  of the sequence (NTK). yarn: low frequencies are divided, high ones kept, a ramp between (Peng et al. 2023).
  longrope: a divisor per frequency, `short_factor` up to original_length and `long_factor` beyond (Ding et al. 2024).
  llama3: like yarn, with a ramp over wavelengths (as Llama 3.1 was trained). `partial` is the share of every head
  that turns. `attention_factor` scales cos and sin; 0 means what the scaling's paper prescribes.

  base: of the frequencies. scaling: its kind, as above. factor: what frequencies are divided by. low_freq_factor,
  high_freq_factor: llama3's ramp goes over the wavelengths of original_length divided by them. original_length:
  positions that the model was first trained on. partial: the share of every head that turns. beta_fast, beta_slow:
  yarn's ramp goes over frequencies that turn so often in original_length. truncate: whether yarn's ramp begins and
  ends at whole dimensions. attention_factor: factor of cos and sin, 0 for what the scaling's paper says.
  short_factor, long_factor: longrope's divisors, one a frequency, up to original_length and beyond.
  """

  base: float = 10_000.0
  scaling: Scaling = "none"
  factor: float = 1.0
  low_freq_factor: ranges.PositiveFloat = 1.0
  high_freq_factor: ranges.PositiveFloat = 4.0
  original_length: int = 8192
  partial: float = 1.0
  beta_fast: ranges.PositiveFloat = 32.0
  beta_slow: ranges.PositiveFloat = 1.0
  truncate: bool = True
  attention_factor: ranges.NonNegativeFloat = 0.0
  short_factor: tuple[float, ...] = ()
  long_factor: tuple[float, ...] = ()

  def __post_init__(self):
    check.check_types(self)
    check.finite(self)
    for name in ("base", "factor", "original_length"):
      check.require(getattr(self, name) > 0, f"Rope.{name} must be positive, not {getattr(self, name)}")
    check.require(0 < self.partial <= 1, f"Rope.partial must be a share in (0, 1], not {self.partial}")
    check.require(
      self.scaling != "longrope" or (self.short_factor and self.long_factor),
      "Rope(scaling='longrope') needs short_factor and long_factor",
    )

  def turning(self, head_dim: int) -> int:
    """How many dimensions of a head turn."""
    return int(head_dim * self.partial)

  def frequencies(self, head_dim: int) -> np.ndarray:
    """Radians per position, [H/2] float32, of sequences up to the original length."""
    dim = self.turning(head_dim)
    freq = 1.0 / self.base ** (np.arange(0, dim, 2, dtype=np.float32) / dim)
    if self.scaling == "linear":
      freq = freq / self.factor
    elif self.scaling == "llama3":
      freq = self._llama3(freq)
    elif self.scaling == "yarn":
      keep = 1 - self._ramp(dim)
      freq = freq / self.factor * (1 - keep) + freq * keep
    elif self.scaling == "longrope":
      check.require(
        len(self.short_factor) == len(self.long_factor) == dim // 2,
        f"Rope: {len(self.short_factor)} short and {len(self.long_factor)} long factors for {dim // 2} frequencies",
      )
      freq = freq / np.asarray(self.short_factor, np.float32)
    return freq.astype(np.float32)

  def magnitude(self) -> float:
    """The factor on cos and sin."""
    if self.scaling not in ("yarn", "longrope") or self.attention_factor:
      return self.attention_factor or 1.0
    if self.factor <= 1:
      return 1.0
    if self.scaling == "yarn":
      return 0.1 * math.log(self.factor) + 1.0
    return math.sqrt(1 + math.log(self.factor) / math.log(self.original_length))

  def tables(self, positions_BT, head_dim: int, lengths_BT=None):
    """(cos, sin), each [B, T, 1, H/2] float32, to be computed once for all layers.

    lengths_BT: length of the sequence that each position belongs to (up to now, in decoding); only the scalings
    that depend on it look.
    """
    freq_BTH = jnp.asarray(self.frequencies(head_dim))[None, None]
    if lengths_BT is not None and self.depends_on_length:
      freq_BTH = self._by_length(freq_BTH, lengths_BT.astype(jnp.float32)[..., None], head_dim)
    angle = positions_BT[..., None].astype(jnp.float32) * freq_BTH
    m = self.magnitude()
    return m * jnp.cos(angle)[:, :, None, :], m * jnp.sin(angle)[:, :, None, :]

  @property
  def depends_on_length(self) -> bool:
    """Whether frequencies depend on the length of the sequence."""
    return self.scaling in ("dynamic", "longrope")

  def _by_length(self, freq_BTH, length_BT1, head_dim):
    dim = self.turning(head_dim)
    exponent = jnp.arange(0, dim, 2, dtype=jnp.float32)[None, None] / dim
    if self.scaling == "dynamic":
      longest = jnp.maximum(length_BT1, self.original_length)
      grown = self.factor * longest / self.original_length - (self.factor - 1)
      return (self.base * grown ** (dim / (dim - 2))) ** -exponent
    beyond = 1.0 / (jnp.asarray(self.long_factor, jnp.float32)[None, None] * self.base**exponent)
    return jnp.where(length_BT1 > self.original_length, beyond, freq_BTH)

  def _llama3(self, freq):
    wavelength = 2 * math.pi / freq
    low, high = self.original_length / self.low_freq_factor, self.original_length / self.high_freq_factor
    smooth = (self.original_length / wavelength - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
    between = (1 - smooth) * freq / self.factor + smooth * freq
    return np.where(wavelength > low, freq / self.factor, np.where(wavelength < high, freq, between))

  def _ramp(self, dim):
    """0 for frequencies that turn more than beta_fast times in the original length, 1 below beta_slow times."""
    at = lambda turns: dim * math.log(self.original_length / (turns * 2 * math.pi)) / (2 * math.log(self.base))
    low, high = at(self.beta_fast), at(self.beta_slow)
    if self.truncate:
      low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    return np.clip((np.arange(dim // 2, dtype=np.float32) - low) / (max(high - low, 0.001)), 0, 1)


def identity(tables):
  """Tables that turn nothing: of layers without positions."""
  cos, sin = tables
  return jnp.ones_like(cos), jnp.zeros_like(sin)


def lengths(positions_BT, segments_BT):
  """Length of the segment that each position of packed rows belongs to, [B, T]."""
  T = positions_BT.shape[1]
  longest = jax.vmap(lambda p, s: jax.ops.segment_max(p, s, num_segments=T + 1)[s])
  return longest(positions_BT, segments_BT) + 1


def rotate(x_BTNH, tables):
  """Rotates pairs (i, i + H/2) of the first dimensions of every head; the rest pass. Keeps the dtype."""
  cos, sin = tables
  turning = 2 * cos.shape[-1]
  x32 = x_BTNH.astype(jnp.float32)
  first, second = jnp.split(x32[..., :turning], 2, axis=-1)
  parts = [first * cos - second * sin, second * cos + first * sin]
  if turning < x32.shape[-1]:
    parts.append(x32[..., turning:])
  return jnp.concatenate(parts, axis=-1).astype(x_BTNH.dtype)
