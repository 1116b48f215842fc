"""Arithmetic of adapters, on what they do to the weights (ΔW), never on their factors, whose cross terms would count.

An update is a dictionary of ΔW by parameter path, float32. Several become one by `combine`; one becomes a LoRA of a
stated rank by `factorise`, which says how much of it is lost.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from itune_jax.core import axes as axes_lib
from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import ranges
from itune_jax.core import rng
from itune_jax.nn import skeleton
from itune_jax.peft import attach
from itune_jax.peft.methods import lora

Update = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Combine:
  """How several updates become one, with a weight each (all one unless given).

  how: "linear" (task arithmetic, Ilharco et al. 2023: Σ w τ), "soup" (their weighted mean, Wortsman et al. 2022),
  "ties" (Yadav et al. 2023), "dare" and "dare_ties" (Yu et al. 2024), "slerp" (two updates, by the second's share of
  the weights). density: the share of values that ties keeps, or that dare does not drop. scale: λ of the result.

  weights: one of each update; () is one for all. seed: of what dare drops.
  """

  how: str = "linear"
  weights: tuple[float, ...] = ()
  density: float = 0.2
  scale: float = 1.0
  seed: ranges.Seed = 0

  def __post_init__(self):
    check.check_types(self)
    check.require(self.how in WAYS, f"Combine.how must be one of {', '.join(WAYS)}, not {self.how!r}")
    check.require(0 < self.density <= 1, f"Combine.density must be a share in (0, 1], not {self.density}")

  def __call__(self, updates: Sequence[Update]) -> Update:
    """One update. Raises InputError when weights and updates do not pair."""
    weights = self.weights or (1.0,) * len(updates)
    if len(weights) != len(updates):
      raise errors.InputError(f"{len(updates)} adapters and {len(weights)} weights: give one weight each, or none")
    names = sorted({name for update in updates for name in update})
    shape = {name: update[name].shape for update in updates for name in update}
    full = [{n: update.get(n, np.zeros(shape[n], np.float32)) for n in names} for update in updates]
    total = WAYS[self.how](full, np.asarray(weights, np.float32), self)
    return {name: np.float32(self.scale) * value for name, value in total.items()}


def _linear(updates, weights, how) -> Update:
  return {n: np.tensordot(weights, np.stack([u[n] for u in updates]), 1) for n in updates[0]}


def _soup(updates, weights, how) -> Update:
  return _linear(updates, weights / weights.sum(), how)


def _ties(updates, weights, how) -> Update:
  """Trim over the whole model, elect a sign, and the mean of those that agree (the authors' way, not tensor by
  tensor)."""
  trimmed = [_trimmed(update, how.density) for update in updates]
  total = {}
  for name in updates[0]:
    stack = np.stack([update[name] for update in trimmed])
    sign = np.sign(stack.sum(0))
    agree = (np.sign(stack) == sign) & (stack != 0)
    w = weights.reshape(-1, *[1] * (stack.ndim - 1)) * agree
    total[name] = ((stack * w).sum(0) / np.maximum(np.abs(w).sum(0), 1e-12)).astype(np.float32)
  return total


def _trimmed(update: Update, density: float) -> Update:
  sizes = np.concatenate([np.abs(value).reshape(-1) for value in update.values()])
  keep = math.ceil(density * sizes.size)
  least = np.partition(sizes, sizes.size - keep)[sizes.size - keep]
  return {name: np.where(np.abs(value) >= least, value, 0) for name, value in update.items()}


def _dropped(updates, how) -> list[Update]:
  """A random share of every update, made larger by what was dropped."""
  kept = []
  for i, update in enumerate(updates):
    draw = lambda name, i=i: np.random.default_rng(rng.stream(f"{how.seed}/{i}/{name}"))
    keep = {name: draw(name).random(value.shape, np.float32) < how.density for name, value in update.items()}
    kept.append({name: np.where(keep[name], value / np.float32(how.density), 0) for name, value in update.items()})
  return kept


def _dare(updates, weights, how) -> Update:
  return _linear(_dropped(updates, how), weights, how)


def _dare_ties(updates, weights, how) -> Update:
  return _ties(_dropped(updates, how), weights, dataclasses.replace(how, density=1.0))


def _slerp(updates, weights, how) -> Update:
  """Along the arc between two updates, tensor by tensor; along the line where they are parallel."""
  if len(updates) != 2:
    raise errors.InputError(f"slerp joins two adapters; there are {len(updates)}")
  total_weight = float(weights.sum())
  if abs(total_weight) < 1e-6:
    raise errors.InputError(f"slerp goes a share of the way by its weights, which sum to zero: {weights.tolist()}")
  share = float(weights[1]) / total_weight
  total = {}
  for name, a in updates[0].items():
    b = updates[1][name]
    lengths = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    cos = float(np.clip(np.vdot(a, b) / lengths, -1, 1)) if lengths else 1.0
    angle = math.acos(cos)
    if math.sin(angle) < 1e-6:
      total[name] = (1 - share) * a + share * b
    else:
      total[name] = (math.sin((1 - share) * angle) * a + math.sin(share * angle) * b) / math.sin(angle)
  return total


WAYS: dict[str, Callable[..., Update]] = {
  "linear": _linear,
  "soup": _soup,
  "ties": _ties,
  "dare": _dare,
  "dare_ties": _dare_ties,
  "slerp": _slerp,
}


def update_of(attached: attach.Attached, base: Mapping[str, Any]) -> Update:
  """What an adapter does to the weights of its base. Raises InputError, by name, when it is not linear in its input.

  Where it adds the same to any weights, that is what it makes of zeros: W' - W would lose a small update in rounding.
  """
  merged = attach.merge(attached)
  changed = [name for name, value in merged.items() if value is not base[name]]
  blank = {name: jnp.zeros_like(base[name]) for name in changed}
  alone = attach.merge(dataclasses.replace(attached, params={**attached.params, **blank}))
  update = {}
  for name in changed:
    new, old, added = (np.asarray(x[name], np.float32) for x in (merged, base, alone))
    same = np.abs(new - (old + added)) <= 1e-6 * (np.abs(old) + np.abs(added)) + 1e-12
    update[name] = added if same.all() else new - old
  return update


def factorise(
  module, params: Mapping[str, Any], update: Update, rank: int, *, mesh, rules: axes_lib.Rules = axes_lib.DEFAULT_RULES
) -> tuple[attach.Attached, float]:
  """The base with a LoRA of this rank (less where a matrix is smaller) that comes nearest to an update, by SVD.

  Returns (attached, residual): the share of the update's length (Frobenius, over all matrices) that is lost.

  Raises:
    InputError naming a parameter that changes and is no projection's kernel.
  """
  sites = skeleton.sites(module)
  other = [n for n in update if not n.endswith("/kernel") or n.removesuffix("/kernel") not in sites]
  if other:
    raise errors.InputError(f"{other[0]} changes, and LoRA holds projections only: merge into a whole model instead")
  stacks, ranks = module.cfg.stacks, {}
  for name in update:
    node = sites[name.removesuffix("/kernel")]
    limit = min(math.prod(node.core_shape[: node.num_in]), math.prod(node.core_shape[node.num_in :]))
    ranks |= dict.fromkeys(skeleton.expanded(name.removesuffix("/kernel"), stacks), min(rank, limit))
  method = lora.Lora(
    rank=rank,
    alpha=float(rank),
    sites="|".join(map(re.escape, sorted(ranks))),
    rank_pattern={re.escape(name): r for name, r in ranks.items() if r < rank},
    alpha_pattern={re.escape(name): float(r) for name, r in ranks.items() if r < rank},
  )
  attached = attach.attach(module, params, (method,), rng.root(0), mesh=mesh, rules=rules)
  arrays, lost, all_of_it = dict(attached.params), 0.0, 0.0
  for name, delta in update.items():
    stem = f"{name.removesuffix('/kernel')}/adapters/{method.name}"
    like = (attached.params[f"{stem}/a"], attached.params[f"{stem}/b"])
    node = sites[name.removesuffix("/kernel")]
    (a, b), missing = _nearest(delta, node.num_in, delta.ndim - len(node.core_shape), like)
    lost, all_of_it = lost + missing, all_of_it + float(np.sum(np.square(delta, dtype=np.float64)))
    arrays[f"{stem}/a"], arrays[f"{stem}/b"] = (
      jax.device_put(x, y.sharding) for x, y in zip((a, b), like, strict=True)
    )
  return dataclasses.replace(attached, params=arrays), math.sqrt(lost / max(all_of_it, 1e-30))


def _nearest(delta, num_in: int, lead: int, like):
  """Factors shaped as `like` of the largest singular values of stacked matrices, and the squares of the others."""
  fan_in, fan_out = math.prod(delta.shape[lead : lead + num_in]), math.prod(delta.shape[lead + num_in :])
  u, s, v = map(np.asarray, jnp.linalg.svd(delta.reshape(-1, fan_in, fan_out), full_matrices=False))
  r = like[0].shape[-1]
  root = np.sqrt(s[:, :r])
  a, b = u[:, :, :r] * root[:, None], root[:, :, None] * v[:, :r]
  return (a.reshape(like[0].shape), b.reshape(like[1].shape)), float(np.sum(np.square(s[:, r:], dtype=np.float64)))
