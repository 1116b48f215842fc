"""(IA)³ (Liu et al. 2022): learned factors of what a projection gives, or of what it reads."""

from collections.abc import Mapping, Sequence
import dataclasses
import re
from typing import Any, Self

import jax.numpy as jnp

from itune_jax.core import check
from itune_jax.core import numerics
from itune_jax.nn import site
from itune_jax.peft.folders import codec
from itune_jax.peft import method as method_lib


class Inputs(site.Adapter):
  """y = W (l ∘ x)."""

  def __init__(self, spec: site.SiteSpec):
    self.factor = site.AdapterParam(jnp.ones(spec.in_shape), axes=spec.in_axes)

  def pre(self, x, ctx):
    return x * numerics.align(self.factor[...].astype(x.dtype), x)

  def merge(self, w, bank):
    return w * self.factor[...].reshape(self.factor.shape + (1,) * (w.ndim - self.factor.ndim))


class Outputs(site.Adapter):
  """y = l ∘ (W x + b)."""

  def __init__(self, spec: site.SiteSpec):
    self.factor = site.AdapterParam(jnp.ones(spec.out_shape), axes=spec.out_axes)

  def post(self, x, y, w, ctx):
    return y * numerics.align(self.factor[...].astype(y.dtype), y)

  def bias(self, bias):
    return None if bias is None else bias * self.factor[...]

  def changes_bias(self, exists: bool) -> bool:
    return exists

  def merge(self, w, bank):
    return w * numerics.align(self.factor[...], w)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ia3(method_lib.SiteMethod, codec.ModuleCodec):
  """The method: keys, values and what the feed-forward block projects down, unless told otherwise.

  inputs: regex of those sites whose inputs are scaled, not their outputs.
  """

  sites: str = r"(blocks|encoder|decoder)/\d+/((attn|cross)/(k|v|qkv)|mlp/down)"
  inputs: str = r".*/mlp/down"
  regexes = ("sites", "inputs")
  name: str = "ia3"
  peft_type = "IA3"
  peft_names = ("ia3_l",)

  def make(self, spec: site.SiteSpec, key) -> site.Adapter:
    """Factors of one layer, all one at first."""
    kinds = {bool(re.fullmatch(self.inputs, name)) for name in spec.layers}
    check.require(len(kinds) == 1, f"Ia3.inputs = {self.inputs!r} matches some layers of {spec.name} and not others")
    return Inputs(spec) if kinds.pop() else Outputs(spec)

  def peft_write(self, part: codec.Part) -> codec.Arrays:
    """[1, in] or [out, 1]."""
    factor = part.leaves["factor"].reshape(-1)
    return {"ia3_l": factor[None] if re.fullmatch(self.inputs, part.name) else factor[:, None]}

  def peft_config(self, parts: Sequence[codec.Part]) -> dict[str, Any]:
    """Which of the modules are feed-forward ones, in peft's words."""
    modules = sorted(part.module for part in parts)
    return {
      "target_modules": modules,
      "feedforward_modules": sorted(part.module for part in parts if re.fullmatch(self.inputs, part.name)),
    }

  @classmethod
  def from_peft(cls, config: Mapping[str, Any], parts: Sequence[codec.Part]) -> Self:
    """What is scaled follows from the tensors' shapes."""
    inputs = [part for part in parts if part.tensors["ia3_l"].shape[0] == 1]
    return cls(sites=codec.sites_of(parts), inputs=codec.sites_of(inputs))

  def peft_read(self, part: codec.Part) -> codec.Arrays:
    """The factors."""
    shape = part.spec.in_shape if re.fullmatch(self.inputs, part.name) else part.spec.out_shape
    return {"factor": codec.shaped(part.tensors["ia3_l"], shape, part)}
