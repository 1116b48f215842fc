"""LoHa (Hyeon-Woo et al. 2022, FedPara): ΔW = s · (A₁ B₁) ∘ (A₂ B₂), of rank up to r²."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, Self

import jax
import jax.numpy as jnp

from itune_jax.core import numerics
from itune_jax.nn import site
from itune_jax.peft.folders import codec
from itune_jax.peft import ranks
from itune_jax.peft import weight


class LohaAdapter(weight.WeightAdapter):
  """Two pairs of factors, a [*in, R] and b [R, *out]."""

  def __init__(self, spec: site.SiteSpec, key, *, scale, rank_mask):
    super().__init__(spec)
    R, keys = rank_mask.shape[-1], jax.random.split(key, 3)
    down, up = (*spec.in_axes, "rank"), ("rank", *spec.out_axes)
    draw = lambda key, shape, fan: weight.uniform(key, shape, fan)
    self.a1 = site.AdapterParam(draw(keys[0], (*spec.in_shape, R), self.fan_in), axes=down)
    self.b1 = site.AdapterParam(draw(keys[1], (R, *spec.out_shape), R), axes=up)
    self.a2 = site.AdapterParam(jnp.zeros((*spec.in_shape, R)), axes=down)
    self.b2 = site.AdapterParam(draw(keys[2], (R, *spec.out_shape), R), axes=up)
    self.scale = site.AdapterParam(jnp.asarray(scale, jnp.float32), axes=(), trainable=False)
    self.rank_mask = site.AdapterParam(jnp.asarray(rank_mask, jnp.float32), axes=("rank",), trainable=False)

  def changed(self, w, bank):
    return w + self.scale[...] * self._product(self.a1, self.b1) * self._product(self.a2, self.b2)

  def _product(self, a, b):
    a = a[...].reshape(self.fan_in, -1)
    return (a * numerics.align(self.rank_mask[...], a)) @ b[...].reshape(-1, self.fan_out)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loha(ranks.Scaled, codec.ModuleCodec):
  """The method."""

  name: str = "loha"
  peft_type = "LOHA"
  peft_names = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")

  def make(self, spec: site.SiteSpec, key, *, scale, rank_mask) -> LohaAdapter:
    """The adapter of one layer; one factor is zero, so the model is unchanged at first."""
    return LohaAdapter(spec, key, scale=scale, rank_mask=rank_mask)

  def peft_write(self, part: codec.Part) -> codec.Arrays:
    """peft's w_a is [out, r], w_b [r, in]."""
    leaves = part.leaves
    return {f"hada_w{i}_a": codec.up(leaves[f"b{i}"]) for i in (1, 2)} | {
      f"hada_w{i}_b": codec.down(leaves[f"a{i}"]) for i in (1, 2)
    }

  def peft_config(self, parts: Sequence[codec.Part]) -> dict[str, Any]:
    """Ranks and alphas."""
    return self.peft_scales(parts, "alpha") | {"use_effective_conv2d": False}

  @classmethod
  def from_peft(cls, config: Mapping[str, Any], parts: Sequence[codec.Part]) -> Self:
    """The method of a folder."""
    return cls.of_scales(config, parts, codec.ranks_of(config, parts, lambda part: part.tensors["hada_w1_b"]), "alpha")

  def peft_read(self, part: codec.Part) -> codec.Arrays:
    """Factors in our shapes."""
    leaves = self.ranked(part.name)
    for i in (1, 2):
      leaves[f"a{i}"] = codec.from_down(part.tensors[f"hada_w{i}_b"], part)
      leaves[f"b{i}"] = codec.from_up(part.tensors[f"hada_w{i}_a"], part)
    return leaves
