"""VeRA (Kopiczko et al. 2024): ΔW = diag(b) B diag(d) A, with one frozen random pair A, B for all layers."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Any, Self

import jax
import jax.numpy as jnp

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import numerics
from itune_jax.core import ranges
from itune_jax.nn import site
from itune_jax.peft.folders import codec
from itune_jax.peft import ranks
from itune_jax.peft import weight
from itune_jax.peft import method as method_lib


class VeraAdapter(site.Adapter):
  """Vectors d [R] and b [*out]; the bank holds a [in, R] and b [R, out] of the largest site, cut to this one's."""

  def __init__(self, spec: site.SiteSpec, rank: int, d_initial: float, name: str):
    self.d = site.AdapterParam(jnp.full((rank,), d_initial), axes=(None,))
    self.b = site.AdapterParam(jnp.zeros(spec.out_shape), axes=spec.out_axes)
    self.num_in, self.in_shape, self.out_shape, self.owner = len(spec.in_shape), spec.in_shape, spec.out_shape, name

  def post(self, x, y, w, ctx):
    a, b = (m.astype(x.dtype) for m in self._bank(ctx.bank))
    u = site.contract(x, a, self.num_in)
    z = site.contract(u * numerics.align(self.d[...].astype(x.dtype), u), b, 1)
    return y + z * numerics.align(self.b[...].astype(x.dtype), z)

  def merge(self, w, bank):
    a, b = self._bank(bank)
    return w + site.contract(a * numerics.align(self.d[...], a), b * numerics.align(self.b[...], b), 1)

  def _bank(self, bank):
    a, b = bank[f"{self.owner}_a"][...], bank[f"{self.owner}_b"][...]
    fan_in, fan_out, R = math.prod(self.in_shape), math.prod(self.out_shape), self.d.shape[0]
    return a[:fan_in].reshape(*self.in_shape, R), b[:, :fan_out].reshape(R, *self.out_shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vera(method_lib.SiteMethod, codec.BankCodec):
  """The method. The pair is drawn from the run's key and always saved: a seed alone would not survive a library.

  rank: of the random pair. d_initial: what the trained vector d starts at.
  """

  rank: int = 256
  d_initial: ranges.PositiveFloat = 0.1
  sites: str = ranks.PROJECTIONS
  name: str = "vera"
  peft_type = "VERA"
  peft_names = ("vera_lambda_b", "vera_lambda_d")
  peft_roots = ("vera_A", "vera_B")

  def __post_init__(self):
    super().__post_init__()
    check.require(self.rank > 0, f"Vera.rank must be positive, not {self.rank}")

  def shared(self, specs: Sequence[site.SiteSpec], key) -> dict[str, Any]:
    """The pair, of the largest input and the largest output there is."""
    fan_in = max(math.prod(spec.in_shape) for spec in specs)
    fan_out = max(math.prod(spec.out_shape) for spec in specs)
    k_a, k_b = jax.random.split(key)
    return {
      "a": weight.uniform(k_a, (fan_in, self.rank), fan_in),
      "b": weight.uniform(k_b, (self.rank, fan_out), self.rank),
    }

  def make(self, spec: site.SiteSpec, key) -> VeraAdapter:
    """The vectors of one layer: b is zero, so the model is unchanged at first."""
    return VeraAdapter(spec, self.rank, self.d_initial, self.name)

  def peft_write(self, part: codec.Part) -> codec.Arrays:
    """Both vectors."""
    return {"vera_lambda_b": part.leaves["b"].reshape(-1), "vera_lambda_d": part.leaves["d"]}

  def peft_bank(self, bank: codec.Arrays) -> codec.Arrays:
    """The pair, as [r, in] and [out, r]."""
    return {"vera_A": bank["a"].T, "vera_B": bank["b"].T}

  def peft_config(self, parts: Sequence[codec.Part]) -> dict[str, Any]:
    """The pair goes along."""
    return {"r": self.rank, "d_initial": self.d_initial, "save_projection": True, "projection_prng_key": 0}

  @classmethod
  def from_peft(cls, config: Mapping[str, Any], parts: Sequence[codec.Part]) -> Self:
    """The method of a folder."""
    return cls(rank=config["r"], d_initial=float(config.get("d_initial", 0.1)), sites=codec.sites_of(parts))

  def peft_read(self, part: codec.Part) -> codec.Arrays:
    """Both vectors."""
    return {
      "b": codec.shaped(part.tensors["vera_lambda_b"], part.spec.out_shape, part),
      "d": part.tensors["vera_lambda_d"],
    }

  def read_bank(self, roots: codec.Arrays) -> codec.Arrays:
    """The pair. Raises InputError when only its seed is there."""
    if set(roots) != set(self.peft_roots):
      raise errors.InputError(codec.seed_only("vera_A and vera_B", "save_projection=True"))
    return {"a": roots["vera_A"].T, "b": roots["vera_B"].T}
