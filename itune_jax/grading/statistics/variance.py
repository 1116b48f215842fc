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
    """Around the mean over all runs, with Student's quantile of the fewer of seeds and formats that vary."""
    varied = [n - 1 for n in (self.seed_runs, self.format_runs) if n > 1]
    z = special.stdtrit(min(varied), (1 + level) / 2) if varied else special.ndtri((1 + level) / 2)
    # What items leave open is known well; Student's quantile is for what few runs say.
    runs = self.of_mean - self.items
    half = math.sqrt(self.items * float(special.ndtri((1 + level) / 2)) ** 2 + runs * float(z) ** 2)
    return mean - half, mean + half


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
  seeds, formats = table_SF.shape
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
