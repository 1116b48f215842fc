"""RDS+: rows whose hidden states are near those of the task (Ivison et al. 2025, arXiv 2503.01807).

As `compute_influence_cosinesim.py` and `get_top_influences.py` have it: final hidden states, weighed by place
((i + 1) / Σ), cosines with each row of the task, and round robin: each row of the task in turn takes the nearest row
that no other has taken. What is chosen first has the highest score.
"""

from collections.abc import Sequence
import dataclasses
from typing import ClassVar, Literal

import numpy as np

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.select import select_protocol
from itune_jax.select.scores import asked as asked_lib
from itune_jax.select.scores import pooled_states


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rds(select_protocol.Score):
  """Nearness to the rows of --targets.

  over: how cosines with the rows of the task become one number: the place in the round robin, as a share (the first
  taken has 1), the largest cosine, or the mean. by: how the states of a row become one vector. name: under which rows
  bear it.
  """

  needs: ClassVar[Literal["nothing", "model"]] = "model"
  apart: ClassVar[bool] = False
  over: Literal["round_robin", "max", "mean"] = "round_robin"
  by: asked_lib.By = "weighted_mean"
  name: str = "rds"

  def __post_init__(self):
    check.check_types(self)

  def score(self, rows: Sequence[select_protocol.Row], ask: select_protocol.Ask | None) -> np.ndarray:
    """Scores [N]; NaN for a row that does not render or fit. Raises InputError without targets."""
    model = asked_lib.of(ask)
    wanted, _ = pooled_states.of(model, asked_lib.targets(model, self.name), self.by, f"{self.name}: targets")
    check.require(len(wanted), f"score {self.name}: no row of --targets renders")
    states, at = pooled_states.of(model, rows, self.by, self.name)
    if not len(at):
      raise errors.InputError(f"score {self.name}: no row renders")
    cosines = states @ wanted.T
    values = np.full(len(rows), np.nan)
    if self.over == "round_robin":
      values[at[round_robin(cosines)]] = 1 - np.arange(len(at)) / len(at)
    else:
      values[at] = cosines.max(axis=1) if self.over == "max" else cosines.mean(axis=1, dtype=np.float64)
    return values


def round_robin(similarities: np.ndarray) -> np.ndarray:
  """All N rows in the order in which M targets take them in turn, from similarities [N, M]; equals by their number."""
  order = np.argsort(-similarities, axis=0, kind="stable").T
  taken, at, found = np.zeros(len(similarities), bool), [0] * len(order), []
  while len(found) < len(similarities):
    for m, own in enumerate(order):
      while at[m] < len(own) and taken[own[at[m]]]:
        at[m] += 1
      if at[m] < len(own):
        taken[own[at[m]]] = True
        found.append(int(own[at[m]]))
  return np.asarray(found, np.int64)
