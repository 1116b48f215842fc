"""Rows that differ: DEITA's greedy rule, k-center, and facility location.

Each is a pure function of vectors and worths beside the value of a recipe that calls it. Distances are made a block at
a time; no matrix of all pairs exists.
"""

from collections.abc import Sequence
import dataclasses
import heapq

import numpy as np

from itune_jax.core import check
from itune_jax.core import ranges
from itune_jax.select import select_protocol
from itune_jax.select.diversity import features as features_lib

BLOCK = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spread(features_lib.Compared):
  """By worth, leaving out what is too like a row that was taken (DEITA, `selection/filter/base.py`).

  features: what rows are compared by. threshold: rows whose cosine with a taken one is above it are left out.
  """

  features: features_lib.Features = features_lib.States(by="last")
  threshold: float = 0.9

  def __post_init__(self):
    super().__post_init__()
    check.require(-1 <= self.threshold <= 1, f"Spread.threshold = {self.threshold}: it is a cosine")

  def order(
    self,
    rows: Sequence[select_protocol.Row],
    worth: np.ndarray,
    most: int,
    random: np.random.Generator,
    ask: select_protocol.Ask | None,
  ) -> Sequence[int]:
    """Rows by worth that differ enough from those before them."""
    del random
    vectors, at = self.features.vectors(rows, ask)
    return at[greedy(vectors, worth[at], self.threshold, most)].tolist()


@dataclasses.dataclass(frozen=True, kw_only=True)
class KCenter(features_lib.Compared):
  """The row farthest from all that are taken, again and again, from that of most worth on (Gonzalez 1985; Sener &
  Savarese 2018). Among rows equally far the one of more worth.

  features: what rows are compared by.
  """

  def order(
    self,
    rows: Sequence[select_protocol.Row],
    worth: np.ndarray,
    most: int,
    random: np.random.Generator,
    ask: select_protocol.Ask | None,
  ) -> Sequence[int]:
    """Rows by distance from those before them."""
    del random
    vectors, at = self.features.vectors(rows, ask)
    return at[k_center(vectors, worth[at], most)].tolist()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facility(features_lib.Compared):
  """Rows that all rows are near to: Σ over rows of their likeness to the nearest taken one grows the most, by lazy
  greedy (Superfiltering.D: the highest by score first, then this among them).

  features: what rows are compared by. pool: of the rows of most worth, so many times the budget are looked at; 0 for
  all rows.
  """

  pool: ranges.PositiveFloat = 10.0

  def __post_init__(self):
    super().__post_init__()
    check.require(self.pool == 0 or self.pool >= 1, f"Facility.pool = {self.pool}: it is 0, or 1 and more")

  def order(
    self,
    rows: Sequence[select_protocol.Row],
    worth: np.ndarray,
    most: int,
    random: np.random.Generator,
    ask: select_protocol.Ask | None,
  ) -> Sequence[int]:
    """Rows by what each adds."""
    del random
    some = np.argsort(-worth, kind="stable")[: max(most, round(self.pool * most)) if self.pool else None]
    vectors, at = self.features.vectors([rows[int(i)] for i in some], ask)
    return some[at[facility_location(vectors, most)]].tolist()


def greedy(vectors: np.ndarray, worth: np.ndarray, threshold: float, most: int) -> np.ndarray:
  """Numbers of unit vectors [N, D] by worth, each of cosine `threshold` at most with all before it; at most `most`."""
  order = np.argsort(-worth, kind="stable")
  kept, taken = np.zeros((min(most, len(order)), vectors.shape[1]), np.float32), []
  for start in range(0, len(order), BLOCK):
    block = order[start : start + BLOCK]
    like = vectors[block] @ kept[: len(taken)].T
    open_ = ~(like > threshold).any(axis=1)
    own = vectors[block] @ vectors[block].T
    fresh: list[int] = []
    for j in np.flatnonzero(open_):
      if len(taken) == most:
        return np.asarray(taken, np.int64)
      if not (own[j, fresh] > threshold).any():
        kept[len(taken)] = vectors[block[j]]
        fresh.append(int(j))
        taken.append(int(block[j]))
  return np.asarray(taken, np.int64)


def k_center(vectors: np.ndarray, worth: np.ndarray, most: int) -> np.ndarray:
  """Numbers of vectors [N, D], each the farthest (Euclidean) from those before it."""
  first = np.argsort(-worth, kind="stable")  # argmax takes the first of equals: those of more worth stand first
  ordered = vectors[first].astype(np.float32)
  squares = np.einsum("nd,nd->n", ordered, ordered)
  nearest, taken = np.full(len(ordered), np.inf), []
  for _ in range(min(most, len(ordered))):
    i = int(np.argmax(nearest)) if taken else 0
    taken.append(i)
    nearest = np.minimum(nearest, np.maximum(squares + squares[i] - 2 * (ordered @ ordered[i]), 0))
    nearest[i] = -1  # never again
  return first[taken]


def facility_location(vectors: np.ndarray, most: int) -> np.ndarray:
  """Numbers of vectors [N, D], each adding the most to Σ_i max_j s_ij, s = 1 / (1 + distance).

  Lazy greedy (Minoux 1978): a gain only falls as more is taken, so that one which is still the largest after it was
  made anew is the largest of all, and most are never made again. The result is that of plain greedy, equals by number.
  """
  best, taken = np.zeros(len(vectors)), []
  gains = np.concatenate(
    [likeness(vectors[at : at + BLOCK], vectors).sum(axis=1) for at in range(0, len(vectors), BLOCK)] or [np.zeros(0)]
  )
  heap = [(-float(gain), i, 0) for i, gain in enumerate(gains)]
  heapq.heapify(heap)
  while heap and len(taken) < most:
    _, i, when = heapq.heappop(heap)
    own = likeness(vectors[i : i + 1], vectors)[0]
    if when == len(taken):
      taken.append(i)
      best = np.maximum(best, own)
    else:
      heapq.heappush(heap, (-float(np.maximum(own - best, 0).sum()), i, len(taken)))
  return np.asarray(taken, np.int64)


def likeness(some: np.ndarray, all_: np.ndarray) -> np.ndarray:
  """1 / (1 + Euclidean distance) [M, N], float64: submodlib's likeness of the metric that Superfiltering names."""
  some, all_ = some.astype(np.float64), all_.astype(np.float64)
  squares = (some**2).sum(axis=1)[:, None] + (all_**2).sum(axis=1)[None] - 2 * some @ all_.T
  return 1 / (1 + np.sqrt(np.maximum(squares, 0)))
