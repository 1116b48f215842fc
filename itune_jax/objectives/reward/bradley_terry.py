"""The reward of pairs (Bradley & Terry 1952): the answer that is preferred has the higher score."""

from collections.abc import Mapping
import dataclasses
from typing import Any

import jax.numpy as jnp

from itune_jax.core import batch as batch_lib
from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import ranges
from itune_jax.objectives import groups
from itune_jax.objectives.preference import pairs as pairs_lib
from itune_jax.objectives.reward import scores as scores_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class BradleyTerry(scores_lib.Scoring):
  """-log σ(s_chosen - s_rejected - margin · m) + centre · (s_chosen + s_rejected)², s the score at an answer's end.

  margin: this times the column `margin` is what a pair's scores must differ by (Llama 2, Touvron et al. 2023); 0 reads
  no column. centre: holds the scores around 0 (Eisenstein et al. 2023), such as 0.01. label_smoothing: share of labels
  that are taken to be wrong. check_start: a run that starts with a new head begins with scores of 0, and ends at its
  first step where it does not. chunk: positions projected onto the head at a time, by each shard of the batch; 0 for
  the default.
  """

  margin: ranges.NonNegativeFloat = 0.0
  centre: float = 0.0
  label_smoothing: float = 0.0
  check_start: bool = False

  def __post_init__(self):
    super().__post_init__()
    check.require(self.centre >= 0, f"BradleyTerry.centre must be 0 or more, not {self.centre}")
    smoothing = self.label_smoothing
    check.require(0 <= smoothing < 0.5, f"BradleyTerry.label_smoothing must be 0 or more, below 0.5, not {smoothing}")

  @property
  def columns(self) -> tuple[batch_lib.Column, ...]:
    """The side of each answer, where it ends, and the margin where it counts."""
    more = (pairs_lib.MARGIN,) if self.margin else ()
    return (pairs_lib.SIDE, *more, scores_lib.END)

  @property
  def starts_at(self) -> Mapping[str, float]:
    """Scores are 0 where the head is new."""
    return {"rewards/size": 0.0} if self.check_start else {}

  def __call__(self, views: Mapping[str, contracts.View], batch: batch_lib.Batch, key: Any) -> contracts.Sums:
    """Sums over one micro-batch."""
    pairs = pairs_lib.of(batch, self.scores(views["policy"], batch, key))
    z = pairs.chosen - pairs.rejected
    if self.margin:
      chosen_BT, _ = pairs_lib.sides(batch)
      z -= self.margin * groups.sums(chosen_BT * batch.columns["margin"], batch.groups_BT)
    loss = pairs_lib.log_sigmoid_smoothed(z, self.label_smoothing)
    loss += self.centre * (pairs.chosen + pairs.rejected) ** 2
    count = pairs.is_pair.sum().astype(z.dtype)
    return contracts.Sums(jnp.sum(jnp.where(pairs.is_pair, loss, 0)), count, self._figures(pairs))

  def _figures(self, pairs: pairs_lib.Pairs) -> dict[str, tuple[Any, Any]]:
    found = pairs_lib.figures(pairs, (pairs.chosen, pairs.rejected))
    return {name: value for name, value in found.items() if name.startswith("rewards/")}
