"""MiSS (Kang & Yin 2025, once Bone): LoRA whose A is a row of identities, so that A x is a sum over blocks of x."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Any, Self

import jax.numpy as jnp

from itune_jax.core import check
from itune_jax.nn import site
from itune_jax.peft.folders import codec
from itune_jax.peft import ranks
from itune_jax.peft import weight
from itune_jax.peft import method as method_lib


class MissAdapter(site.Adapter):
  """One matrix d [R, *out], or [R, mini] that is repeated along the outputs."""

  def __init__(self, spec: site.SiteSpec, rank: int, mini: int):
    self.num_in, self.fan_in = len(spec.in_shape), math.prod(spec.in_shape)
    self.out_shape = spec.out_shape
    shape, axes = ((rank, mini), (None, None)) if mini else ((rank, *spec.out_shape), (None, *spec.out_axes))
    self.d = site.AdapterParam(jnp.zeros(shape), axes=axes)
    self.mini = mini

  def post(self, x, y, w, ctx):
    lead, R = x.shape[: x.ndim - self.num_in], self.d.shape[0]
    x = jnp.pad(x.reshape(-1, self.fan_in), ((0, 0), (0, -self.fan_in % R)))
    u = jnp.sum(x.reshape(x.shape[0], -1, R), axis=1).reshape(*lead, R)
    return y + site.contract(u, self._d().astype(x.dtype), 1)

  def merge(self, w, bank):
    d = self._d().reshape(self.d.shape[0], -1)
    tiled = jnp.tile(d, (-(-self.fan_in // d.shape[0]), 1))[: self.fan_in]
    return w + tiled.reshape(w.shape)

  def _d(self):
    d = self.d[...]
    if self.mini:
      d = jnp.tile(d, (1, math.prod(self.out_shape) // self.mini))
    return d.reshape(d.shape[0], *self.out_shape)


class BatAdapter(weight.WeightAdapter):
  """Blocks d [out/R, R, R]: every block W_ij [R, R] of W [out, in] becomes W_ij + W_ij d_i + d_i."""

  def __init__(self, spec: site.SiteSpec, rank: int):
    super().__init__(spec)
    self.d = site.AdapterParam(jnp.zeros((self.fan_out // rank, rank, rank)), axes=(None, None, None))

  def changed(self, w, bank):
    d, R = self.d[...].astype(jnp.float32), self.d.shape[-1]
    blocks = w.reshape(-1, R, d.shape[0], R)  # [in/R, R in, out/R, R out]
    added = jnp.einsum("mdja,jdc->mcja", blocks, d) + jnp.transpose(d, (2, 0, 1))[None]
    return w + added.reshape(w.shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Miss(method_lib.SiteMethod, codec.ModuleCodec):
  """The method. mini: how many outputs have rows of their own, repeated over the others; 0 for all.

  bat: multiply blocks of W too (Bone's "Bat"); the rank must then divide inputs and outputs.

  rank: how many rows of trained values an output has.
  """

  rank: int = 64
  mini: int = 0
  bat: bool = False
  sites: str = ranks.PROJECTIONS
  name: str = "miss"
  peft_type = "MISS"
  peft_names = ("miss_block",)

  def __post_init__(self):
    super().__post_init__()
    check.require(self.rank > 0 and self.mini >= 0, f"Miss(rank={self.rank}, mini={self.mini}): rank > 0 and mini >= 0")
    check.require(not (self.mini and self.bat), "Miss: mini or bat, not both")

  def make(self, spec: site.SiteSpec, key) -> MissAdapter | BatAdapter:
    """The adapter of one layer; d is zero, so the model is unchanged at first."""
    fan_in, fan_out = math.prod(spec.in_shape), math.prod(spec.out_shape)
    if self.bat:
      check.require(
        fan_in % self.rank == 0 and fan_out % self.rank == 0,
        f"Miss.rank = {self.rank} does not divide the matrix of {spec.name}, {fan_in} by {fan_out}, into blocks (bat)",
      )
      return BatAdapter(spec, self.rank)
    check.require(self.rank <= fan_in, f"Miss.rank = {self.rank} is larger than the {fan_in} inputs of {spec.name}")
    check.require(
      not self.mini or fan_out % self.mini == 0, f"Miss.mini = {self.mini} does not divide {fan_out} of {spec.name}"
    )
    return MissAdapter(spec, self.rank, self.mini)

  def peft_write(self, part: codec.Part) -> codec.Arrays:
    """[r, out], or blocks."""
    if self.bat:
      return {"miss_block": part.leaves["d"]}
    return {"miss_block": part.leaves["d"].reshape(self.rank, -1)}

  def peft_config(self, parts: Sequence[codec.Part]) -> dict[str, Any]:
    """The rank, and peft's word for repeated outputs."""
    return {
      "r": self.rank,
      "mini_r": self.mini or 1,
      "init_weights": "bat" if self.bat else "mini" if self.mini else True,
      "miss_dropout": 0.0,
    }

  @classmethod
  def from_peft(cls, config: Mapping[str, Any], parts: Sequence[codec.Part]) -> Self:
    """The method of a folder."""
    kind = config.get("init_weights", True)
    mini = config["mini_r"] if kind == "mini" else 0
    return cls(rank=config["r"], mini=mini, bat=kind == "bat", sites=codec.sites_of(parts))

  def peft_read(self, part: codec.Part) -> codec.Arrays:
    """In our shape."""
    if self.bat:
      return {"d": codec.shaped(part.tensors["miss_block"], (part.fan_out // self.rank, self.rank, self.rank), part)}
    shape = (self.rank, self.mini) if self.mini else (self.rank, *part.spec.out_shape)
    return {"d": codec.shaped(part.tensors["miss_block"], shape, part)}
