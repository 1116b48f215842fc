"""LoKr (Yeh et al. 2024, LyCORIS): ΔW = s · W₁ ⊗ W₂, each whole or of two factors."""

from collections.abc import Mapping, Sequence
import dataclasses
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


def split(width: int, factor: int) -> tuple[int, int]:
  """Two numbers whose product is `width`, the smaller first: `factor` of them where it divides, else (or with -1) as
  near to each other as they get without the smaller passing the factor."""
  if factor > 0 and width % factor == 0:
    return factor, width // factor
  limit = width if factor == -1 else factor
  small = max(d for d in range(1, int(width**0.5) + 1) if width % d == 0 and (d <= limit or d == 1))
  return small, width // small


class LokrAdapter(weight.WeightAdapter):
  """peft's orientation [out, in]: w1 [o₁, i₁] or w1_a [o₁, r] w1_b [r, i₁], and the same for w2."""

  def __init__(self, spec: site.SiteSpec, key, method: "Lokr", scale):
    super().__init__(spec)
    (i1, i2), (o1, o2) = split(self.fan_in, method.factor), split(self.fan_out, method.factor)
    whole1, whole2 = method.whole(o1, i1, o2, i2)
    k_1, k_2, k_3 = jax.random.split(key, 3)
    make = lambda value: site.AdapterParam(value, axes=(None, None))
    draw = lambda key, rows, columns: make(weight.uniform(key, (rows, columns), columns))
    r = method.rank
    if whole1:
      self.w1 = make(jnp.zeros((o1, i1)))
    else:
      self.w1_a, self.w1_b = make(jnp.zeros((o1, r))), draw(k_1, r, i1)
    if whole2:
      self.w2 = draw(k_2, o2, i2)
    else:
      self.w2_a, self.w2_b = draw(k_2, o2, r), draw(k_3, r, i2)
    self.scale = site.AdapterParam(jnp.asarray(scale, jnp.float32), axes=(), trainable=False)
    self.whole = (whole1, whole2)

  def changed(self, w, bank):
    w1 = self.w1[...] if self.whole[0] else self.w1_a[...] @ self.w1_b[...]
    w2 = self.w2[...] if self.whole[1] else self.w2_a[...] @ self.w2_b[...]
    return w + self.scale[...] * jnp.kron(w1, w2).T


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lokr(method_lib.SiteMethod, codec.ModuleCodec):
  """The method. factor: of both sides (-1: balanced). both: whether W₁ is of two factors too.

  rank: of the side that is of two factors. alpha: what is added is scaled by alpha / rank.
  """

  rank: int = 8
  alpha: ranges.PositiveFloat = 8.0
  factor: int = -1
  both: bool = False
  sites: str = ranks.PROJECTIONS
  name: str = "lokr"
  peft_type = "LOKR"
  peft_names = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b")

  def __post_init__(self):
    super().__post_init__()
    check.require(self.rank > 0, f"Lokr.rank must be positive, not {self.rank}")
    check.require(self.factor == -1 or self.factor > 0, f"Lokr.factor = {self.factor}; -1 (balanced), or positive")

  def whole(self, o1: int, i1: int, o2: int, i2: int) -> tuple[bool, bool]:
    """Which of both matrices is not worth two factors."""
    return not (self.both and self.rank < max(o1, i1) / 2), not self.rank < max(o2, i2) / 2

  def make(self, spec: site.SiteSpec, key) -> LokrAdapter:
    """The adapter of one layer; W₁ is zero, so the model is unchanged at first."""
    return LokrAdapter(spec, key, self, self.alpha / self.rank)

  def peft_write(self, part: codec.Part) -> codec.Arrays:
    """As they are."""
    return {f"lokr_{name}": leaf for name, leaf in part.leaves.items() if name != "scale"}

  def peft_config(self, parts: Sequence[codec.Part]) -> dict[str, Any]:
    """Rank, α and how sides are split."""
    return {
      "r": self.rank,
      "alpha": codec.whole(self.alpha),
      "decompose_both": self.both,
      "decompose_factor": self.factor,
    }

  @classmethod
  def from_peft(cls, config: Mapping[str, Any], parts: Sequence[codec.Part]) -> Self:
    """The method of a folder."""
    return cls(
      rank=config["r"],
      alpha=float(config["alpha"]),
      factor=config.get("decompose_factor", -1),
      both=bool(config.get("decompose_both")),
      sites=codec.sites_of(parts),
    )

  def peft_read(self, part: codec.Part) -> codec.Arrays:
    """As they are."""
    leaves = {name.removeprefix("lokr_"): part.tensors[name] for name in part.tensors}
    return leaves | {"scale": np.array(self.alpha / self.rank)}
