"""Intervals of shares, honest at 0 and 1 too, where a bootstrap has nothing to draw."""

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


def unchanged(difference: float, n: float, level: float = 0.95) -> tuple[float, float]:
  """The score interval (Tango 1998) of a difference of two shares on the same items where all n of them changed alike.

  difference: 0 (no item changed), 1 or -1 (all did). Its width is that of Wilson's interval of none of n.
  """
  room = wilson(0, n, level)[1]
  return max(-1.0, difference - room), min(1.0, difference + room)
