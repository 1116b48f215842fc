"""GraLoRA (Jung et al. 2025): W is cut into k x k blocks with a LoRA of rank r/k each, beside a plain one (hybrid)."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from itune_jax.core import check
from itune_jax.core import ranges
from itune_jax.nn import site
from itune_jax.peft.folders import codec
from itune_jax.peft import ranks
from itune_jax.peft import weight
from itune_jax.peft import method as method_lib


class GraloraAdapter(site.Adapter):
  """a [k, in/k, r] and b [k, r, out/k]: input block n and output block m share rank slice m of a[n] and n of b[m]."""

  def __init__(self, spec: site.SiteSpec, key, method: "Gralora"):
    fan_in, fan_out = math.prod(spec.in_shape), math.prod(spec.out_shape)
    self.k, self.num_in, self.out_shape, self.hybrid = method.blocks, len(spec.in_shape), spec.out_shape, method.hybrid
    k_a, k_h = jax.random.split(key)
    make = lambda value: site.AdapterParam(value, axes=(None,) * value.ndim)
    self.a = make(weight.uniform(k_a, (self.k, fan_in // self.k, method.rank), fan_in // self.k))
    self.b = make(jnp.zeros((self.k, method.rank, fan_out // self.k)))
    if method.hybrid:
      self.a_hybrid = make(weight.uniform(k_h, (fan_in, method.hybrid), fan_in))
      self.b_hybrid = make(jnp.zeros((method.hybrid, fan_out)))
    self.scale = site.AdapterParam(jnp.float32(method.scale), axes=(), trainable=False)

  def post(self, x, y, w, ctx):
    lead = x.shape[: x.ndim - self.num_in]
    return y + self._added(x.reshape(*lead, -1)).reshape(*lead, *self.out_shape)

  def merge(self, w, bank):
    return w + self._added(jnp.eye(math.prod(w.shape[: self.num_in]))).reshape(w.shape)

  def _added(self, x):
    a, b = self.a[...].astype(x.dtype), self.b[...].astype(x.dtype)
    lead, k = x.shape[:-1], self.k
    u = jnp.einsum("...ni,nir->...nr", x.reshape(*lead, k, -1), a).reshape(*lead, k, k, -1)  # [..., n, m, r/k]
    z = jnp.einsum("...nms,mnso->...mo", u, b.reshape(k, k, -1, b.shape[-1])).reshape(*lead, -1)
    if self.hybrid:
      z = z + (x @ self.a_hybrid[...].astype(x.dtype)) @ self.b_hybrid[...].astype(x.dtype)
    return z * self.scale[...].astype(x.dtype)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gralora(method_lib.SiteMethod, codec.ModuleCodec):
  """The method: k blocks a side, rank r in all of a row of blocks, and a plain LoRA of rank `hybrid`.

  rank: of each row of blocks together. blocks: a side, k. hybrid: rank of the plain LoRA beside them, 0 for none.
  alpha: what is added is scaled by alpha / (rank + hybrid).
  """

  rank: int = 32
  blocks: int = 2
  hybrid: int = 0
  alpha: ranges.PositiveFloat = 64.0
  sites: str = ranks.PROJECTIONS
  name: str = "gralora"
  peft_type = "GRALORA"
  peft_names = ("gralora_A", "gralora_B", "gralora_A_general.weight", "gralora_B_general.weight")

  def __post_init__(self):
    super().__post_init__()
    check.require(
      self.blocks > 0 and self.rank > 0 and self.rank % self.blocks == 0 and self.hybrid >= 0,
      f"Gralora(rank={self.rank}, blocks={self.blocks}, hybrid={self.hybrid}): blocks divide the rank",
    )

  @property
  def scale(self) -> float:
    """s = α / (r + hybrid)."""
    return self.alpha / (self.rank + self.hybrid)

  def make(self, spec: site.SiteSpec, key) -> GraloraAdapter:
    """The adapter of one layer; b is zero, so the model is unchanged at first."""
    sides = math.prod(spec.in_shape), math.prod(spec.out_shape)
    check.require(
      all(n % self.blocks == 0 for n in sides), f"Gralora.blocks = {self.blocks} do not divide {sides} of {spec.name}"
    )
    check.require(self.rank <= min(sides), f"Gralora rank {self.rank} at {spec.name} is larger than the matrix {sides}")
    return GraloraAdapter(spec, key, self)

  def peft_write(self, part: codec.Part) -> codec.Arrays:
    """The blocks as they are."""
    tensors = {"gralora_A": part.leaves["a"], "gralora_B": part.leaves["b"]}
    if self.hybrid:
      tensors["gralora_A_general.weight"] = part.leaves["a_hybrid"].T
      tensors["gralora_B_general.weight"] = part.leaves["b_hybrid"].T
    return tensors

  def peft_config(self, parts: Sequence[codec.Part]) -> dict[str, Any]:
    """Ranks, blocks, α."""
    return {"r": self.rank, "hybrid_r": self.hybrid, "alpha": codec.whole(self.alpha), "gralora_k": self.blocks}

  @classmethod
  def from_peft(cls, config: Mapping[str, Any], parts: Sequence[codec.Part]) -> Self:
    """The method of a folder."""
    return cls(
      rank=config["r"],
      blocks=config["gralora_k"],
      hybrid=config.get("hybrid_r", 0),
      alpha=float(config["alpha"]),
      sites=codec.sites_of(parts),
    )

  def peft_read(self, part: codec.Part) -> codec.Arrays:
    """In our shapes."""
    leaves = {"a": part.tensors["gralora_A"], "b": part.tensors["gralora_B"], "scale": np.array(self.scale, np.float32)}
    if self.hybrid:
      leaves["a_hybrid"] = part.tensors["gralora_A_general.weight"].T
      leaves["b_hybrid"] = part.tensors["gralora_B_general.weight"].T
    return leaves
