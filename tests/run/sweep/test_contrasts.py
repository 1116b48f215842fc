"""Effects of factors: exact on made figures, and intervals that hold the truth as often as they say."""

import math

import numpy as np
import pytest

from itune_jax.run.sweep import contrasts


def _measure(table, seeds, items, better="higher"):
  """table: (a, b) → array [S, N]."""
  values = {
    ((("a", a), ("b", b)), seed): {str(k): float(x) for k, x in enumerate(row)}
    for (a, b), rows in table.items()
    for seed, row in zip(range(seeds), rows, strict=True)
  }
  return contrasts.Measure("m", better, values, {str(k): str(k // 2) for k in range(items)})


def _made(rng, seeds, items, main, pair):
  """A crossed layout: a effect of `main`, an interaction of `pair`, noise by seed and by cluster of items."""
  seed_noise = lambda: 0.05 * rng.normal(size=(seeds, 1))
  item_noise = lambda: 0.3 * np.repeat(rng.normal(size=(1, items // 2)), 2, axis=1)
  base = rng.normal(size=(1, items))
  return {
    (a, b): base + main * (a == "y") + pair * (a == "y" and b == 2) + seed_noise() + item_noise()
    for a in ("x", "y")
    for b in (1, 2)
  }


@pytest.mark.parametrize("order", ["ab", "ba"])  # a sweep names its factors in any order
def test_effects_of_figures_without_noise_are_exact(order):
  levels = {"a": ("x", "y"), "b": (1, 2)}
  table = {
    (a, b): np.full((2, 4), 1.0 + 2 * (a == "y") + 4 * (b == 2) + 8 * (a == "y" and b == 2))
    for a in "xy"
    for b in (1, 2)
  }
  effects = contrasts.effects(_measure(table, 2, 4), {name: levels[name] for name in order})
  found = {one.factors: one for one in effects}
  assert found["a",].value == 2 + 8 / 2 and found["b",].value == 4 + 8 / 2 and found[tuple(order)].value == 8
  assert not any(one.known for one in found.values())  # no spread: no interval is claimed
  assert all(math.isnan(one.p) and math.isnan(one.interval[0]) for one in found.values())


def test_intervals_hold_the_truth_as_often_as_they_say():
  rng, held, trials = np.random.default_rng(0), 0, 300
  for _ in range(trials):
    effects = contrasts.effects(_measure(_made(rng, 3, 40, 0.1, 0.0), 3, 40), {"a": ("x", "y"), "b": (1, 2)})
    low, high = effects[0].interval
    held += low <= 0.1 <= high
  assert 0.93 <= held / trials <= 0.99  # 95 %, seeds with few degrees of freedom


def test_a_missing_run_takes_its_setting_out_of_the_mean_and_is_counted():
  table = _made(np.random.default_rng(1), 2, 8, 0.5, 0.0)
  measure = _measure(table, 2, 8)
  del measure.values[(("a", "y"), ("b", 2)), 1]
  main = contrasts.effects(measure, {"a": ("x", "y"), "b": (1, 2)})[0]
  assert (main.settings, main.left_out) == (1, 1)
  assert main.value == pytest.approx((table["y", 1] - table["x", 1]).mean())


def test_holm_runs_over_all_effects_of_a_measure():
  measure = _measure(_made(np.random.default_rng(2), 3, 40, 1.0, 0.0), 3, 40)
  effects = contrasts.effects(measure, {"a": ("x", "y"), "b": (1, 2)})
  smallest = min(effects, key=lambda one: one.p)
  assert len(effects) == 3 and smallest.adjusted == pytest.approx(min(1, 3 * smallest.p))
  assert smallest.factors == ("a",) and smallest.adjusted < 0.001
