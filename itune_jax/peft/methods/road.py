"""RoAd (Liao & Monz 2024): outputs are turned and stretched in pairs, y₁ α cos θ - y₂ α sin θ."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Any, Literal, Self

import jax.numpy as jnp

from itune_jax.core import check
from itune_jax.core import numerics
from itune_jax.nn import site
from itune_jax.peft.folders import codec
from itune_jax.peft import ranks
from itune_jax.peft import method as method_lib

# Values of each θ and α for every two outputs: one for both, one for each, or two for each.
_SHARE = {"road_1": 1, "road_2": 2, "road_4": 4}


class RoadAdapter(site.Adapter):
  """Angles and lengths, in peft's order; a pair are outputs half a group apart."""

  def __init__(self, spec: site.SiteSpec, variant: str, group: int):
    self.variant, self.group, self.out_shape = variant, group, spec.out_shape
    n = math.prod(spec.out_shape) * _SHARE[variant] // 2
    self.theta = site.AdapterParam(jnp.zeros((n,)), axes=(None,))
    self.alpha = site.AdapterParam(jnp.ones((n,)), axes=(None,))

  def post(self, x, y, w, ctx):
    return self._turned(y)

  def bias(self, bias):
    return None if bias is None else self._turned(bias)

  def changes_bias(self, exists: bool) -> bool:
    return exists

  def merge(self, w, bank):
    return self._turned(w)

  def _turned(self, y):
    lead = y.shape[: y.ndim - len(self.out_shape)]
    same, other = (c.reshape(-1, 2, self.group // 2).astype(y.dtype) for c in self._columns())
    pairs = y.reshape(*lead, -1, 2, self.group // 2)
    swapped = jnp.stack([-pairs[..., 1, :], pairs[..., 0, :]], axis=-2)
    return (pairs * numerics.align(same, pairs) + swapped * numerics.align(other, pairs)).reshape(y.shape)

  def _columns(self):
    """What every output takes of itself, and of its partner."""
    theta, alpha = self.theta[...].astype(jnp.float32), self.alpha[...].astype(jnp.float32)
    if self.variant == "road_1":
      theta, alpha = (jnp.repeat(v.reshape(-1, self.group // 2), 2, axis=0) for v in (theta, alpha))
    elif self.variant == "road_4":
      theta, alpha = (v.reshape(-1, 2, self.group) for v in (theta, alpha))
      return alpha[:, 0] * jnp.cos(theta[:, 0]), alpha[:, 1] * jnp.sin(theta[:, 1])
    return alpha * jnp.cos(theta), alpha * jnp.sin(theta)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Road(method_lib.SiteMethod, codec.ModuleCodec):
  """The method.

  variant: angles and lengths of every two outputs: one of each, two or four. group: outputs half a group apart are a
  pair.
  """

  variant: Literal["road_1", "road_2", "road_4"] = "road_1"
  group: int = 64
  sites: str = ranks.PROJECTIONS
  name: str = "road"
  peft_type = "ROAD"
  peft_names = ("road_theta", "road_alpha")

  def __post_init__(self):
    super().__post_init__()
    check.require(self.group > 0 and self.group % 2 == 0, f"Road.group = {self.group}; it holds pairs: an even number")

  def make(self, spec: site.SiteSpec, key) -> RoadAdapter:
    """The adapter of one layer: all angles zero, all lengths one."""
    fan_out = math.prod(spec.out_shape)
    check.require(fan_out % self.group == 0, f"Road.group = {self.group} does not divide {fan_out} of {spec.name}")
    return RoadAdapter(spec, self.variant, self.group)

  def peft_write(self, part: codec.Part) -> codec.Arrays:
    """As they are."""
    return {f"road_{name}": part.leaves[name] for name in ("theta", "alpha")}

  def peft_config(self, parts: Sequence[codec.Part]) -> dict[str, Any]:
    """Variant and groups."""
    return {"variant": self.variant, "group_size": self.group}

  @classmethod
  def from_peft(cls, config: Mapping[str, Any], parts: Sequence[codec.Part]) -> Self:
    """The method of a folder."""
    return cls(variant=config["variant"], group=config["group_size"], sites=codec.sites_of(parts))

  def peft_read(self, part: codec.Part) -> codec.Arrays:
    """As they are."""
    return {name: part.tensors[f"road_{name}"] for name in ("theta", "alpha")}
