"""Projections from a student's states to a teacher's: they train beside the model, whose function does not read them.

What a hint needs (FitNets, Romero et al. 2015; TinyBERT, Jiao et al. 2020): `distill.states.States` reads them. They
are in checkpoints, so that a run goes on, and in no export.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from itune_jax.core import check
from itune_jax.core import ranges
from itune_jax.core import rng
from itune_jax.peft import method


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regressor(method.Method):
  """One projection [student's width, teacher's width] for each pair of layers that is compared.

  width: of the teacher. pairs: how many pairs of layers are compared. seed: of the random start.
  """

  name: str = "regressor"
  width: int
  pairs: int = 1
  seed: ranges.Seed = 0

  def __post_init__(self):
    super().__post_init__()
    check.require(self.width > 0 and self.pairs > 0, "Regressor.width and Regressor.pairs count something: above 0")

  def beside(self, width: int) -> dict[str, Any]:
    """`w` [pairs, student's width, teacher's width], which keeps the size of what it projects."""
    key = rng.named(rng.root(self.seed), "regressor")
    return {"w": jax.random.normal(key, (self.pairs, width, self.width), jnp.float32) * width**-0.5}
