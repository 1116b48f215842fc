"""Control charts: whether a figure of each window of a stream is what a baseline of windows leads to expect.

Shares have Shewhart's p-chart and means his x̄-chart (Shewhart 1931; Montgomery, Introduction to Statistical Quality
Control, ch. 6 and 7): limits of three standard errors of a window of its size, and the rule of eight windows in a row
on one side of the centre (Western Electric 1956). Words have the Jensen-Shannon divergence from the baseline, in bits
(Lin 1991), with a limit from windows of the same size drawn of the baseline itself.
"""

from collections.abc import Mapping, Sequence
import math
from typing import NamedTuple

import numpy as np
from scipy import sparse

WIDTH = 3.0  # standard errors of the limits
RUN = 8  # windows on one side of the centre that are no chance
DRAWS = 400  # windows drawn of the baseline, for the limit of the divergence


class Point(NamedTuple):
  """A window: its figure, its limits, of how many rows; signal: "" or why it stands out."""

  value: float
  low: float
  high: float
  n: int
  signal: str = ""


class Chart(NamedTuple):
  """The windows of one figure. centre: of the baseline. baseline: how many windows are it."""

  name: str
  centre: float
  points: tuple[Point, ...]
  baseline: int


def shares(name: str, windows: Sequence[Sequence[bool]], baseline: int) -> Chart:
  """A p-chart of yes and no. Raises ValueError where the baseline has no row."""
  centre = _mean([float(x) for window in windows[:baseline] for x in window])
  spread = math.sqrt(centre * (1 - centre))
  points = [_point([float(x) for x in window], centre, spread) for window in windows]
  limited = [one._replace(low=max(one.low, 0.0), high=min(one.high, 1.0)) for one in points]
  return Chart(name, centre, tuple(_judged(limited, centre, baseline)), baseline)


def means(name: str, windows: Sequence[Sequence[float]], baseline: int) -> Chart:
  """An x̄-chart of numbers; their spread is that of the baseline's rows. Raises ValueError where it has none."""
  own = [x for window in windows[:baseline] for x in window]
  centre = _mean(own)
  spread = float(np.std(own, ddof=1)) if len(own) > 1 else 0.0
  points = [_point(window, centre, spread) for window in windows]
  return Chart(name, centre, tuple(_judged(points, centre, baseline)), baseline)


def words(name: str, windows: Sequence[Sequence[Mapping[str, int]]], baseline: int, seed: int = 0) -> Chart:
  """The divergence of each window's words from the baseline's.

  A row is its words with how often they stand in it. The limit is the 99.7th percentile of windows of that many rows
  drawn from the baseline, each against the rest of it: a window that is held against what it is part of has none of the
  new words that any window brings. For the same reason a window of the baseline is held against the others. A row
  without a word tells nothing and is not drawn. Raises ValueError where fewer than two rows of the baseline have words.
  """
  rows = [row for window in windows[:baseline] for row in window if row]
  known = {word: k for k, word in enumerate(sorted({word for window in windows for row in window for word in row}))}
  counts_NV = _table(rows, known)
  whole_V = _summed(counts_NV)
  if len(rows) < 2:
    raise ValueError("fewer than two rows of the baseline have words")
  rng = np.random.default_rng(seed)
  limits: dict[int, tuple[float, float]] = {}
  points = []
  for k, window in enumerate(windows):
    size = min(max(1, len(window)), max(1, len(rows) // 2))
    if size not in limits:
      drawn = [_summed(counts_NV[rng.permutation(len(rows))[:size]]) for _ in range(DRAWS)]
      found = [divergence(one_V, whole_V - one_V) for one_V in drawn]
      limits[size] = float(np.nanmean(found)), float(np.nanquantile(found, 0.997))
    own_V = _summed(_table(window, known))
    others_V = whole_V - own_V if k < baseline and baseline > 1 else whole_V
    value, high = divergence(own_V, others_V), limits[size][1]
    points.append(Point(value, 0.0, high, len(window), "above the limit" if value > high else ""))
  return Chart(name, next(iter(limits.values()))[0], tuple(points), baseline)


def divergence(counts_V: np.ndarray, others_V: np.ndarray) -> float:
  """Jensen-Shannon divergence of two counts of the same words, from 0 to 1 bit; nan where one has none."""
  if not counts_V.sum() or not others_V.sum():
    return math.nan
  p_V, q_V = counts_V / counts_V.sum(), others_V / others_V.sum()
  m_V = (p_V + q_V) / 2
  part = lambda x_V: float(np.sum(x_V[x_V > 0] * np.log2(x_V[x_V > 0] / m_V[x_V > 0])))
  return (part(p_V) + part(q_V)) / 2


def _table(rows: Sequence[Mapping[str, int]], known: Mapping[str, int]) -> sparse.csr_array:
  """How often each word stands in each row, [N, V]; most do not, so zeros are not kept."""
  at = [(n, known[word], times) for n, row in enumerate(rows) for word, times in row.items()]
  n, v, times = zip(*at, strict=True) if at else ((), (), ())
  return sparse.csr_array((np.array(times, float), (np.array(n, int), np.array(v, int))), (len(rows), len(known)))


def _summed(table_NV: sparse.csr_array) -> np.ndarray:
  return np.asarray(table_NV.sum(0)).ravel()


def _mean(values: Sequence[float]) -> float:
  if not values:
    raise ValueError("the baseline has no row")
  return float(np.mean(values))


def _point(values: Sequence[float], centre: float, spread: float) -> Point:
  if not values:
    return Point(math.nan, math.nan, math.nan, 0)
  half = WIDTH * spread / math.sqrt(len(values))
  return Point(float(np.mean(values)), centre - half, centre + half, len(values))


def _judged(points: Sequence[Point], centre: float, baseline: int):
  """The points with their signals: outside of the limits, or the last of a run on one side behind the baseline."""
  side, length = 0.0, 0
  for k, one in enumerate(points):
    own = 0.0 if math.isnan(one.value) else float(np.sign(one.value - centre))
    length = length + 1 if own and own == side else int(own != 0)
    side = own
    signal = ""
    if one.value > one.high:
      signal = "above the limit"
    elif one.value < one.low:
      signal = "below the limit"
    elif k >= baseline and length >= RUN:
      signal = f"{length} windows on one side"
    yield one._replace(signal=signal)
