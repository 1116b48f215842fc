"""AdaLoRA (Zhang et al. 2023): ΔW = s/r · B diag(λ) A, whose λ are set to zero where they matter least.

The budget of what stays falls by a cubic schedule. Which λ go is a matter of the optimizer's state, not the model's: a
transformation around the optimizer keeps smoothed importances and writes the zeros, all shapes stay as they are.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax

from itune_jax.core import check
from itune_jax.core import numerics
from itune_jax.core import ranges
from itune_jax.nn import site
from itune_jax.peft.folders import codec
from itune_jax.peft import ranks
from itune_jax.peft import method as method_lib

_SMALL = 1e-5  # peft's guard of the division by the rank


class AdaLoraAdapter(site.Adapter):
  """Factors a [*in, R] and b [R, *out], and λ `e` [R]."""

  def __init__(self, spec: site.SiteSpec, key, scale: float, rank: int):
    k_a, k_b = jax.random.split(key)
    draw = lambda key, shape: 0.02 * jax.random.normal(key, shape)
    self.a = site.AdapterParam(draw(k_a, (*spec.in_shape, rank)), axes=(*spec.in_axes, "rank"))
    self.b = site.AdapterParam(draw(k_b, (rank, *spec.out_shape)), axes=("rank", *spec.out_axes))
    self.e = site.AdapterParam(jnp.zeros((rank,)), axes=("rank",))
    self.scale = site.AdapterParam(jnp.float32(scale), axes=(), trainable=False)
    self.num_in = len(spec.in_shape)

  def post(self, x, y, w, ctx):
    u = site.contract(x, self.a[...].astype(x.dtype), self.num_in)
    u *= numerics.align((self.scale[...] * self.e[...]).astype(x.dtype), u)
    return y + site.contract(u, self.b[...].astype(x.dtype), 1)

  def merge(self, w, bank):
    a = self.a[...] * numerics.align(self.scale[...] * self.e[...], self.a[...])
    return w + site.contract(a, self.b[...], 1)


class Allocation(NamedTuple):
  """State of the transformation: smoothed importance and uncertainty of every value, and the optimizer's own."""

  importance: dict[str, Any]
  uncertainty: dict[str, Any]
  step: Any
  inner: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaLora(method_lib.SiteMethod, method_lib.Penalised, codec.ModuleCodec):
  """The method: from `rank` a site to `target` on average.

  warmup, final: steps with the whole and with the final budget. every: steps between two allocations. orthogonal:
  weight of the mean ‖P Pᵀ - I‖ of all factors, which the loss that is reported does not contain.

  rank: of every site at first. target: the rank that is left on average. alpha: what is added is scaled by alpha /
  rank. beta1, beta2: decay of the averages of a value's sensitivity and of its uncertainty.
  """

  rank: int = 12
  target: int = 8
  alpha: ranges.PositiveFloat = 8.0
  warmup: int = 0
  final: int = 0
  every: int = 1
  beta1: ranges.Decay = 0.85
  beta2: ranges.Decay = 0.85
  orthogonal: ranges.NonNegativeFloat = 0.5
  sites: str = ranks.PROJECTIONS
  name: str = "adalora"
  peft_type = "ADALORA"
  peft_names = ("lora_A", "lora_B", "lora_E")

  def __post_init__(self):
    super().__post_init__()
    check.require(0 < self.target <= self.rank, f"AdaLora(rank={self.rank}, target={self.target}): 0 < target <= rank")
    check.require(
      min(self.warmup, self.final) >= 0 and self.every > 0, "AdaLora: warmup and final are at least 0, every at least 1"
    )

  @property
  def scale(self) -> float:
    """α over the rank at first."""
    return self.alpha / (self.rank + _SMALL)

  def make(self, spec: site.SiteSpec, key) -> AdaLoraAdapter:
    """The adapter of one layer; λ are zero, so the model is unchanged at first."""
    return AdaLoraAdapter(spec, key, self.scale, self.rank)

  def penalty(self, trainable: Mapping[str, Any]) -> Any:
    """The weighted mean ‖P Pᵀ - I‖ (Frobenius) over all factors of all layers."""
    lengths = []
    for name in self._mine(trainable, "a") + self._mine(trainable, "b"):
      p = self._rows(trainable[name], trainable[name[:-1] + "e"], name[-1])
      gram = jnp.einsum("lrn,lsn->lrs", p, p) - jnp.eye(p.shape[1])[None]
      lengths.append(jnp.sqrt(jnp.sum(jnp.square(gram), axis=(1, 2))))
    return self.orthogonal * jnp.mean(jnp.concatenate(lengths))

  def transform(self, inner: optax.GradientTransformation, steps: int) -> optax.GradientTransformation:
    """The optimizer, with λ set to zero after its updates. Raises InputError without a step to lower the budget in."""
    check.require(
      self.warmup + self.final < steps,
      f"AdaLora(warmup={self.warmup}, final={self.final}) leaves no step of {steps} to lower the budget in",
    )
    ours = lambda params: {n: params[n] for leaf in "abe" for n in self._mine(params, leaf)}

    def init(params):
      zeros = lambda: jax.tree.map(jnp.zeros_like, ours(params))
      return Allocation(zeros(), zeros(), jnp.zeros((), jnp.int32), inner.init(params))

    def update(updates: Any, state: Any, params: Any = None):
      grads = updates
      updates, after = inner.update(grads, state.inner, params)
      new: Any = optax.apply_updates(ours(params), ours(updates))
      step = state.step + 1
      sensitivity = {n: jnp.abs(p * grads[n]) for n, p in new.items()}
      mean = jax.tree.map(lambda m, s: self.beta1 * m + (1 - self.beta1) * s, state.importance, sensitivity)
      spread = jax.tree.map(
        lambda u, s, m: self.beta2 * u + (1 - self.beta2) * jnp.abs(s - m), state.uncertainty, sensitivity, mean
      )
      counts = step < steps - self.final
      hold = lambda new, old: jax.tree.map(lambda n, o: jnp.where(counts, n, o), new, old)
      mean, spread = hold(mean, state.importance), hold(spread, state.uncertainty)
      keep = self._kept(jax.tree.map(jnp.multiply, mean, spread), step, steps)
      # An update of minus the parameter itself is zero exactly.
      cut = {n: jnp.where(k, updates[n], -params[n]) for n, k in keep.items()}
      return {**updates, **cut}, Allocation(mean, spread, step, after)

    return optax.GradientTransformation(init, update)

  def _kept(self, score: Mapping[str, Any], step, steps: int) -> dict[str, Any]:
    """Which λ stay, by the paths of `e`: all where the schedule does not cut at this step."""
    triplets = {}
    for name in self._mine(score, "e"):
      of = lambda leaf, name=name: jnp.mean(self._rows(score[name[:-1] + leaf], score[name], leaf), axis=-1)
      triplets[name] = score[name] + (of("a") + of("b")).reshape(score[name].shape)
    everything = jnp.sort(jnp.concatenate([t.reshape(-1) for t in triplets.values()]))
    total = everything.shape[0]
    goal = total // self.rank * self.target
    left = 1 - (step - self.warmup) / (steps - self.final - self.warmup)
    last = step > steps - self.final
    budget = jnp.where(last, goal, ((total - goal) * left**3 + goal).astype(jnp.int32))
    cuts = (step > self.warmup) & (last | (step % self.every == 0)) & (budget < total)
    threshold = everything[jnp.clip(total - budget - 1, 0, total - 1)]
    return {name: ~cuts | (t > threshold) for name, t in triplets.items()}

  def _mine(self, params: Mapping[str, Any], leaf: str) -> list[str]:
    ends = (f"/adapters/{self.name}/{leaf}", f"/adapters/{self.name}/inner/{leaf}")
    return sorted(name for name in params if name.endswith(ends))

  def _rows(self, factor, e, leaf: str):
    """A stacked factor as [L, R, n]: L layers, R directions of n values."""
    layers = e.size // self.rank
    if leaf == "a":
      return jnp.swapaxes(factor.reshape(layers, -1, self.rank), 1, 2)
    return factor.reshape(layers, self.rank, -1)

  def peft_write(self, part: codec.Part) -> codec.Arrays:
    """peft's λ are [r, 1]."""
    leaves = part.leaves
    return {"lora_A": codec.down(leaves["a"]), "lora_B": codec.up(leaves["b"]), "lora_E": leaves["e"][:, None]}

  def peft_config(self, parts: Sequence[codec.Part]) -> dict[str, Any]:
    """Ranks and schedule; all directions are written, those of no use with λ = 0."""
    return {
      "r": self.rank,
      "init_r": self.rank,
      "target_r": self.target,
      "lora_alpha": codec.whole(self.alpha),
      "total_step": self.warmup + self.final + 1,
      "tinit": self.warmup,
      "tfinal": self.final,
      "deltaT": self.every,
      "beta1": self.beta1,
      "beta2": self.beta2,
      "orth_reg_weight": self.orthogonal,
      "rank_pattern": None,
    }

  @classmethod
  def from_peft(cls, config: Mapping[str, Any], parts: Sequence[codec.Part]) -> Self:
    """The method of a folder; modules from which peft cut directions are filled up with zeros."""
    rank = max(part.tensors["lora_A"].shape[0] for part in parts)
    return cls(
      rank=rank, target=min(config["target_r"], rank), alpha=float(config["lora_alpha"]), sites=codec.sites_of(parts)
    )

  def peft_read(self, part: codec.Part) -> codec.Arrays:
    """In our shapes."""
    a, b = codec.from_down(part.tensors["lora_A"], part), codec.from_up(part.tensors["lora_B"], part)
    scale = np.array(self.alpha / (a.shape[-1] + _SMALL), np.float32)
    return {"a": a, "b": b, "e": part.tensors["lora_E"][:, 0], "scale": scale}
