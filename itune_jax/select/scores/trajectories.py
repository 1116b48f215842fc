"""How the loss of a row's answers goes over the checkpoints of a training.

S2L (Yang et al., NeurIPS 2024, arXiv 2403.07384) records it for a small model and takes rows evenly from clusters of
trajectories: `diversity.strata.Strata` over `diversity.features.Trajectories` does. Here it becomes one number.
"""

from collections.abc import Sequence
import dataclasses
from typing import ClassVar, Literal

import numpy as np

from itune_jax.core import check
from itune_jax.select import select_protocol
from itune_jax.select.scores import asked as asked_lib
from itune_jax.select.scores import nats as nats_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trajectory(select_protocol.Score):
  """A figure of a row's mean nats over models, first to last.

  models: bases, adapters or checkpoints, in the order of the training. figure: by how much the loss fell from first to
  last; its mean; or its standard deviation. name: under which rows bear it.
  """

  needs: ClassVar[Literal["nothing", "model"]] = "model"
  models: tuple[str, ...] = ()
  figure: Literal["fall", "mean", "deviation"] = "fall"
  name: str = "trajectory"

  def __post_init__(self):
    check.check_types(self)

  def score(self, rows: Sequence[select_protocol.Row], ask: select_protocol.Ask | None) -> np.ndarray:
    """The figure [N]; NaN for a row without an answer that fits. Raises InputError for fewer than two models."""
    check.require(len(self.models) >= 2, "Trajectory.models names two models or more, in the order of the training")
    losses = trajectories(asked_lib.of(ask), rows, self.models, self.name)
    if self.figure == "fall":
      return losses[:, 0] - losses[:, -1]
    return losses.mean(axis=1) if self.figure == "mean" else losses.std(axis=1)


def trajectories(
  ask: asked_lib.Asked, rows: Sequence[select_protocol.Row], models: Sequence[str], what: str
) -> np.ndarray:
  """Mean nats [N, models] of the rows' answers behind their prompts."""
  found = [nats_lib.given(ask.other(model), rows, f"{what}: {model}") for model in models]
  return np.stack([one.given / one.tokens for one in found], axis=1)
