"""Win rates from preferences of pairs, as AlpacaEval counts them (Li et al. 2023, `alpaca_eval` 0.6.6).

A preference is a number from 1 (the baseline's answer is better) to 2 (the model's is); 1.5 is a draw, and so is 0, as
older annotations write it. Anything else is no preference: it is left out of the figures, and counted.
"""

from collections.abc import Sequence
import math
from typing import NamedTuple

import numpy as np


class WinRate(NamedTuple):
  """The figures of a leaderboard's row, rates and errors in percent.

  n_wins, n_wins_base: preferences above and below the middle. n_total: preferences that count. left_out: values that
  are none (missing, or outside [1, 2]). discrete_win_rate: of preferences rounded to a win, a draw or a loss.
  standard_error: of the mean; not a number for fewer than two.
  """

  win_rate: float
  standard_error: float
  n_wins: int
  n_wins_base: int
  n_draws: int
  n_total: int
  discrete_win_rate: float
  left_out: int


def scaled(preferences: Sequence[float | None]) -> np.ndarray:
  """Preferences [N] from 0 (the baseline) to 1 (the model), a draw in the middle; not a number where there is none."""
  raw_N = np.asarray([math.nan if one is None else float(one) for one in preferences], np.float64)
  raw_N = np.where(raw_N == 0, 1.5, raw_N)
  return np.where((raw_N >= 1) & (raw_N <= 2), raw_N, np.nan) - 1


def of_preferences(preferences: Sequence[float | None]) -> WinRate:
  """The win rate of the model whose win is 2; all figures are not a number where no value is a preference."""
  scaled_N = scaled(preferences)
  known_N = scaled_N[~np.isnan(scaled_N)]
  return WinRate(
    win_rate=_mean(known_N) * 100,
    standard_error=standard_error(known_N) * 100,
    n_wins=int((known_N > 0.5).sum()),
    n_wins_base=int((known_N < 0.5).sum()),
    n_draws=int((known_N == 0.5).sum()),
    n_total=len(known_N),
    discrete_win_rate=_mean(_rounded(preferences)) * 100,
    left_out=len(scaled_N) - len(known_N),
  )


def standard_error(values_N: np.ndarray) -> float:
  """The standard error of a mean; not a number for fewer than two values."""
  return float(np.std(values_N, ddof=1) / math.sqrt(len(values_N))) if len(values_N) > 1 else math.nan


def is_extreme(raw: float, controlled: float) -> bool:
  """Whether control for length moved a win rate (percent) by more than 10 points and a quarter of what it could move:
  AlpacaEval's sign that its model may have failed."""
  low = min(raw - raw / 4, raw - 10)
  return not low <= controlled <= max(raw + (100 - raw) / 4, raw + 10)


def _rounded(preferences: Sequence[float | None]) -> np.ndarray:
  """Wins, draws and losses (1, 0.5, 0): an exact draw stays one, the rest goes to the nearer whole number."""
  raw_N = np.asarray([math.nan if one is None else float(one) for one in preferences], np.float64)
  whole_N = np.round(np.where(raw_N == 1.5, 0, raw_N))
  whole_N = np.where(whole_N == 0, 1.5, whole_N)
  return whole_N[(whole_N >= 1) & (whole_N <= 2)] - 1


def _mean(values_N: np.ndarray) -> float:
  return float(values_N.mean()) if len(values_N) else math.nan
