"""The best and the worst of many ways of asking, found by asking as few items as may be (FormatSpread's search).

Each arm (a format) has a Beta posterior of its share of right answers, uniform before anything is asked. Half of the
budget goes to the arm that a draw from the posteriors says is best, the other half to the worst (Thompson sampling,
Chapelle and Li 2011; Sclar et al. 2024, §3.2). An arm's items are asked in their order, each once.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

# Of (arm, first item, how many): what each of these items is worth, from 0 to 1.
Asker = Callable[[int, int, int], Sequence[float]]


class Arm(NamedTuple):
  """What is known of a way of asking: how many items were asked, and what they were worth in all."""

  asked: int
  worth: float

  @property
  def mean(self) -> float:
    """The share of what could be had; not a number of an arm that was never asked."""
    return self.worth / self.asked if self.asked else float("nan")


class Spread(NamedTuple):
  """The arms, the numbers of the best and the worst of those that were asked, and how many items were asked in all."""

  arms: tuple[Arm, ...]
  best: int
  worst: int
  asked: int

  @property
  def value(self) -> float:
    """The best share less the worst."""
    return self.arms[self.best].mean - self.arms[self.worst].mean


def search(arms: int, items: int, ask: Asker, *, budget: int, batch: int = 20, seed: int = 0) -> Spread:
  """Asks about `budget` items in all, `batch` of one arm at a time.

  Raises ValueError for no arm, no item, or a batch of none.
  """
  if min(arms, items, batch) < 1:
    raise ValueError(f"{arms} arms, {items} items, {batch} at a time: each is 1 at least")
  rng = np.random.default_rng(seed)
  asked, worth = np.zeros(arms, np.int64), np.zeros(arms)
  for sign, end in ((1, budget // 2), (-1, budget)):
    while asked.sum() < end and (asked < items).any():
      draws = sign * rng.beta(1 + worth, 1 + asked - worth)
      arm = int(np.argmax(np.where(asked < items, draws, -np.inf)))
      count = min(batch, items - int(asked[arm]))
      values = np.asarray(ask(arm, int(asked[arm]), count), np.float64)
      if len(values) != count or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"{count} worths from 0 to 1 are expected")
      asked[arm] += count
      worth[arm] += values.sum()
  # Ranked by the posterior's mean: one lucky batch of an arm that was asked little is no best one.
  known = asked > 0
  middle = (1 + worth) / (2 + asked)
  best = int(np.argmax(np.where(known, middle, -np.inf)))
  worst = int(np.argmin(np.where(known, middle, np.inf)))
  found = tuple(Arm(int(n), float(w)) for n, w in zip(asked, worth, strict=True))
  return Spread(found, best, worst, int(asked.sum()))
