"""What a number of items can show, and what cannot be seen with them."""

import math

from scipy import special


def detectable(standard_error: float, *, level: float = 0.95, power: float = 0.8) -> float:
  """The smallest true difference that a two-sided test at 1 - level finds with this power, by the normal approximation:
  (z of (1 + level) / 2 + z of power) standard errors of the difference."""
  return float(special.ndtri((1 + level) / 2) + special.ndtri(power)) * standard_error


def paired_share_error(n: float, changed: float) -> float:
  """The standard error of a difference of two shares on the same n items of which the share `changed` differs between
  the runs, when neither is better. Raises ValueError for a share outside 0 … 1."""
  if n <= 0 or not 0 <= changed <= 1:
    raise ValueError(f"{changed:g} of {n:g} items is no share")
  return math.sqrt(changed / n)


def fewest_changes(level: float = 0.95) -> int:
  """How many items must change, all in one direction, before McNemar's exact test can reject: 6 at 5 %. With n items a
  difference below that over n is never found, however little else varies."""
  return math.ceil(1 - math.log2(1 - level) - 1e-9)
