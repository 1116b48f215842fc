"""What a figure's spread is made of: items, seeds and prompt formats, added up."""

from collections.abc import Sequence
import dataclasses
import math

import numpy as np
from scipy import special


@dataclasses.dataclass(frozen=True)
class Components:
  """Variances of one run's figure by where they come from. rest: seeds and formats together, beyond each alone.

  seed_runs, format_runs: how many of each the mean was taken over.
  """

  items: float
  seeds: float = 0.0
  formats: float = 0.0
  rest: float = 0.0
  seed_runs: int = 1
  format_runs: int = 1

  @property
  def of_one_run(self) -> float:
    """Of the figure of one further run: one seed, one format."""
    return self.items + self.seeds + self.formats + self.rest

  @property
  def of_mean(self) -> float:
    """Of the mean over all runs, on the same items. More seeds and formats make it smaller, and never less than what
    the items leave open."""
    runs = self.seed_runs * self.format_runs
    return self.items + self.seeds / self.seed_runs + self.formats / self.format_runs + self.rest / runs

  def interval(self, mean: float, level: float = 0.95) -> tuple[float, float]:
    """Around the mean over all runs, by Student's distribution with the degrees of freedom of the parts together."""
    runs = self.seed_runs * self.format_runs
    parts = [
      (self.items, math.inf),
      (self.seeds / self.seed_runs, self.seed_runs - 1),
      (self.formats / self.format_runs, self.format_runs - 1),
      (self.rest / runs, (self.seed_runs - 1) * (self.format_runs - 1)),
    ]
    error, degrees = combined(parts)
    half = quantile(degrees, level) * error
    return mean - half, mean + half


def combined(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
  """(standard error, degrees of freedom) of independent variances added up, each with its own degrees of freedom
  (Satterthwaite 1946); infinity is for a variance that is known well."""
  known = [(value, degrees) for value, degrees in parts if value > 0]
  total = sum(value for value, _ in known)
  spread = sum(value * value / degrees for value, degrees in known)
  return math.sqrt(total), total * total / spread if spread else math.inf


def quantile(degrees: float, level: float = 0.95) -> float:
  """Student's two-sided quantile; the normal one for infinitely many degrees of freedom."""
  tail = (1 + level) / 2
  return float(special.ndtri(tail) if math.isinf(degrees) else special.stdtrit(degrees, tail))


def p_value(value: float, error: float, degrees: float) -> float:
  """Two-sided, of a value with this standard error."""
  t = abs(value) / error
  return 2 * float(special.ndtr(-t) if math.isinf(degrees) else special.stdtr(degrees, -t))


def components(figures_SF: Sequence[Sequence[float]], items: float) -> Components:
  """The parts of the variance of figures by seed (rows) and format (columns), one figure a cell.

  Random effects of a crossed layout by mean squares (Searle, Casella & McCulloch 1992, ch. 4); a part that comes out
  negative is 0. items: the variance that sampling items gives one figure, its standard error squared. With one format,
  what seeds vary is all of it, and with one seed what formats vary. Raises ValueError for a table that is not full.
  """
  try:
    table_SF = np.asarray(figures_SF, np.float64)
  except ValueError:
    table_SF = np.zeros(0)
  if table_SF.ndim != 2 or not table_SF.size or not np.isfinite(table_SF).all():
    raise ValueError("figures are a full table of numbers: seeds by formats")
  seeds, formats = len(table_SF), len(table_SF[0])
  by_seed, by_format = table_SF.mean(1), table_SF.mean(0)
  spread = lambda means: float(np.var(means, ddof=1)) if len(means) > 1 else 0.0
  rest = 0.0
  if seeds > 1 and formats > 1:
    left = table_SF - by_seed[:, None] - by_format[None, :] + table_SF.mean()
    rest = float((left**2).sum() / ((seeds - 1) * (formats - 1)))
  return Components(
    items=items,
    seeds=max(0.0, spread(by_seed) - rest / formats),
    formats=max(0.0, spread(by_format) - rest / seeds),
    rest=rest,
    seed_runs=seeds,
    format_runs=formats,
  )
