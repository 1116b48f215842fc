"""Bradley-Terry strengths: the maximum against scipy's own search, where there is none, and what intervals cover."""

import numpy as np
import pytest
from scipy import optimize

from itune_jax.core import errors
from itune_jax.grading.statistics import pairwise_strengths

Game = pairwise_strengths.Game


def played(theta, count, seed, ties=0.0):
  """Games of random pairs of systems of these strengths."""
  random = np.random.default_rng(seed)
  found = []
  for k in range(count):
    i, j = random.permutation(len(theta))[:2]
    won = float(random.random() < 1 / (1 + np.exp(theta[j] - theta[i])))
    found.append(Game(f"s{i}", f"s{j}", 0.5 if random.random() < ties else won, f"item{k // 2}"))
  return found


@pytest.mark.parametrize("seed", range(3))
def test_the_maximum_is_that_of_a_search(seed):
  games = played([0.0, 0.7, -0.4, 1.5], 200, seed, ties=0.2)
  names = [f"s{k}" for k in range(4)]
  wins = pairwise_strengths.wins_of(games, names).sum(0)

  def lost(theta):
    return (wins * np.log1p(np.exp(theta[None, :] - theta[:, None]))).sum() + theta.sum() ** 2

  ours = pairwise_strengths.fit(wins[None])[0]
  np.testing.assert_allclose(ours, optimize.minimize(lost, np.zeros(4), tol=1e-12).x, atol=1e-5)
  assert abs(ours.sum()) < 1e-9
  found = {one.name: one for one in pairwise_strengths.strengths(games)}
  np.testing.assert_allclose([found[name].value for name in names], ours)
  assert sum(one.games for one in found.values()) == 2 * len(games) and sum(
    one.wins for one in found.values()
  ) == pytest.approx(len(games))


def test_there_is_none_where_a_group_never_lost():
  games = [Game("a", "b", 1.0, "1"), Game("b", "a", 1.0, "2"), Game("c", "a", 1.0, "3"), Game("c", "b", 1.0, "4")]
  found = pairwise_strengths.strengths(games)
  assert all(np.isnan(one.value) and one.low is None for one in found)
  assert all(np.isfinite(one.value) for one in pairwise_strengths.strengths([*games, Game("c", "b", 0.5, "5")]))
  assert pairwise_strengths.strengths([Game("a", "b", 0.5, "1")])[0].low is None, "one cluster tells no spread"
  for bad in ([], [Game("a", "a", 1.0, "1")]):
    with pytest.raises(errors.InputError):
      pairwise_strengths.strengths(bad)


def test_two_systems_are_the_log_odds_of_the_share():
  games = [Game("a", "b", float(k < 30), str(k)) for k in range(40)]
  one, two = pairwise_strengths.strengths(games)
  assert one.value - two.value == pytest.approx(np.log(3)) and one.name == "a"
  # Of the log odds of a share p of n the delta method has the error 1 / √(n p (1 - p)).
  assert (one.high - one.low) / 2 == pytest.approx(2.0227 / 2 / np.sqrt(40 * 0.75 * 0.25) * np.sqrt(40 / 39), rel=1e-3)


@pytest.mark.heavy
def test_intervals_cover():
  """Of 150 samples with two games an item about 95 % of the intervals hold the true strength."""
  theta = np.array([0.6, 0.0, -0.6])
  held = []
  for seed in range(150):
    for one in pairwise_strengths.strengths(played(theta, 120, seed)):
      true = theta[int(one.name[1])]
      held.append(one.low is not None and one.low <= true <= one.high)
  assert 0.91 < np.mean(held) < 0.98
