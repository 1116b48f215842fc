"""Predict, then optimise: what a decision costs that was made by predicted costs, beside that of full information.

Instances are those of Elmachtoub & Grigas (2022) as PyEPO (Tang & Khalil 2024) draws them, number for number: features
are normal, costs a polynomial of a random sum of them with multiplicative noise. Regret of an instance is |c·w(ĉ) -
z(c)|, the true objective of the decision for predicted costs beside the best one; the figure is Σ regret / Σ |z|.

Decisions are exact: small knapsacks are enumerated, paths found by dynamic programming, and larger knapsacks solved by
HiGHS through scipy; `by_highs` solves any of them so, to compare with.
"""

import abc
import dataclasses
import functools
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize
from scipy import sparse

from itune_jax.core import check

ENUMERATED = 16  # items of a knapsack whose sets are all looked at


class Instances(NamedTuple):
  """Features [N, P] and true costs [N, M] of so many instances of one problem."""

  features: np.ndarray
  costs: np.ndarray


class Problem(abc.ABC):
  """A linear objective over a fixed set of decisions. sign: 1 to minimise costs, -1 to maximise values."""

  sign: int

  @property
  @abc.abstractmethod
  def size(self) -> int:
    """How many costs there are, M."""

  @abc.abstractmethod
  def decide_each(self, costs_BM: np.ndarray) -> np.ndarray:
    """A best decision [B, M] of zeros and ones for each row of costs, which may have any sign."""

  @abc.abstractmethod
  def by_highs(self, costs_M: np.ndarray) -> np.ndarray:
    """A best decision [M] by HiGHS."""

  def decide(self, costs_M: np.ndarray) -> np.ndarray:
    """A best decision [M] for costs."""
    return self.decide_each(np.asarray(costs_M, np.float64)[None])[0]

  def value(self, costs_M: np.ndarray) -> float:
    """The best objective."""
    return float(costs_M @ self.decide(costs_M))

  def regret(self, predicted_M: np.ndarray, costs_M: np.ndarray) -> float:
    """What the decision for predicted costs loses at the true ones: 0 or more."""
    made = float(costs_M @ self.decide(predicted_M))
    return max(0.0, self.sign * (made - self.value(costs_M)))


@dataclasses.dataclass(frozen=True)
class Knapsack(Problem):
  """Items of the highest value within capacities. weights: of each item in each dimension, [D][M]; capacity: [D]."""

  weights: tuple[tuple[float, ...], ...]
  capacity: tuple[float, ...]
  sign = -1

  @property
  def size(self) -> int:
    """How many items there are."""
    return len(self.weights[0])

  @functools.cached_property
  def _sets(self) -> np.ndarray:
    """All sets of items that fit, [S, M]."""
    sets_SM = (np.arange(2**self.size)[:, None] >> np.arange(self.size)) & 1
    fits_S = (sets_SM @ np.array(self.weights).T <= np.array(self.capacity) + 1e-9).all(1)
    return sets_SM[fits_S].astype(np.float64)

  def decide_each(self, costs_BM: np.ndarray) -> np.ndarray:
    """The items of the highest total value."""
    if self.size > ENUMERATED:
      return np.stack([self.by_highs(costs_M) for costs_M in costs_BM])
    return self._sets[np.argmax(costs_BM @ self._sets.T, axis=1)]

  def by_highs(self, costs_M: np.ndarray) -> np.ndarray:
    """The items of the highest total value, as an integer program."""
    within = _rows(np.array(self.weights), np.full(len(self.capacity), -np.inf), np.array(self.capacity))
    return _solved(-np.asarray(costs_M, np.float64), within, integral=True)


@dataclasses.dataclass(frozen=True)
class ShortestPath(Problem):
  """The cheapest way from the upper left to the lower right node of a grid, by arcs to the right and down.

  Arcs stand row by row: those to the right of a row's nodes, then those down from them.
  """

  height: int
  width: int
  sign = 1

  @functools.cached_property
  def arcs(self) -> tuple[tuple[int, int], ...]:
    """(from, to) of each arc, nodes numbered row by row."""
    found = []
    for row in range(self.height):
      first = row * self.width
      found += [(first + k, first + k + 1) for k in range(self.width - 1)]
      found += [(first + k, first + k + self.width) for k in range(self.width) if row + 1 < self.height]
    return tuple(found)

  @property
  def size(self) -> int:
    """How many arcs there are."""
    return len(self.arcs)

  def decide_each(self, costs_BM: np.ndarray) -> np.ndarray:
    """The arcs of a cheapest path, from the last node back: nodes stand in an order in which arcs go forwards."""
    count, nodes = len(costs_BM), self.height * self.width
    best_BN, via_BN = np.zeros((count, nodes)), np.full((count, nodes), -1)
    leaving: dict[int, list[int]] = {}
    for arc, (start, _) in enumerate(self.arcs):
      leaving.setdefault(start, []).append(arc)
    ends = np.array([end for _, end in self.arcs])
    for node in range(nodes - 2, -1, -1):
      arcs = np.array(leaving[node])
      totals_BA = costs_BM[:, arcs] + best_BN[:, ends[arcs]]
      chosen_B = totals_BA.argmin(1)
      best_BN[:, node], via_BN[:, node] = totals_BA[np.arange(count), chosen_B], arcs[chosen_B]
    found_BM, at_B = np.zeros(costs_BM.shape), np.zeros(count, np.int64)
    for _ in range(self.height + self.width - 2):
      arc_B = via_BN[np.arange(count), at_B]
      found_BM[np.arange(count), arc_B] = 1
      at_B = ends[arc_B]
    return found_BM

  def by_highs(self, costs_M: np.ndarray) -> np.ndarray:
    """The arcs of a cheapest path as a linear program: a vertex of the flow polytope, which has whole numbers."""
    starts, ends = np.array(self.arcs).T
    places, arcs = np.arange(len(starts)), self.height * self.width
    flow = sparse.csr_array(
      (np.r_[-np.ones(len(starts)), np.ones(len(ends))], (np.r_[starts, ends], np.r_[places, places])),
      shape=(arcs, len(starts)),
    )
    wanted = np.zeros(arcs)
    wanted[0], wanted[-1] = -1, 1
    return _solved(np.asarray(costs_M, np.float64), _rows(flow, wanted, wanted), integral=False)


def _rows(rows: Any, low: Any, high: Any) -> optimize.LinearConstraint:
  """Rows within bounds; scipy takes arrays of them, which its annotations do not say."""
  return optimize.LinearConstraint(rows, low, high)


def _solved(costs_M: np.ndarray, constraint: optimize.LinearConstraint, *, integral: bool) -> np.ndarray:
  """Zeros and ones of least cost. Raises ValueError where HiGHS finds none."""
  kinds = np.full(len(costs_M), int(integral))
  found = optimize.milp(
    costs_M, integrality=kinds, bounds=optimize.Bounds(0, 1), constraints=constraint, options={"mip_rel_gap": 0.0}
  )
  if found.x is None:
    raise ValueError(f"HiGHS found no decision: {found.message}")
  whole = np.rint(found.x)
  if np.abs(found.x - whole).max() > 1e-5:
    raise ValueError("HiGHS found a decision of parts, which no vertex of this problem is")
  return whole


def knapsack(
  count: int, features: int, size: int, *, dimensions: int, degree: int, noise: float, capacity: float, seed: int
) -> tuple[Knapsack, Instances]:
  """A knapsack, and so many instances of it: weights are the same for all, values hang on the features."""
  _checked(degree, noise)
  random = np.random.RandomState(seed)
  weights_DM = random.choice(range(300, 800), size=(dimensions, size)) / 100
  base_MP = random.binomial(1, 0.5, (size, features))
  x_NP = random.normal(0, 1, (count, features))
  costs = _polynomial(x_NP, base_MP, degree) * 5 / 3.5**degree
  costs *= random.uniform(1 - noise, 1 + noise, (count, size))
  problem = Knapsack(tuple(map(tuple, weights_DM.tolist())), (capacity,) * dimensions)
  return problem, Instances(x_NP, np.ceil(costs).astype(np.float32).astype(np.float64))


def shortest_path(
  count: int, features: int, *, height: int, width: int, degree: int, noise: float, seed: int
) -> tuple[ShortestPath, Instances]:
  """A grid, and so many instances of its costs."""
  _checked(degree, noise)
  problem, random = ShortestPath(height, width), np.random.RandomState(seed)
  base_MP = random.binomial(1, 0.5, (problem.size, features))
  x_NP = random.normal(0, 1, (count, features))
  costs = _polynomial(x_NP, base_MP, degree) / 3.5**degree
  costs = costs * random.uniform(1 - noise, 1 + noise, (count, problem.size))
  return problem, Instances(x_NP, costs.astype(np.float32).astype(np.float64))


def _polynomial(x_NP: np.ndarray, base_MP: np.ndarray, degree: int) -> np.ndarray:
  return (x_NP @ base_MP.T / np.sqrt(x_NP.shape[1]) + 3) ** degree + 1


def _checked(degree: int, noise: float) -> None:
  check.require(
    degree >= 1 and 0 <= noise < 1, f"degree = {degree} is 1 or more, and noise = {noise} from 0 to below 1"
  )


@dataclasses.dataclass(frozen=True, eq=False)
class Linear:
  """Costs as a linear function of features. weights: [P + 1, M], the last row the intercept."""

  weights: np.ndarray

  def __call__(self, features_NP: np.ndarray) -> np.ndarray:
    """Predicted costs [N, M]."""
    return features_NP @ self.weights[:-1] + self.weights[-1]


def two_stage(given: Instances) -> Linear:
  """Prediction first: the costs with least squares, whatever is decided by them (PFL)."""
  return Linear(np.linalg.lstsq(_with_one(given.features), given.costs, rcond=None)[0])


def spo_plus(
  problem: Problem, given: Instances, *, epochs: int = 30, batch: int = 32, rate: float = 0.03, seed: int = 0
) -> Linear:
  """Decisions first: the surrogate loss SPO+ by stochastic subgradients with Adam, from the two-stage fit.

  The subgradient of an instance is 2 (w(c) - w(2ĉ - c)) for costs that are minimised (Elmachtoub & Grigas 2022,
  proposition 3); values that are maximised are costs with the other sign.
  """
  fit, random = two_stage(given), np.random.default_rng(seed)
  weights, x_NP = fit.weights.copy(), _with_one(given.features)
  best_NM = problem.decide_each(given.costs)
  first, second, step = np.zeros_like(weights), np.zeros_like(weights), 0
  for _ in range(epochs):
    order = random.permutation(len(x_NP))
    for start in range(0, len(order), batch):
      rows = order[start : start + batch]
      slope_BM = spo_plus_slope(problem, x_NP[rows] @ weights, given.costs[rows], best_NM[rows])
      gradient, step = x_NP[rows].T @ slope_BM / len(rows), step + 1
      first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
      weights -= rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
  return Linear(weights)


def spo_plus_slope(problem: Problem, predicted_BM: np.ndarray, costs_BM: np.ndarray, best_BM: np.ndarray) -> np.ndarray:
  """The subgradient [B, M] of SPO+ with respect to predicted costs. best_BM: decisions for the true costs."""
  return 2 * problem.sign * (best_BM - problem.decide_each(2 * predicted_BM - costs_BM))


def _with_one(features_NP: np.ndarray) -> np.ndarray:
  return np.concatenate([features_NP, np.ones((len(features_NP), 1))], axis=1)
