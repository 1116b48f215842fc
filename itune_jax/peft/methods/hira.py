"""HiRA (Huang et al. 2025): W' = W ∘ (1 + A B): an update of high rank from factors of a low one."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, Self

import jax.numpy as jnp

from itune_jax.core import numerics
from itune_jax.nn import site
from itune_jax.peft.folders import codec
from itune_jax.peft import ranks
from itune_jax.peft import weight


class HiraAdapter(weight.WeightAdapter):
  """Factors a [*in, R] and b [R, *out]; one matmul with W', where W and ΔW would take two."""

  def __init__(self, spec: site.SiteSpec, key, *, rank_mask):
    super().__init__(spec)
    R = rank_mask.shape[-1]
    a = weight.uniform(key, (*spec.in_shape, R), self.fan_in)
    self.a = site.AdapterParam(a, axes=(*spec.in_axes, "rank"))
    self.b = site.AdapterParam(jnp.zeros((R, *spec.out_shape)), axes=("rank", *spec.out_axes))
    self.rank_mask = site.AdapterParam(jnp.asarray(rank_mask, jnp.float32), axes=("rank",), trainable=False)

  def changed(self, w, bank):
    a = self.a[...].reshape(self.fan_in, -1)
    return w * (1 + (a * numerics.align(self.rank_mask[...], a)) @ self.b[...].reshape(-1, self.fan_out))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hira(ranks.Ranks, codec.ModuleCodec):
  """The method."""

  rank: int = 32
  name: str = "hira"
  peft_type = "HIRA"
  peft_names = ("hira_A", "hira_B")

  def make(self, spec: site.SiteSpec, key, *, rank_mask) -> HiraAdapter:
    """The adapter of one layer; b is zero, so the model is unchanged at first."""
    return HiraAdapter(spec, key, rank_mask=rank_mask)

  def peft_write(self, part: codec.Part) -> codec.Arrays:
    """Both factors."""
    return {"hira_A": codec.down(part.leaves["a"]), "hira_B": codec.up(part.leaves["b"])}

  def peft_config(self, parts: Sequence[codec.Part]) -> dict[str, Any]:
    """Ranks."""
    return self.peft_ranks(parts)

  @classmethod
  def from_peft(cls, config: Mapping[str, Any], parts: Sequence[codec.Part]) -> Self:
    """The method of a folder."""
    return cls.of_ranks(parts, {part.module: part.tensors["hira_A"].shape[0] for part in parts})

  def peft_read(self, part: codec.Part) -> codec.Arrays:
    """Factors in our shapes."""
    factors = {"a": codec.from_down(part.tensors["hira_A"], part), "b": codec.from_up(part.tensors["hira_B"], part)}
    return factors | self.ranked(part.name)
