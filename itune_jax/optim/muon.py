"""Muon (Jordan et al. 2024): the momentum of a matrix made orthogonal; all that is no matrix goes by AdamW."""

from collections.abc import Hashable
import dataclasses
import math

import jax
import optax
import optax.contrib

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.optim import adamw


@dataclasses.dataclass(frozen=True, kw_only=True)
class Muon(adamw.AdamW):
  """Optax's Muon for the matrices that match `pattern`, in every layer and expert by itself; AdamW for the others.

  A step of a matrix [in, out] is `rms` · √max(in, out) times an orthogonal one, so that it is as large as AdamW's and
  the same rate serves both (Liu et al. 2025). Tables, heads and the matrices of adapters go by AdamW.

  momentum: decay of the momentum. iterations: of Newton and Schulz. rms: root mean square of a step at a rate of one.
  pattern: a regex over the paths of the matrices.
  """

  momentum: float = 0.95
  iterations: int = 5
  rms: float = 0.2
  pattern: str = r".*/(attn|cross|mlp|experts?)/.*"

  def __post_init__(self):
    super().__post_init__()
    check.require(0 <= self.momentum < 1, f"Muon.momentum must be 0 or more, below 1, not {self.momentum}")
    check.require(self.iterations > 0 and self.rms > 0, f"Muon(iterations={self.iterations}, rms={self.rms}): above 0")
    check.regex(self.pattern, "Muon.pattern")

  def kind(self, name: str, leaf: contracts.Leaf | None) -> Hashable:
    return leaf if leaf and leaf.num_in and adamw.matches(self.pattern, name) else None

  def direction(self, kind, group):
    if not isinstance(kind, contracts.Leaf):
      return super().direction(kind, group)
    fan_in = tuple(range(kind.lead, kind.lead + kind.num_in))
    numbers = lambda p: optax.contrib.MuonDimensionNumbers(fan_in, tuple(range(fan_in[-1] + 1, p.ndim)))
    orthogonal = optax.contrib.scale_by_muon(
      ns_steps=self.iterations,
      beta=self.momentum,
      weight_dimension_numbers=lambda params: jax.tree.map(numbers, params),
    )
    return optax.chain(orthogonal, _sized(kind, self.rms), optax.add_decayed_weights(group.weight_decay))


def _sized(leaf: contracts.Leaf, rms: float) -> optax.GradientTransformation:
  def scaled(u):
    core = u.shape[leaf.lead :]
    return u * (rms * math.sqrt(max(math.prod(core[: leaf.num_in]), math.prod(core[leaf.num_in :]))))

  return optax.stateless(lambda updates, params: jax.tree.map(scaled, updates))
