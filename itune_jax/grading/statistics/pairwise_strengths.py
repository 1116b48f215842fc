"""Strengths of systems from comparisons two by two (Bradley & Terry 1952), by maximum likelihood.

P(i beats j) = 1 / (1 + exp(θ_j - θ_i)), with θ of mean 0; a tie is half a win for each side. The likelihood is concave
in θ, so Newton's steps find its maximum. It has one exactly where no split of the systems into two groups leaves one
group without a win over the other (Ford 1957): where a system never lost, its strength is infinite.

Intervals are Wald's with the sandwich over clusters (Liang & Zeger 1986): several people's answers to one item are not
independent of each other, and neither are an item's comparisons of several pairs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from itune_jax.core import errors
from itune_jax.grading.statistics import bootstrap

_STEPS = 200
_TOLERANCE = 1e-10
_LONGEST = 1.0  # of a step in any θ: Newton's own may overshoot far from the maximum


class Game(NamedTuple):
  """One comparison: two systems, what the first was worth (1 a win, 0.5 a tie, 0 a loss), and the item that both
  answered."""

  first: str
  second: str
  worth: float
  cluster: str


class Strength(NamedTuple):
  """A system's θ with its 95 % interval, its wins (a tie is half of one), and its comparisons. Not a number where it
  has no finite estimate; no interval then, and of a single cluster."""

  name: str
  value: float
  low: float | None
  high: float | None
  wins: float
  games: int


def fit(wins_BSS: np.ndarray) -> np.ndarray:
  """θ [B, S] of tables of wins: wins_BSS[b, i, j] of i over j. Not a number where there is no finite maximum."""
  wins = np.asarray(wins_BSS, np.float64)
  size = wins.shape[-1]
  theta, fine = np.zeros(wins.shape[:2]), _has_maximum(wins)
  open_ = np.flatnonzero(fine)
  games = wins + wins.swapaxes(1, 2)
  for _ in range(_STEPS):
    if not len(open_):
      break
    at, n = theta[open_], games[open_]
    chance = 1 / (1 + np.exp(at[:, None, :] - at[:, :, None]))  # of i over j
    slope = (wins[open_] - n * chance).sum(2)
    curve = -n * chance * (1 - chance)
    curve[:, np.arange(size), np.arange(size)] = 0
    curve[:, np.arange(size), np.arange(size)] = -curve.sum(2)
    step = np.linalg.solve(curve + 1 / size, slope[..., None])[..., 0]  # the mean stays 0
    longest = np.abs(step).max(1)
    theta[open_] = at + step * np.minimum(1, _LONGEST / np.maximum(longest, 1e-300))[:, None]
    open_ = open_[longest > _TOLERANCE]
  theta[~fine] = np.nan
  theta[open_] = np.nan  # it did not settle
  return theta


def strengths(games: Sequence[Game], *, level: float = 0.95) -> list[Strength]:
  """The systems, strongest first, with intervals by Student's distribution of as many degrees as clusters less one.

  Raises InputError without a comparison, and for a system that is compared with itself.
  """
  if not games:
    raise errors.InputError("there is no comparison to take strengths from")
  names = sorted({name for game in games for name in (game.first, game.second)})
  table_GSS = wins_of(games, names)
  theta = fit(table_GSS.sum(0)[None])[0]
  errors_S = np.sqrt(np.diag(covariance(table_GSS, theta)))
  reach = float(special.stdtrit(len(table_GSS) - 1, (1 + level) / 2)) if len(table_GSS) > 1 else float("nan")
  found = []
  for k, name in enumerate(names):
    half = float(reach * errors_S[k])
    low, high = (float(theta[k]) - half, float(theta[k]) + half) if np.isfinite(half) else (None, None)
    wins, lost = table_GSS[:, k].sum(), table_GSS[:, :, k].sum()
    found.append(Strength(name, float(theta[k]), low, high, float(wins), int(round(wins + lost))))
  return sorted(found, key=lambda one: (-np.nan_to_num(one.value, nan=-np.inf), one.name))


def wins_of(games: Sequence[Game], names: Sequence[str]) -> np.ndarray:
  """Wins [G, S, S] of each cluster, of the row's system over the column's. Raises InputError for a system that is
  compared with itself."""
  places, groups = {name: i for i, name in enumerate(names)}, bootstrap.groups([game.cluster for game in games])
  table_GSS = np.zeros((int(groups.max()) + 1, len(names), len(names)))
  for group, game in zip(groups, games, strict=True):
    i, j = places[game.first], places[game.second]
    if i == j:
      raise errors.InputError(f"{game.first} is compared with itself (item {game.cluster})")
    table_GSS[group, i, j] += game.worth
    table_GSS[group, j, i] += 1 - game.worth
  return table_GSS


def covariance(table_GSS: np.ndarray, theta: np.ndarray) -> np.ndarray:
  """Of θ of mean 0 [S, S], by the sandwich over G clusters times G / (G - 1); not a number for fewer than two."""
  clusters, size, _ = table_GSS.shape
  if clusters < 2 or not np.isfinite(theta).all():
    return np.full((size, size), np.nan)
  wins = table_GSS.sum(0)
  chance = 1 / (1 + np.exp(theta[None, :] - theta[:, None]))
  curve = -(wins + wins.T) * chance * (1 - chance)
  np.fill_diagonal(curve, 0)
  np.fill_diagonal(curve, -curve.sum(1))
  bread = np.linalg.pinv(curve, hermitian=True)
  scores_GS = (table_GSS - (table_GSS + table_GSS.swapaxes(1, 2)) * chance).sum(2)
  return clusters / (clusters - 1) * bread @ (scores_GS.T @ scores_GS) @ bread


def _has_maximum(wins_BSS: np.ndarray) -> np.ndarray:
  """Whether each system reaches each other one over wins [B]."""
  reach = (wins_BSS > 0) | np.eye(wins_BSS.shape[-1], dtype=bool)
  for _ in range(max(1, int(np.ceil(np.log2(max(wins_BSS.shape[-1], 2)))))):
    reach = np.matmul(reach.astype(np.int32), reach.astype(np.int32)) > 0
  return np.asarray(reach.all((1, 2)))
