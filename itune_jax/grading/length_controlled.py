"""Length-controlled win rates: a logistic model of preferences, asked what they were if all answers were equally long.

AlpacaEval 2's (Dubois et al. 2024): an L1-penalised logistic regression without intercept on the difference of lengths,
the instruction's difficulty, and the model itself; the penalty's weight by five-fold cross-validation, a preference
between 0 and 1 as two rows of opposite labels. What it predicts without the difference of lengths, on average, is the
figure. Two more "models", which are the baseline asked to be brief or verbose, keep the coefficients in bounds.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, NamedTuple

import numpy as np

from itune_jax.core import check
from itune_jax.core import lazy
from itune_jax.grading import win_rate

linear_model = lazy.module("sklearn.linear_model")
model_selection = lazy.module("sklearn.model_selection")

FOLDS, SEED, STRENGTHS = 5, 123, tuple(np.logspace(-4, 4, 10))


@dataclasses.dataclass(frozen=True)
class Formula:
  """What a model reads beside the difference of lengths and the model itself. gamed: the weight of the baseline's own
  rows, 0 for none of them."""

  difficulty: bool
  gamed: float


FORMULAS: Mapping[str, Formula] = {
  "length_controlled_v1": Formula(difficulty=True, gamed=0.2),
  "length_controlled_noreg": Formula(difficulty=True, gamed=0.0),
  "length_controlled_minimal": Formula(difficulty=False, gamed=0.0),
}


class Gamed(NamedTuple):
  """Rows of the baseline asked to be brief or verbose, with what was measured of them: arrays [M].

  preference: from 0 to 1. std_delta_len: difference of lengths over its deviation. is_model: whether the row is no
  gamed baseline.
  """

  preference: np.ndarray
  std_delta_len: np.ndarray
  difficulty: np.ndarray
  is_model: np.ndarray


class Controlled(NamedTuple):
  """The length-controlled win rate and its standard error in percent, what is predicted of each pair [N], and the
  coefficients by name."""

  value: float
  standard_error: float
  predicted: np.ndarray
  weights: dict[str, float]


def control(
  name: str,
  preference_N: np.ndarray,
  delta_N: np.ndarray,
  difficulty_N: np.ndarray | None = None,
  gamed: Gamed | None = None,
) -> Controlled:
  """Fits a model of `FORMULAS` and asks it.

  Args:
    preference_N: from 0 (the baseline) to 1; not a number where there is none: such a pair is predicted all the same.
    delta_N: length of the baseline's answer less that of the model's, in characters.
    difficulty_N: of each pair's instruction. gamed: where the formula weighs the baseline's own rows.

  Raises:
    InputError when the formula needs what is not given, lengths differ nowhere, one side won all pairs, or fewer than
    five have a preference.
  """
  formula = FORMULAS[name]
  check.require(difficulty_N is not None or not formula.difficulty, f"{name} needs the difficulty of each instruction")
  check.require(gamed is not None or not formula.gamed, f"{name} needs the rows of the gamed baseline")
  known = int((~np.isnan(preference_N)).sum())
  check.require(known >= FOLDS, f"{name}: {known} pairs have a preference; {FOLDS} are the least")
  deviation = float(np.std(delta_N, ddof=1))
  check.require(deviation > 0, f"{name}: all pairs differ equally in length: there is nothing to control for")
  ones_N = np.ones(len(delta_N))
  x_NF, asked_NF = _features(delta_N / deviation, difficulty_N, ones_N), _features(0 * ones_N, difficulty_N, ones_N)
  if not formula.difficulty:
    x_NF, asked_NF = x_NF[:, [0, -1]], asked_NF[:, [0, -1]]
  y_N, weight_N = preference_N, None
  if formula.gamed and gamed is not None:  # half of the weight for each of the two
    weight_N = np.concatenate([np.where(gamed.is_model, 1.0, formula.gamed / 2), ones_N])
    x_NF = np.concatenate([_features(gamed.std_delta_len, gamed.difficulty, gamed.is_model.astype(float)), x_NF])
    y_N = np.concatenate([gamed.preference, y_N])
  there_N = ~np.isnan(y_N)
  one_sided = set(y_N[there_N]) in ({0.0}, {1.0})  # of all losses AlpacaEval's regression would make 50 %
  check.require(not one_sided, f"{name}: one side won all {known} pairs: there is nothing that lengths could explain")
  model = _fitted(x_NF[there_N], y_N[there_N], None if weight_N is None else weight_N[there_N])
  predicted_N = model.predict_proba(asked_NF)[:, 1]
  names: list[str] = ["length", "difficulty", "model"] if formula.difficulty else ["length", "model"]
  error = win_rate.standard_error(predicted_N) * 100
  weights: dict[str, float] = dict(zip(names, map(float, model.coef_[0]), strict=True))
  return Controlled(float(predicted_N.mean()) * 100, error, predicted_N, weights)


def _features(std_delta_N: np.ndarray, difficulty_N: np.ndarray | None, model_N: np.ndarray) -> np.ndarray:
  difficulty_N = np.zeros(len(model_N)) if difficulty_N is None else difficulty_N
  return np.stack([np.tanh(std_delta_N), difficulty_N, model_N], axis=1)


def _fitted(x_NF: np.ndarray, y_N: np.ndarray, weight_N: np.ndarray | None) -> Any:
  """The regression with the penalty that predicts left-out pairs best. Both rows of a pair stay in one fold."""
  count = len(y_N)
  x_PF, label_P = np.concatenate([x_NF, x_NF]), np.repeat([1, 0], count)
  share_P = np.concatenate([y_N, 1 - y_N])
  weight_P = np.ones(2 * count) if weight_N is None else np.concatenate([weight_N, weight_N])
  groups_P = np.tile(np.arange(count), 2)
  scores = np.zeros(len(STRENGTHS))
  for train, test in model_selection.GroupKFold(n_splits=FOLDS).split(x_PF, groups=groups_P):
    random = np.random.RandomState(SEED)  # one stream for all strengths of a fold, as scikit-learn's own search has it
    for k, strength in enumerate(STRENGTHS):
      model = _regression(strength, random)
      model.fit(x_PF[train], label_P[train], sample_weight=(share_P * weight_P)[train])
      wins_P = np.where(label_P[test] == 1, share_P[test], 1 - share_P[test])
      scores[k] -= _log_loss(wins_P, model.predict_proba(x_PF[test])[:, 1], weight_P[test])
  best = _regression(STRENGTHS[int(scores.argmax())], np.random.RandomState(SEED))
  return best.fit(x_PF, label_P, sample_weight=share_P * weight_P)


def _regression(strength: float, random: np.random.RandomState) -> Any:
  return linear_model.LogisticRegression(
    C=strength, l1_ratio=1, solver="liblinear", fit_intercept=False, random_state=random
  )


def _log_loss(true_P: np.ndarray, predicted_P: np.ndarray, weight_P: np.ndarray) -> float:
  clipped_P = np.clip(predicted_P, 1e-15, 1 - 1e-15)
  return -float(np.mean(weight_P * (true_P * np.log(clipped_P) + (1 - true_P) * np.log(1 - clipped_P))))
