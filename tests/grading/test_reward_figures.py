"""Figures of rewards: against enumeration, scikit-learn, and what RewardBench counts."""

import itertools

import numpy as np
import pytest
from sklearn import metrics

from itune_jax.grading import reward_figures
from itune_jax.grading.judging import better_of_two


def test_the_best_of_n_is_the_mean_over_all_draws():
  rs = np.random.RandomState(0)
  for trial in range(20):
    k = rs.randint(2, 7)
    rewards, quality = rs.permutation(k) if trial % 2 else rs.randint(0, 3, k), rs.rand(k)
    for n in range(1, k + 1):
      best = []
      for draw in itertools.combinations(range(k), n):
        top = max(rewards[i] for i in draw)
        best.append(np.mean([quality[i] for i in draw if rewards[i] == top]))
      found = reward_figures.best_of(rewards, quality, n)
      if trial % 2:
        np.testing.assert_allclose(found, np.mean(best), rtol=1e-12)
      if n == k:
        np.testing.assert_allclose(found, best[0], rtol=1e-12)
  with pytest.raises(ValueError, match="the best of 3 answers, and a prompt has 2"):
    reward_figures.best_of([1, 2], [0, 1], 3)


def test_auc_is_scikit_learns_and_ties_are_half_right():
  rs = np.random.RandomState(1)
  chosen, rejected = rs.randint(0, 5, 30), rs.randint(0, 4, 30)
  labels = np.repeat([1, 0], 30)
  np.testing.assert_allclose(
    reward_figures.auc(chosen, rejected), metrics.roc_auc_score(labels, np.r_[chosen, rejected]), rtol=1e-12
  )
  assert reward_figures.right([1, 2, 3], [0, 2, 4]).tolist() == [1, 0.5, 0]


def test_sections_are_weighted_as_reward_bench_has_it():
  counts = {s: n for one in reward_figures.SECTIONS.values() for s, n in one.items()}
  assert len(counts) == 23 and counts["math-prm"] == sum(n for s, n in counts.items() if s.startswith("hep-"))
  assert sum(counts.values()) - 984 + 447 == 2985  # rows of the filtered set
  right = {s: float(s.startswith("hep-")) for s in counts}
  found = reward_figures.sections({s: reward_figures.accuracy(np.array([v])) for s, v in right.items()})
  assert found == {"Chat": 0, "Chat Hard": 0, "Safety": 0, "Reasoning": 0.5, "score": 0.125}
  assert reward_figures.sections({"hep-go": reward_figures.accuracy(np.ones(3))}) == {}


def test_a_liking_for_a_place_is_taken_out_and_an_ensemble_says_where_it_disagrees():
  liking, preferred = 3.0, 1.0
  orders = [[liking + preferred, 0.0], [liking, preferred]]  # order, letter: the preferred one is A, then B
  np.testing.assert_allclose(better_of_two.log_odds(np.array([orders])), [preferred])
  scores = np.array([[1.0, 3.0], [2.0, 2.0]])
  assert reward_figures.together(scores, "min")[0].tolist() == [1, 2]
  assert reward_figures.together(scores, "cautious", 0.5)[0].tolist() == [1.5, 2]
  assert reward_figures.together(scores, "mean")[1].tolist() == [1, 0]
