"""Combining LoRAs by their factors, A with A and B with B, as peft's `add_weighted_adapter` does.

Kept for results that were made with peft: (Σ B)(Σ A) holds cross terms of the adapters that no one asked for. The way
that means what it says is `arithmetic`.
"""

from collections.abc import Callable, Sequence
import dataclasses
import math
from typing import Any

import jax
import numpy as np

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.nn import skeleton
from itune_jax.peft import attach
from itune_jax.peft import inits
from itune_jax.peft.methods import lora


@dataclasses.dataclass(frozen=True, kw_only=True)
class Combine:
  """How factors of LoRAs become one, as peft does it.

  A and B are each weighted by √|w s|, and the sign goes to A.

  how: "linear", "ties" (trimmed tensor by tensor) or "magnitude_prune". weights: one of each adapter; () is one for
  all. density: the share of values that the last two keep.
  """

  how: str = "linear"
  weights: tuple[float, ...] = ()
  density: float = 0.2

  def __post_init__(self):
    check.check_types(self)
    check.require(self.how in WAYS, f"--how={self.how} --factors: factors are combined by {', '.join(WAYS)}")
    check.require(0 < self.density <= 1, f"density must be a share in (0, 1], not {self.density}")

  def __call__(self, adapters: Sequence[attach.Attached]) -> attach.Attached:
    """A LoRA with s = 1 at the sites of the first. Raises InputError where adapters are no LoRAs of one shape."""
    methods = [_plain_lora(attached) for attached in adapters]
    weights = self.weights or (1.0,) * len(adapters)
    if len(weights) != len(adapters):
      raise errors.InputError(f"{len(adapters)} adapters and {len(weights)} weights: give one weight each, or none")
    first = adapters[0]
    arrays = dict(first.params)
    for path, node in skeleton.sites(first.module).items():
      if methods[0].name not in node.adapters:
        continue
      stems = [f"{path}/adapters/{method.name}/" for method in methods]
      given = [_arrays(attached, stem) for attached, stem in zip(adapters, stems, strict=True)]
      for name, value in self._site(path, given, weights).items():
        arrays[stems[0] + name] = jax.device_put(value, first.params[stems[0] + name].sharding)
    return dataclasses.replace(first, params=arrays)

  def _site(self, path, factors, weights):
    masks = [arrays["rank_mask"] for arrays in factors]
    if any(mask.shape != masks[0].shape or (mask != masks[0]).any() for mask in masks):
      raise errors.InputError(f"{path}: the adapters' ranks differ, so their factors do not add: leave --factors out")
    combined = {name: np.zeros_like(factors[0][name]) for name in ("a", "b", "scale")}
    for at in np.ndindex(masks[0].shape[:-1]):
      R = int(masks[0][at].sum())
      if not R:
        continue
      sizes = [weight * float(arrays["scale"][at]) for weight, arrays in zip(weights, factors, strict=True)]
      cut = {"a": (*at, ..., slice(R)), "b": (*at, slice(R))}
      for name, signed in (("a", True), ("b", False)):
        w = np.array([math.sqrt(abs(s)) * (math.copysign(1, s) if signed else 1) for s in sizes], np.float32)
        combined[name][cut[name]] = WAYS[self.how](
          np.stack([arrays[name][cut[name]] for arrays in factors]), w, self.density
        )
      combined["scale"][at] = 1
    return combined


def _plain_lora(attached: attach.Attached) -> lora.Lora:
  methods = attached.methods
  method: Any = methods[0] if len(methods) == 1 else None
  if not isinstance(method, lora.Lora) or method.dora or method.lora_bias or method.init in inits.SUBTRACTED:
    kinds = ", ".join(type(m).__name__ for m in methods)
    raise errors.InputError(f"only plain LoRAs have factors to combine, this is {kinds}: leave --factors out")
  return method


def _arrays(attached, stem) -> dict[str, np.ndarray]:
  names = ("a", "b", "scale", "rank_mask")
  if f"{stem}a" not in attached.params:
    raise errors.InputError(f"an adapter has nothing at {stem.split('/adapters/')[0]}: leave --factors out")
  return {name: np.array(attached.params[stem + name], np.float32) for name in names}


def _linear(stack, weights, density):
  return np.tensordot(weights, stack, 1)


def _kept(stack, density):
  """The largest of each tensor's values."""
  flat = np.abs(stack.reshape(len(stack), -1))
  keep = int(density * flat.shape[1])
  kept = np.zeros_like(flat)
  for row, sizes, values in zip(kept, flat, stack.reshape(len(stack), -1), strict=True):
    best = np.argsort(-sizes, kind="stable")[:keep]
    row[best] = values[best]
  return kept.reshape(stack.shape)


def _prune(stack, weights, density):
  return _linear(_kept(stack, density), weights, density)


def _ties(stack, weights, density):
  stack = _kept(stack, density)
  agree = np.sign(stack) == np.where(stack.sum(0) >= 0, 1, -1)
  weighted = stack * weights.reshape(-1, *[1] * (stack.ndim - 1))
  return (weighted * agree).sum(0) / np.maximum(agree.sum(0), 1)


WAYS: dict[str, Callable[..., np.ndarray]] = {"linear": _linear, "ties": _ties, "magnitude_prune": _prune}
