"""Intervals of shares, honest at 0 and 1 too, where a bootstrap has nothing to draw."""

from collections.abc import Callable
import math

from scipy import special


def wilson(right: float, n: float, level: float = 0.95) -> tuple[float, float]:
  """The score interval of `right` of `n` (Wilson 1927): never of width 0, never outside 0 … 1.

  n may be the number of independent clusters where every item has the same outcome. Raises ValueError for n <= 0.
  """
  if n <= 0 or not 0 <= right <= n:
    raise ValueError(f"{right:g} of {n:g} is no share")
  z2, share = float(special.ndtri((1 + level) / 2)) ** 2, right / n
  centre = (share + z2 / (2 * n)) / (1 + z2 / n)
  half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
  return (0.0 if right == 0 else max(0.0, centre - half)), (1.0 if right == n else min(1.0, centre + half))


def tango(won: float, lost: float, n: float, level: float = 0.95) -> tuple[float, float]:
  """The score interval (Tango 1998) of a difference of two shares on the same n items, of which `won` are right in the
  second run alone and `lost` in the first alone: every difference that the score test does not reject.

  At 0 that test is McNemar's without correction, so the interval leaves 0 out just where it rejects. It is never of
  width 0: of n items that nobody changed, z² / (n + z²) on both sides. Raises ValueError for counts that cannot be.
  """
  if n <= 0 or min(won, lost) < 0 or won + lost > n:
    raise ValueError(f"{won:g} and {lost:g} of {n:g} cannot be")
  z, value = float(special.ndtri((1 + level) / 2)), (won - lost) / n
  low, high = (_root(lambda at: abs(_score(won, lost, n, at)) > z, end, value) for end in (-1.0, 1.0))
  return low, high


def _root(rejects: Callable[[float], bool], outside: float, inside: float) -> float:
  """The last difference from `inside` towards `outside` that is not rejected."""
  for _ in range(60):
    middle = (outside + inside) / 2
    if rejects(middle):
      outside = middle
    else:
      inside = middle
  return inside


def _score(won: float, lost: float, n: float, difference: float) -> float:
  """Tango's statistic; the share that only the first run has right is its most likely one, given the difference."""
  b = -won - lost + (2 * n - won + lost) * difference
  c = -lost * difference * (1 - difference)
  alone = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
  spread = n * (2 * alone + difference * (1 - difference))
  above = won - lost - n * difference
  return 0.0 if abs(above) < 1e-12 else above / math.sqrt(spread) if spread > 0 else math.copysign(math.inf, above)
