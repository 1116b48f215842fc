"""What people say, in figures: against choix and statsmodels (Bradley-Terry), krippendorff and sklearn (agreement)."""

import choix
import krippendorff
import numpy as np
import pytest
from sklearn import metrics
from statsmodels import api

from itune_jax.grading.statistics import agreement
from itune_jax.grading.statistics import pairwise_strengths
from tests.grading import test_pairwise_strengths

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("seed", range(3))
def test_strengths_are_those_of_choix_and_intervals_those_of_statsmodels(seed):
  theta = [0.0, 0.7, -0.4, 1.2]
  games = test_pairwise_strengths.played(theta, 300, seed)
  names = [f"s{k}" for k in range(4)]
  table = pairwise_strengths.wins_of(games, names)
  ours = pairwise_strengths.fit(table.sum(0)[None])[0]
  number = lambda name: int(name[1:])
  won = [(number(g.first), number(g.second)) if g.worth else (number(g.second), number(g.first)) for g in games]
  np.testing.assert_allclose(ours, choix.opt_pairwise(4, won, tol=1e-10), atol=1e-5)
  np.testing.assert_allclose(ours, choix.ilsr_pairwise(4, won, tol=1e-10), atol=1e-5)
  design = np.zeros((len(games), 4))
  for row, game in zip(design, games, strict=True):
    row[number(game.first)], row[number(game.second)] = 1, -1
  groups = np.unique([game.cluster for game in games], return_inverse=True)[1]
  model = api.GLM([game.worth for game in games], design[:, 1:], family=api.families.Binomial())
  theirs = model.fit(cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False})
  np.testing.assert_allclose(ours[1:] - ours[0], theirs.params, atol=1e-6)
  found, size = pairwise_strengths.covariance(table, ours), len(table)
  against = np.eye(4)[1:] - np.eye(4)[0]
  np.testing.assert_allclose(against @ found @ against.T * (size - 1) / size, theirs.cov_params(), rtol=1e-5)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_agreement_is_that_of_krippendorff_and_sklearn(level):
  random = np.random.default_rng(0)
  truth = random.integers(1, 6, 80)
  said = np.clip(truth + random.integers(-1, 2, (4, 80)), 1, 5).astype(float)
  said[random.random(said.shape) < 0.2] = np.nan
  theirs = krippendorff.alpha(said, level_of_measurement=level)
  assert agreement.krippendorff(said.tolist(), level) == pytest.approx(theirs, abs=1e-12)
  both = ~np.isnan(said[:2]).any(0)
  for ours, name in (("", None), ("quadratic", "quadratic")):
    kappa = metrics.cohen_kappa_score(*said[:2, both].astype(int), weights=name)
    assert agreement.cohen(*said[:2].tolist(), ours) == pytest.approx(kappa, abs=1e-12)
