"""RandLoRA (Albert et al. 2025): ΔW = s Σ_j B_j diag(λ_j) A diag(γ_j): full rank from frozen random bases."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import ranges
from itune_jax.nn import site
from itune_jax.peft.folders import codec
from itune_jax.peft import ranks
from itune_jax.peft import weight
from itune_jax.peft import method as method_lib


def _bases(width: int, rank: int) -> int:
  return -(-width // rank)


class RandLoraAdapter(weight.WeightAdapter):
  """λ [R, n] and γ [n, small], with n bases for the smaller side; the bank holds a [R, small] and b [large, n, R]."""

  def __init__(self, spec: site.SiteSpec, rank: int, scale: float, bases: int, name: str):
    super().__init__(spec)
    self.small, self.large = sorted((self.fan_in, self.fan_out))
    make = lambda value: site.AdapterParam(value, axes=(None, None))
    self.lambdas = make(jnp.zeros((rank, bases)))
    self.gammas = make(jnp.full((bases, self.small), 1 / max(self.fan_in, self.fan_out)))
    self.scale = site.AdapterParam(jnp.float32(scale), axes=(), trainable=False)
    self.owner = name

  def changed(self, w, bank):
    a, b = bank[f"{self.owner}_a"][...], bank[f"{self.owner}_b"][...]
    lambdas, gammas = self.lambdas[...], self.gammas[...]
    n = lambdas.shape[1]
    # The sum over bases is part of one matmul. peft lays b's columns out base by base and a's rows rank by rank, so
    # which column meets which diagonal is a fixed shuffle of the paper's, here as there.
    scaled = lambdas[:, :, None] * a[:, None, : self.small] * gammas[None]
    delta = b[: self.large, :n].reshape(self.large, -1) @ scaled.reshape(-1, self.small)
    return w + self.scale[...] * (delta.T if self.small == self.fan_in else delta)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandLora(method_lib.SiteMethod, codec.BankCodec):
  """The method. The bases are drawn from the run's key and always saved.

  rank: of each random base. alpha: what is added is scaled by alpha / rank.
  """

  rank: int = 32
  alpha: ranges.PositiveFloat = 640.0
  sites: str = ranks.PROJECTIONS
  name: str = "randlora"
  peft_type = "RANDLORA"
  peft_names = ("randlora_lambda", "randlora_gamma")
  peft_ignored = ("randlora_A", "randlora_B")  # copies of the bank in every module
  peft_roots = ("randlora_A", "randlora_B")

  def __post_init__(self):
    super().__post_init__()
    check.require(self.rank > 0, f"RandLora.rank must be positive, not {self.rank}")

  def shared(self, specs: Sequence[site.SiteSpec], key) -> dict[str, Any]:
    """Bases of unit deviation, for the largest site in each direction."""
    outs = max(math.prod(spec.out_shape) for spec in specs)
    ins = max(math.prod(spec.in_shape) for spec in specs)
    small, large = min(outs, ins), max(outs, ins)
    k_a, k_b = jax.random.split(key)
    unit = lambda x: x / jnp.std(x)
    draw = lambda key, shape: unit(jax.random.uniform(key, shape, jnp.float32, -1, 1))
    return {"a": draw(k_a, (self.rank, small)), "b": draw(k_b, (large, _bases(small, self.rank), self.rank))}

  def make(self, spec: site.SiteSpec, key) -> RandLoraAdapter:
    """The adapter of one layer; λ is zero, so the model is unchanged at first."""
    small = min(math.prod(spec.in_shape), math.prod(spec.out_shape))
    check.require(self.rank <= small, f"RandLora rank {self.rank} at {spec.name} is larger than the matrix ({small})")
    return RandLoraAdapter(spec, self.rank, self.alpha / self.rank, _bases(small, self.rank), self.name)

  def peft_write(self, part: codec.Part) -> codec.Arrays:
    """Both diagonals."""
    return {"randlora_lambda": part.leaves["lambdas"], "randlora_gamma": part.leaves["gammas"]}

  def peft_bank(self, bank: codec.Arrays) -> codec.Arrays:
    """peft's a is [r, 1, small]."""
    return {"randlora_A": bank["a"][:, None], "randlora_B": bank["b"]}

  def peft_config(self, parts: Sequence[codec.Part]) -> dict[str, Any]:
    """The bases go along."""
    return {
      "r": self.rank,
      "randlora_alpha": codec.whole(self.alpha),
      "save_projection": True,
      "projection_prng_key": 0,
      "sparse": False,
      "very_sparse": False,
      "randlora_dropout": 0.0,
    }

  @classmethod
  def from_peft(cls, config: Mapping[str, Any], parts: Sequence[codec.Part]) -> Self:
    """The method of a folder."""
    return cls(rank=config["r"], alpha=float(config["randlora_alpha"]), sites=codec.sites_of(parts))

  def peft_read(self, part: codec.Part) -> codec.Arrays:
    """Both diagonals."""
    return {
      "lambdas": part.tensors["randlora_lambda"],
      "gammas": part.tensors["randlora_gamma"],
      "scale": np.array(self.alpha / self.rank, np.float32),
    }

  def read_bank(self, roots: codec.Arrays) -> codec.Arrays:
    """The bases. Raises InputError when only their seed is there."""
    if set(roots) != set(self.peft_roots):
      raise errors.InputError(codec.seed_only("randlora_A and randlora_B", "save_projection=True"))
    return {"a": roots["randlora_A"][:, 0], "b": roots["randlora_B"]}
