"""VB-LoRA (Li et al. 2024): factors of LoRA are made of pieces, each a mixture of k vectors of one bank."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Any, Self

import jax
import jax.numpy as jnp

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.nn import site
from itune_jax.peft.folders import codec
from itune_jax.peft import ranks
from itune_jax.peft import method as method_lib


class VbLoraAdapter(site.Adapter):
  """Logits over the bank's vectors: of A [R, in/length, V], of B [out/length, R, V]."""

  def __init__(self, spec: site.SiteSpec, key, method: "VbLora"):
    fan_in, fan_out = math.prod(spec.in_shape), math.prod(spec.out_shape)
    self.num_in, self.out_shape, self.top, self.owner = len(spec.in_shape), spec.out_shape, method.top, method.name
    k_a, k_b = jax.random.split(key)
    draw = lambda key, *shape: site.AdapterParam(
      0.1 * jax.random.normal(key, (*shape, method.vectors)), axes=(None,) * 3
    )
    self.logits_a = draw(k_a, method.rank, fan_in // method.length)
    self.logits_b = draw(k_b, fan_out // method.length, method.rank)

  def post(self, x, y, w, ctx):
    a, b = (m.astype(x.dtype) for m in self._factors(ctx.bank))
    lead = x.shape[: x.ndim - self.num_in]
    return y + (site.contract(x.reshape(*lead, -1), a, 1) @ b).reshape(*lead, *self.out_shape)

  def merge(self, w, bank):
    a, b = self._factors(bank)
    return w + (a @ b).reshape(w.shape)

  def _factors(self, bank):
    vectors = bank[f"{self.owner}_vectors"][...].astype(jnp.float32)

    def mixed(logits):
      values, places = jax.lax.top_k(logits[...].astype(jnp.float32), self.top)
      return jnp.einsum("abk,abkl->abl", jax.nn.softmax(values, axis=-1), vectors[places])

    a, b = mixed(self.logits_a), mixed(self.logits_b)
    return a.reshape(a.shape[0], -1).T, jnp.swapaxes(b, 0, 1).reshape(b.shape[1], -1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class VbLora(method_lib.SiteMethod, codec.BankCodec):
  """The method. The bank and the logits train. The model is another at first: mixtures of random vectors are not 0.

  rank: of the factors. vectors: in the bank. length: of each; it divides the inputs and outputs of every site. top:
  how many a piece mixes.
  """

  rank: int = 4
  vectors: int = 256
  length: int = 256
  top: int = 2
  sites: str = ranks.PROJECTIONS
  name: str = "vblora"
  shared_trains = ("vectors",)
  peft_type = "VBLORA"
  peft_names = ("vblora_logits_A", "vblora_logits_B")
  peft_roots = ("vblora_vector_bank",)

  def __post_init__(self):
    super().__post_init__()
    check.require(
      self.rank > 0 and self.length > 0 and 0 < self.top <= self.vectors,
      f"VbLora(rank={self.rank}, length={self.length}, top={self.top}, vectors={self.vectors}): all positive, and no "
      "more of them mixed than there are",
    )

  def shared(self, specs: Sequence[site.SiteSpec], key) -> dict[str, Any]:
    """The bank [V, length]."""
    return {"vectors": jax.random.uniform(key, (self.vectors, self.length), jnp.float32, -0.02, 0.02)}

  def make(self, spec: site.SiteSpec, key) -> VbLoraAdapter:
    """The adapter of one layer."""
    sides = math.prod(spec.in_shape), math.prod(spec.out_shape)
    check.require(
      all(n % self.length == 0 for n in sides), f"VbLora.length = {self.length} does not divide {sides} of {spec.name}"
    )
    return VbLoraAdapter(spec, key, self)

  def peft_write(self, part: codec.Part) -> codec.Arrays:
    """The logits as they are."""
    return {"vblora_logits_A": part.leaves["logits_a"], "vblora_logits_B": part.leaves["logits_b"]}

  def peft_bank(self, bank: codec.Arrays) -> codec.Arrays:
    """The vectors."""
    return {"vblora_vector_bank": bank["vectors"]}

  def peft_config(self, parts: Sequence[codec.Part]) -> dict[str, Any]:
    """All sizes."""
    return {
      "r": self.rank,
      "num_vectors": self.vectors,
      "vector_length": self.length,
      "topk": self.top,
      "save_only_topk_weights": False,
      "vblora_dropout": 0.0,
    }

  @classmethod
  def from_peft(cls, config: Mapping[str, Any], parts: Sequence[codec.Part]) -> Self:
    """The method of a folder."""
    return cls(
      rank=config["r"],
      vectors=config["num_vectors"],
      length=config["vector_length"],
      top=config["topk"],
      sites=codec.sites_of(parts),
    )

  def peft_read(self, part: codec.Part) -> codec.Arrays:
    """The logits as they are."""
    return {"logits_a": part.tensors["vblora_logits_A"], "logits_b": part.tensors["vblora_logits_B"]}

  def read_bank(self, roots: codec.Arrays) -> codec.Arrays:
    """The vectors."""
    if "vblora_vector_bank" not in roots:
      raise errors.InputError("the folder has no vblora_vector_bank")
    return {"vectors": roots["vblora_vector_bank"]}
