"""What a number of items can show, and what cannot be seen with them."""

import math

from scipy import special


def detectable(standard_error: float, degrees: float = math.inf, *, level: float = 0.95, power: float = 0.8) -> float:
  """The smallest true difference that a two-sided test at 1 - level finds with this power.

  With an error that is known well (infinitely many degrees of freedom): z of (1 + level) / 2 plus z of power, in
  standard errors. With few degrees of freedom Student's test finds less: the shift of the noncentral t distribution of
  which the share `power` lies above Student's quantile.
  """
  tail = (1 + level) / 2
  if math.isinf(degrees):
    return float(special.ndtri(tail) + special.ndtri(power)) * standard_error
  return float(special.nctdtrinc(degrees, 1 - power, special.stdtrit(degrees, tail))) * standard_error


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
