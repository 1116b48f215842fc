"""FourierFT (Gao et al. 2024): ΔW is the inverse Fourier transform of a few learned coefficients."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from itune_jax.core import check
from itune_jax.nn import site
from itune_jax.peft import ranks
from itune_jax.peft import weight


class FourierAdapter(weight.WeightAdapter):
  """Coefficients [n] at frozen places [n] of the flattened spectrum [out, in]."""

  def __init__(self, spec: site.SiteSpec, key, count: int, scale: float):
    super().__init__(spec)
    places = jax.random.choice(key, self.fan_in * self.fan_out, (count,), replace=False)
    self.places = site.AdapterParam(places, axes=(None,), trainable=False, saved=True)
    self.spectrum = site.AdapterParam(jnp.zeros((count,)), axes=(None,))
    self.scale = site.AdapterParam(jnp.float32(scale), axes=(), trainable=False)

  def changed(self, w, bank):
    spectrum = jnp.zeros((self.fan_out * self.fan_in,)).at[self.places[...]].set(self.spectrum[...])
    delta = jnp.fft.ifft2(spectrum.reshape(self.fan_out, self.fan_in)).real
    return w + self.scale[...] * delta.T


@dataclasses.dataclass(frozen=True, kw_only=True)
class FourierFT:
  """The method, with coefficients that start at zero (peft's default starts them at random: another model).

  Not exchanged with peft: its folders hold a seed of torch's generator in place of the places, for which there is no
  option to save them. Export merged, or as LoRA.
  """

  coefficients: int = 1000
  scale: float = 150.0
  sites: str = ranks.PROJECTIONS
  name: str = "fourierft"

  def __post_init__(self):
    check.check_types(self)
    check.require(self.coefficients > 0, f"FourierFT.coefficients = {self.coefficients}; they must be positive")

  def make(self, spec: site.SiteSpec, key, w=None) -> FourierAdapter:
    """The adapter of one layer, with which the model is unchanged at first."""
    size = math.prod(spec.in_shape) * math.prod(spec.out_shape)
    check.require(self.coefficients <= size, f"FourierFT.coefficients = {self.coefficients}; {spec.name} has {size}")
    return FourierAdapter(spec, key, self.coefficients, self.scale)
