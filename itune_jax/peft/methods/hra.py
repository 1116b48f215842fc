"""HRA (Yuan et al. 2024): inputs are reflected, x ↦ x H₁ … H_r with H = I - 2 u uᵀ / ‖u‖²."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Any, Self

import jax
import jax.numpy as jnp

from itune_jax.core import check
from itune_jax.core import linalg
from itune_jax.nn import site
from itune_jax.peft.folders import codec
from itune_jax.peft import ranks
from itune_jax.peft import method as method_lib


class HraAdapter(site.Adapter):
  """Directions u [in, R], of any length."""

  def __init__(self, spec: site.SiteSpec, key, rank: int, orthogonal: bool):
    self.num_in, self.fan_in, self.orthogonal = len(spec.in_shape), math.prod(spec.in_shape), orthogonal
    u = jax.random.normal(key, (self.fan_in, rank if orthogonal else rank // 2)) * self.fan_in**-0.5
    # Two and two the same undo each other; orthogonal ones cannot be the same.
    self.u = site.AdapterParam(u if orthogonal else jnp.repeat(u, 2, axis=1), axes=(None, None))

  def pre(self, x, ctx):
    lead = x.shape[: x.ndim - self.num_in]
    return self._reflected(x.reshape(*lead, self.fan_in), reverse=True).reshape(x.shape)

  def merge(self, w, bank):
    flat = w.reshape(self.fan_in, -1)
    return self._reflected(flat.T, reverse=False).T.reshape(w.shape)

  def _reflected(self, x, reverse: bool):
    u = self._directions().astype(x.dtype)
    steps = range(u.shape[1])
    for i in reversed(steps) if reverse else steps:
      along = jnp.einsum("...i,i->...", x, u[:, i])
      x = x - 2 * along[..., None] * jnp.expand_dims(u[:, i], tuple(range(x.ndim - 1)))
    return x

  def _directions(self):
    u = self.u[...].astype(jnp.float32)
    return linalg.orthonormal(u) if self.orthogonal else u / jnp.linalg.norm(u, axis=0, keepdims=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hra(method_lib.SiteMethod, codec.ModuleCodec):
  """The method. orthogonal: directions are made so by Gram-Schmidt (peft's apply_GS); the model is then another at
  first, since orthogonal reflections never undo each other.

  rank: number of reflections.
  """

  rank: int = 8
  orthogonal: bool = False
  sites: str = ranks.PROJECTIONS
  name: str = "hra"
  peft_type = "HRA"
  peft_names = ("hra_u",)

  def __post_init__(self):
    super().__post_init__()
    check.require(
      self.rank > 0 and self.rank % 2 == 0, f"Hra.rank = {self.rank}; reflections start in pairs: it must be even"
    )

  def make(self, spec: site.SiteSpec, key) -> HraAdapter:
    """The adapter of one layer."""
    fan_in = math.prod(spec.in_shape)
    check.require(self.rank <= fan_in, f"Hra.rank = {self.rank} is larger than the {fan_in} inputs of {spec.name}")
    return HraAdapter(spec, key, self.rank, self.orthogonal)

  def peft_write(self, part: codec.Part) -> codec.Arrays:
    """As they are."""
    return {"hra_u": part.leaves["u"]}

  def peft_config(self, parts: Sequence[codec.Part]) -> dict[str, Any]:
    """Rank and whether directions are orthogonal."""
    return {"r": self.rank, "apply_GS": self.orthogonal}

  @classmethod
  def from_peft(cls, config: Mapping[str, Any], parts: Sequence[codec.Part]) -> Self:
    """The method of a folder."""
    return cls(rank=config["r"], orthogonal=bool(config.get("apply_GS")), sites=codec.sites_of(parts))

  def peft_read(self, part: codec.Part) -> codec.Arrays:
    """As they are."""
    return {"u": part.tensors["hra_u"]}
