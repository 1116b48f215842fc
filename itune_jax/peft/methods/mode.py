"""Mode approximation (Aurora, Wang et al. 2023; PETAL, Zhu et al. 2024): ΔW(p) = V (C ×₃ p) U with a vector p a layer.

U, V and the core C are shared by all sites and layers, so a layer costs R values: 2 d R + R³ + R a site and layer.
"""

from collections.abc import Sequence
import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from itune_jax.core import check
from itune_jax.nn import site
from itune_jax.peft import method as method_lib


class ModeAdapter(site.Adapter):
  """p [R]; the bank holds u [in, R], v [R, out] (of the largest site, cut to this one's) and core [R, R, R]."""

  def __init__(self, spec: site.SiteSpec, key, rank: int, name: str):
    self.p = site.AdapterParam(jax.random.normal(key, (rank,)) * rank**-0.5, axes=(None,))
    self.num_in, self.in_shape, self.out_shape, self.owner = len(spec.in_shape), spec.in_shape, spec.out_shape, name

  def post(self, x, y, w, ctx):
    u, v = (m.astype(x.dtype) for m in self._factors(ctx.bank))
    return y + site.contract(site.contract(x, u, self.num_in), v, 1)

  def merge(self, w, bank):
    return w + site.contract(*self._factors(bank), 1)

  def _factors(self, bank):
    """U [*in, R] and (C ×₃ p) V [R, *out]: the core of a layer is made once."""
    u, v, core = (bank[f"{self.owner}_{name}"][...] for name in ("u", "v", "core"))
    R = self.p.shape[0]
    mixed = jnp.einsum("ijk,k->ij", core, self.p[...]) @ v[:, : math.prod(self.out_shape)]
    return u[: math.prod(self.in_shape)].reshape(*self.in_shape, R), mixed.reshape(R, *self.out_shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mode(method_lib.SiteMethod):
  """The method. peft has no such method.

  rank: of the shared factors and the core.
  """

  rank: int = 64
  sites: str = r"(blocks|encoder|decoder)/\d+/(attn|cross)/(q|k|v|qkv)"
  name: str = "mode"
  shared_trains = ("u", "v", "core")

  def __post_init__(self):
    super().__post_init__()
    check.require(self.rank > 0, f"Mode.rank must be positive, not {self.rank}")

  def shared(self, specs: Sequence[site.SiteSpec], key) -> dict[str, Any]:
    """u and core by Xavier, v zero, so the model is unchanged at first."""
    fan_in = max(math.prod(spec.in_shape) for spec in specs)
    fan_out = max(math.prod(spec.out_shape) for spec in specs)
    k_u, k_c = jax.random.split(key)
    xavier = lambda key, shape, fan: jax.random.uniform(key, shape, jnp.float32, -1, 1) * math.sqrt(6 / fan)
    R = self.rank
    return {
      "u": xavier(k_u, (fan_in, R), fan_in + R),
      "v": jnp.zeros((R, fan_out)),
      "core": xavier(k_c, (R, R, R), 2 * R),
    }

  def make(self, spec: site.SiteSpec, key) -> ModeAdapter:
    """The adapter of one layer."""
    return ModeAdapter(spec, key, self.rank, self.name)
