"""C3A (Chen et al. 2025): ΔW of circulant blocks, each one learned row: y = fft(Σ_n ifft(x_n) · fft(k_mn)) / in."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Any, Self

import jax.numpy as jnp
import numpy as np

from itune_jax.core import check
from itune_jax.nn import site
from itune_jax.peft.folders import codec
from itune_jax.peft import ranks
from itune_jax.peft import weight
from itune_jax.peft import method as method_lib


class C3aAdapter(weight.WeightAdapter):
  """Rows k [out/b, in/b, b]; entry (i, j) of a block is k[(j - i) mod b] by the transforms' convention."""

  def __init__(self, spec: site.SiteSpec, block: int):
    super().__init__(spec)
    self.block = block
    self.kernel = site.AdapterParam(jnp.zeros((self.fan_out // block, self.fan_in // block, block)), axes=(None,) * 3)

  def changed(self, w, bank):
    b = self.block
    place = (np.arange(b)[:, None] - np.arange(b)[None]) % b  # [input, output] within a block
    blocks = self.kernel[...][:, :, place]  # [m, n, input, output]
    return w + jnp.transpose(blocks, (1, 2, 0, 3)).reshape(self.fan_in, self.fan_out) / self.fan_in


@dataclasses.dataclass(frozen=True, kw_only=True)
class C3a(method_lib.SiteMethod, codec.ModuleCodec):
  """The method, with rows that start at zero (peft's default starts them at random: another model).

  block: width of a circulant block; it divides the inputs and outputs of every site.
  """

  block: int = 256
  sites: str = ranks.PROJECTIONS
  name: str = "c3a"
  peft_type = "C3A"
  peft_names = ("c3a_kernel",)

  def __post_init__(self):
    super().__post_init__()
    check.require(self.block > 0, f"C3a.block must be positive, not {self.block}")

  def make(self, spec: site.SiteSpec, key) -> C3aAdapter:
    """The adapter of one layer, with which the model is unchanged at first."""
    sides = math.prod(spec.in_shape), math.prod(spec.out_shape)
    check.require(
      all(n % self.block == 0 for n in sides), f"C3a.block = {self.block} does not divide {sides} of {spec.name}"
    )
    return C3aAdapter(spec, self.block)

  def peft_write(self, part: codec.Part) -> codec.Arrays:
    """As they are."""
    return {"c3a_kernel": part.leaves["kernel"]}

  def peft_config(self, parts: Sequence[codec.Part]) -> dict[str, Any]:
    """The block."""
    return {"block_size": self.block, "block_size_pattern": {}, "init_weights": True}

  @classmethod
  def from_peft(cls, config: Mapping[str, Any], parts: Sequence[codec.Part]) -> Self:
    """The method of a folder."""
    blocks = {part.tensors["c3a_kernel"].shape[-1] for part in parts}
    check.require(len(blocks) == 1, f"C3A with blocks of several sizes ({sorted(blocks)}) is not supported")
    return cls(block=blocks.pop(), sites=codec.sites_of(parts))

  def peft_read(self, part: codec.Part) -> codec.Arrays:
    """As they are."""
    return {"kernel": part.tensors["c3a_kernel"]}
