"""DeLoRA (Bini et al. 2025): ΔW = B diag(λ / (r ‖a_i‖ ‖b_i‖)) A diag(‖W‖ by input): a bound on the update's length."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, Self

import jax.numpy as jnp

from itune_jax.core import numerics
from itune_jax.core import ranges
from itune_jax.nn import site
from itune_jax.peft.folders import codec
from itune_jax.peft import ranks
from itune_jax.peft import weight

_LEAST = 1e-4  # of a direction's length


class DeloraAdapter(site.Adapter):
  """Factors a [*in, R], b [R, *out], the bound λ [1], and W's lengths by input [*in], which are those of the start."""

  def __init__(self, spec: site.SiteSpec, key, w, bound: float, rank_mask):
    R, self.num_in, self.in_shape = rank_mask.shape[-1], len(spec.in_shape), spec.in_shape
    w = w.astype(jnp.float32)
    self.a = site.AdapterParam(weight.uniform(key, (*spec.in_shape, R), w[..., 0].size), axes=(*spec.in_axes, "rank"))
    self.b = site.AdapterParam(jnp.zeros((R, *spec.out_shape)), axes=("rank", *spec.out_axes))
    self.bound = site.AdapterParam(jnp.full((1,), bound), axes=(None,))
    norm = jnp.sqrt(jnp.sum(jnp.square(w), axis=tuple(range(self.num_in, w.ndim))))
    self.w_norm = site.AdapterParam(norm, axes=spec.in_axes, trainable=False, saved=True)
    self.rank_mask = site.AdapterParam(jnp.asarray(rank_mask, jnp.float32), axes=("rank",), trainable=False)

  def post(self, x, y, w, ctx):
    a, scale = self._scaled()
    u = site.contract(x, a.astype(x.dtype), self.num_in)
    return y + site.contract(u * numerics.align(scale.astype(x.dtype), u), self.b[...].astype(x.dtype), 1)

  def merge(self, w, bank):
    a, scale = self._scaled()
    return w + site.contract(a * numerics.align(scale, a), self.b[...].astype(jnp.float32), 1)

  def _scaled(self):
    """A times the lengths of W, and the factor of every rank [R]."""
    a, b = self.a[...].astype(jnp.float32), self.b[...].astype(jnp.float32)
    R, mask = a.shape[-1], self.rank_mask[...]
    # Masked ranks are zero, and the root has no slope there: give it a length that does not matter.
    length = lambda v: jnp.maximum(jnp.sqrt(jnp.maximum(jnp.sum(jnp.square(v), axis=0), _LEAST**2)), _LEAST)
    lengths = length(a.reshape(-1, R)) * length(b.reshape(R, -1).T)
    scale = mask * self.bound[...] / (jnp.maximum(jnp.sum(mask), 1) * lengths)
    return a * self.w_norm[...][..., None], scale


@dataclasses.dataclass(frozen=True, kw_only=True)
class Delora(ranks.Ranks, codec.ModuleCodec):
  """The method. bound: λ at first. peft's default is 15, with which the first step, whose length does not depend on the
  learning rate, broke the model of docs/results.md."""

  bound: ranges.PositiveFloat = 1.0
  name: str = "delora"
  peft_type = "DELORA"
  peft_names = ("delora_A", "delora_B", "delora_lambda", "delora_w_norm")

  @property
  def needs_weight(self) -> bool:
    """W's lengths by input are part of it."""
    return True

  def make(self, spec: site.SiteSpec, key, *, rank_mask, w) -> DeloraAdapter:
    """The adapter of one layer; b is zero, so the model is unchanged at first."""
    return DeloraAdapter(spec, key, w, self.bound, rank_mask)

  def peft_write(self, part: codec.Part) -> codec.Arrays:
    """Factors, the bound, and the lengths."""
    leaves = part.leaves
    return {
      "delora_A": codec.down(leaves["a"]),
      "delora_B": codec.up(leaves["b"]),
      "delora_lambda": leaves["bound"],
      "delora_w_norm": leaves["w_norm"].reshape(-1),
    }

  def peft_config(self, parts: Sequence[codec.Part]) -> dict[str, Any]:
    """Ranks, and the bound at first."""
    return self.peft_ranks(parts) | {"delora_lambda": self.bound, "module_dropout": 0.0}

  @classmethod
  def from_peft(cls, config: Mapping[str, Any], parts: Sequence[codec.Part]) -> Self:
    """The method of a folder."""
    ranks_of = {part.module: part.tensors["delora_A"].shape[0] for part in parts}
    return cls.of_ranks(parts, ranks_of, bound=float(config.get("delora_lambda", 15.0)))

  def peft_read(self, part: codec.Part) -> codec.Arrays:
    """In our shapes."""
    leaves = {
      "a": codec.from_down(part.tensors["delora_A"], part),
      "b": codec.from_up(part.tensors["delora_B"], part),
      "bound": part.tensors["delora_lambda"],
      "w_norm": codec.shaped(part.tensors["delora_w_norm"], part.spec.in_shape, part),
    }
    return leaves | self.ranked(part.name)
