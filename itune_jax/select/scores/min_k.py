"""Min-K%++: how likely it is that a model has seen a text (Zhang et al., ICLR 2025, arXiv 2404.02936, `run.py`).

Each token's log p is put beside what the model expected in its place, z = (log p − μ) / σ with μ and σ over the
vocabulary under p itself. The score is the mean of the lowest k % of z: the higher, the likelier seen.
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
class MinK(select_protocol.Score):
  """Min-K%++ of the answers of a row. Low is wanted: what the model has not seen.

  k: the share of tokens that count, in percent. name: under which rows bear it.
  """

  needs: ClassVar[Literal["nothing", "model"]] = "model"
  best: ClassVar[Literal["high", "low"]] = "low"
  k: float = 20.0
  name: str = "min_k"

  def __post_init__(self):
    check.check_types(self)
    check.require(0 < self.k <= 100, f"MinK.k = {self.k}: it is a share in percent, above 0")

  def score(self, rows: Sequence[select_protocol.Row], ask: select_protocol.Ask | None) -> np.ndarray:
    """Scores [N]; NaN for a row without an answer that fits."""
    model = asked_lib.of(ask)
    found = nats_lib.fitting(model, rows)
    items = [item for one in found if one is not None for item in one.given]
    said = iter(model.progress(self.name, len(items)).engine.surprises(items))
    values = np.full(len(rows), np.nan)
    for i, one in enumerate(found):
      if one is not None:
        parts = [next(said) for _ in one.given]
        z = np.concatenate([(p.logprob - p.mean) / np.maximum(p.deviation, 1e-6) for p in parts])
        values[i] = lowest_mean(z, self.k)
    return values


def lowest_mean(z: np.ndarray, k: float) -> float:
  """The mean of the lowest k percent of values, of one at least."""
  count = max(int(len(z) * k / 100), 1)
  return float(np.sort(z)[:count].mean(dtype=np.float64))
