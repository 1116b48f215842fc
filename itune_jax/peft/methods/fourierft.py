"""FourierFT (Gao et al. 2024): ΔW is the inverse Fourier transform of a few learned coefficients."""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import math
from typing import Any, Self

import jax.numpy as jnp
import numpy as np

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import ranges
from itune_jax.nn import site
from itune_jax.peft.folders import codec
from itune_jax.peft import ranks
from itune_jax.peft import weight
from itune_jax.peft import method as method_lib


class FourierAdapter(weight.WeightAdapter):
  """Coefficients [n] at frozen places [n] of the flattened spectrum [out, in]."""

  def __init__(self, spec: site.SiteSpec, places: np.ndarray, scale: float):
    super().__init__(spec)
    count = places.size
    self.places = site.AdapterParam(jnp.asarray(places), axes=(None,), trainable=False, saved=True)
    self.spectrum = site.AdapterParam(jnp.zeros((count,)), axes=(None,))
    self.scale = site.AdapterParam(jnp.float32(scale), axes=(), trainable=False)

  def changed(self, w, bank):
    spectrum = jnp.zeros((self.fan_out * self.fan_in,)).at[self.places[...]].set(self.spectrum[...])
    delta = jnp.fft.ifft2(spectrum.reshape(self.fan_out, self.fan_in)).real
    return w + self.scale[...] * delta.T


TORCH = (2**32 - 1) // 20  # sizes of matrices below which torch's permutation is known


@functools.cache
def places(seed: int, size: int, count: int) -> np.ndarray:
  """The first `count` of `torch.randperm(size)` under a generator of this seed, int32 [count].

  peft's folders hold the seed alone. torch shuffles forward, from 32 bits of MT19937 a step, so the first places need
  only the first steps. From `TORCH` on it does otherwise, and these are not its places.
  """
  bits = np.random.RandomState(seed % 2**32).randint(0, 2**32, 2 * count, np.uint64)
  draws = bits[:count] if size < TORCH else bits[0::2] << np.uint64(32) | bits[1::2]
  moved: dict[int, int] = {}
  order = []
  for i, draw in enumerate(draws.tolist()):
    j = i + draw % (size - i)
    order.append(moved.get(j, j))
    moved[j] = moved.get(i, i)
  return np.array(order, np.int32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FourierFT(method_lib.SiteMethod, codec.ModuleCodec):
  """The method, with coefficients that start at zero (peft's default starts them at random: another model).

  seed: of the places, which are peft's for the same seed; all sites of one shape share them.

  coefficients: how many places of the spectrum train. scale: factor of ΔW.
  """

  coefficients: int = 1000
  scale: ranges.PositiveFloat = 150.0
  seed: ranges.Seed = 777
  sites: str = ranks.PROJECTIONS
  name: str = "fourierft"
  peft_type = "FOURIERFT"
  peft_names = ("fourierft_spectrum",)

  def __post_init__(self):
    super().__post_init__()
    check.require(self.coefficients > 0, f"FourierFT.coefficients must be positive, not {self.coefficients}")

  def make(self, spec: site.SiteSpec, key) -> FourierAdapter:
    """The adapter of one layer, with which the model is unchanged at first."""
    size = math.prod(spec.in_shape) * math.prod(spec.out_shape)
    check.require(self.coefficients <= size, f"FourierFT.coefficients = {self.coefficients}; {spec.name} has {size}")
    return FourierAdapter(spec, places(self.seed, size, self.coefficients), self.scale)

  def peft_write(self, part: codec.Part) -> codec.Arrays:
    """The coefficients. Raises InputError when they do not stand where peft would draw them."""
    if not np.array_equal(part.leaves["places"], self._places(part)):
      raise errors.InputError(f"{part.name}: places of another seed than {self.seed}; export merged, or as LoRA")
    return {"fourierft_spectrum": part.leaves["spectrum"]}

  def peft_config(self, parts: Sequence[codec.Part]) -> dict[str, Any]:
    """Number and scale of the coefficients, and the seed of their places."""
    scale = codec.whole(codec.most([float(part.leaves["scale"]) for part in parts]))
    return {"n_frequency": self.coefficients, "scaling": scale, "random_loc_seed": self.seed, "bias": "none"}

  @classmethod
  def from_peft(cls, config: Mapping[str, Any], parts: Sequence[codec.Part]) -> Self:
    """The method of a folder. Raises InputError when its places had no seed."""
    seed, count = config.get("random_loc_seed", 777), config["n_frequency"]
    if seed is None:
      raise errors.InputError("adapter_config.json: random_loc_seed is null: nobody can draw these places again")
    scale = float(config.get("scaling", 150.0))
    return cls(coefficients=count, scale=scale, seed=seed, sites=codec.sites_of(parts))

  def peft_read(self, part: codec.Part) -> codec.Arrays:
    """The coefficients, and the places of the seed."""
    return {"spectrum": part.tensors["fourierft_spectrum"], "places": self._places(part)}

  def _places(self, part: codec.Part) -> np.ndarray:
    size = part.fan_in * part.fan_out
    if size >= TORCH:
      raise errors.InputError(
        f"{part.name}: FourierFT goes into peft folders up to {TORCH - 1:,} weights, not {size:,}"
      )
    return places(self.seed, size, self.coefficients)
