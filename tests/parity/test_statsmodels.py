"""Tests between runs, and corrections for many of them, against statsmodels."""

import itertools

import numpy as np
import pytest

from itune_jax.grading.statistics import multiple
from itune_jax.grading.statistics import paired
from itune_jax.grading.statistics import proportions

contingency = pytest.importorskip("statsmodels.stats.contingency_tables")
multitest = pytest.importorskip("statsmodels.stats.multitest")
shares = pytest.importorskip("statsmodels.stats.proportion")
pytestmark = pytest.mark.parity


def test_mcnemar():
  worst = 0.0
  for lost, won in itertools.product((0, 1, 2, 7, 30, 211), (0, 1, 3, 8, 29, 180)):
    if lost + won:
      table = [[50, lost], [won, 40]]
      exact, corrected = (contingency.mcnemar(table, exact=how, correction=True).pvalue for how in (True, False))
      ours = paired.mcnemar_exact(lost, won), paired.mcnemar_corrected(lost, won)
      worst = max(worst, abs(ours[0] - exact), abs(ours[1] - corrected))
  print(f"\nMcNemar, 35 tables, exact and corrected: at most {worst:.1e} from statsmodels")
  assert worst <= 1e-9


def test_holm_benjamini_hochberg_wilson():
  worst, rng = 0.0, np.random.default_rng(0)
  for n in (1, 2, 9, 40):
    p = rng.random(n) ** 3
    for ours, method in ((multiple.holm, "holm"), (multiple.benjamini_hochberg, "fdr_bh")):
      worst = max(worst, np.abs(np.subtract(ours(p), multitest.multipletests(p, method=method)[1])).max())
    theirs = shares.proportion_confint(n // 2, n, method="wilson")
    worst = max(worst, np.abs(np.subtract(proportions.wilson(n // 2, n), theirs)).max())
  print(f"\nHolm, Benjamini-Hochberg, Wilson: at most {worst:.1e} from statsmodels")
  assert worst <= 1e-9
