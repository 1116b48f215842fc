"""Control charts: SciPy's divergence, the textbook's limits, few false alarms, and shifts that are found."""

import collections

import numpy as np
import pytest
from scipy.spatial import distance

from itune_jax.grading.statistics import control_charts


def test_the_divergence_is_scipys():
  rng = np.random.default_rng(0)
  for _ in range(50):
    p, q = rng.integers(0, 5, (2, 12))
    if p.sum() and q.sum():
      wanted = distance.jensenshannon(p, q, base=2) ** 2
      assert control_charts.divergence(p.astype(float), q.astype(float)) == pytest.approx(wanted, abs=1e-12)


def test_limits_are_three_standard_errors():
  windows = [[True] * 10 + [False] * 90] * 6
  chart = control_charts.shares("x", windows, 5)
  assert chart.centre == pytest.approx(0.1)
  assert chart.points[5].high == pytest.approx(0.1 + 3 * np.sqrt(0.1 * 0.9 / 100))
  assert chart.points[5].low == pytest.approx(0.01)
  assert not any(one.signal for one in chart.points)


def test_a_stream_that_stays_the_same_is_seldom_told_and_a_shift_is_found():
  rng, alarms, found = np.random.default_rng(1), 0, 0
  for _ in range(40):
    windows = [list(rng.random(200) < 0.1) for _ in range(20)]
    alarms += sum(bool(one.signal) for one in control_charts.shares("x", windows, 10).points[10:])
    moved = [*windows[:10], *(list(rng.random(200) < 0.25) for _ in range(3))]
    found += any(one.signal == "above the limit" for one in control_charts.shares("x", moved, 10).points[10:])
  assert alarms <= 12  # of 400 windows: 0.3 % outside of the limits, and runs
  assert found == 40


def test_words_that_change_are_told_and_a_run_on_one_side():
  rng = np.random.default_rng(2)
  row = lambda words: collections.Counter(rng.choice(words, 12))
  same, other = [f"w{k}" for k in range(40)], [f"v{k}" for k in range(40)]
  windows = [[row(same) for _ in range(50)] for _ in range(8)]
  assert not any(one.signal for one in control_charts.words("x", windows, 5).points[5:])
  chart = control_charts.words("x", [*windows, [row(same if k % 2 else other) for k in range(50)]], 5)
  assert chart.points[-1].signal == "above the limit"
  creeping = control_charts.means("x", [[1.0, 2.0, 3.0]] * 5 + [[1.1, 2.1, 3.1]] * 8, 5)
  assert creeping.points[-1].signal == "8 windows on one side"
