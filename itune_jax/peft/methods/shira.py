"""SHiRA (Bhardwaj et al. 2024): ΔW trains at a few places of the matrix and is zero elsewhere."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from itune_jax.core import check
from itune_jax.nn import site
from itune_jax.peft.folders import codec
from itune_jax.peft import ranks
from itune_jax.peft import weight
from itune_jax.peft import method as method_lib


class ShiraAdapter(weight.WeightAdapter):
  """Values [n] at frozen places [n] of the flattened matrix [out, in]."""

  def __init__(self, spec: site.SiteSpec, key, count: int):
    super().__init__(spec)
    places = jax.random.choice(key, self.fan_in * self.fan_out, (count,), replace=False)
    self.places = site.AdapterParam(places, axes=(None,), trainable=False, saved=True)
    self.values = site.AdapterParam(jnp.zeros((count,)), axes=(None,))

  def changed(self, w, bank):
    delta = jnp.zeros((self.fan_out * self.fan_in,)).at[self.places[...]].set(self.values[...])
    return w + delta.reshape(self.fan_out, self.fan_in).T


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shira(method_lib.SiteMethod, codec.ModuleCodec):
  """The method; as many values as a LoRA of this rank would have. Places are drawn once and always saved.

  rank: of the LoRA that has as many values.
  """

  rank: int = 32
  sites: str = ranks.PROJECTIONS
  name: str = "shira"
  peft_type = "SHIRA"
  peft_integers = ("shira_indices",)
  peft_names = ("shira_weight", "shira_indices")

  def __post_init__(self):
    super().__post_init__()
    check.require(self.rank > 0, f"Shira.rank must be positive, not {self.rank}")

  def make(self, spec: site.SiteSpec, key) -> ShiraAdapter:
    """The adapter of one layer; values are zero, so the model is unchanged at first."""
    sides = math.prod(spec.in_shape), math.prod(spec.out_shape)
    count = self.rank * sum(sides)
    check.require(
      count <= math.prod(sides), f"Shira.rank = {self.rank} means {count} values; {spec.name} has {math.prod(sides)}"
    )
    return ShiraAdapter(spec, key, count)

  def peft_write(self, part: codec.Part) -> codec.Arrays:
    """Values, and their places as rows and columns."""
    places = part.leaves["places"].astype(np.int64)
    pairs = np.stack([places // part.fan_in, places % part.fan_in]).astype(np.int32)
    return {"shira_weight": part.leaves["values"], "shira_indices": pairs}

  def peft_config(self, parts: Sequence[codec.Part]) -> dict[str, Any]:
    """The rank; places go along."""
    return {"r": self.rank, "mask_type": "random", "random_seed": 0}

  @classmethod
  def from_peft(cls, config: Mapping[str, Any], parts: Sequence[codec.Part]) -> Self:
    """The method of a folder."""
    return cls(rank=config["r"], sites=codec.sites_of(parts))

  def peft_read(self, part: codec.Part) -> codec.Arrays:
    """Values and flattened places."""
    rows, columns = part.tensors["shira_indices"].astype(np.int64)
    inside = (rows >= 0) & (rows < part.fan_out) & (columns >= 0) & (columns < part.fan_in)
    check.require(inside.all(), f"{part.module}: shira_indices lie outside of {part.fan_out} x {part.fan_in}")
    return {"values": part.tensors["shira_weight"], "places": rows * part.fan_in + columns}
