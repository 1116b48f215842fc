"""What a comparison asks for, and what it finds."""

from collections.abc import Mapping
import dataclasses
import math

from itune_jax.core import contracts
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.grading.statistics import power
from itune_jax.run.comparison import evaluated
from itune_jax.run.comparison import matching

_LOSSES = ("loss", "perplexity", "bits_per_byte", "nll", "error", "brier", "mae", "mse", "rmse", "ece", "wer", "ter")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
  """A figure of two runs, and their difference: second minus first.

  tag: which items it is of, "" for all. of: how many items the benchmark has. shared: how many items of both the
  difference is of, 0 where it is not of the same items. error: the standard error of the difference, NaN where it is
  not known. degrees: of freedom of the error. p: of `test`; adjusted: corrected for how many were made. how: what makes
  figures of values. better: which way. percent: whether figures are shares. notes: what must be known.
  """

  benchmark: str
  metric: str
  first: str
  second: str
  one: metrics_lib.Figure
  two: metrics_lib.Figure
  of: int
  difference: metrics_lib.Figure
  error: float
  p: float | None
  test: str
  how: str
  better: contracts.Better
  percent: bool
  degrees: float = math.inf
  tag: str = ""
  shared: int = 0
  adjusted: float | None = None
  notes: tuple[str, ...] = ()

  @property
  def stars(self) -> str:
    """By the corrected p."""
    return "" if self.adjusted is None else "*" * sum(self.adjusted <= level for level in (0.05, 0.01, 0.001))

  @property
  def detectable(self) -> float:
    """The smallest difference that would be found in four of five cases; NaN where that is not known."""
    smallest = power.detectable(self.error, self.degrees)
    return max(smallest, power.fewest_changes() / self.shared) if self.test == "McNemar" else smallest

  @property
  def improved(self) -> bool | None:
    """Whether the second is better; None where they are equal."""
    if not self.difference.value:
      return None
    return (self.difference.value > 0) == (self.better == "higher")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
  """All comparisons, those by tag, the matches that they are of, and what was left out and why."""

  names: tuple[str, ...]
  rows: tuple[Comparison, ...]
  by_tag: tuple[Comparison, ...]
  matches: Mapping[tuple[str, str], matching.Match]
  ways: Mapping[tuple[str, str], metrics_lib.Resampled]
  notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
  """What is compared. benchmarks, metrics: those alone, all where empty. given: how values of a metric become a figure.
  lower: metrics of which less is better."""

  benchmarks: tuple[str, ...] = ()
  metrics: tuple[str, ...] = ()
  given: Mapping[str, metrics_lib.Resampled] = dataclasses.field(default_factory=dict)
  lower: tuple[str, ...] = ()

  def names(self, benchmark: str, metric: str) -> bool:
    """Whether they are asked for; "" stands for any."""
    fits = lambda name, chosen: not chosen or not name or name in chosen
    return fits(benchmark, self.benchmarks) and fits(metric, self.metrics)

  def better(self, metric: str, *evaluations: evaluated.Evaluation) -> contracts.Better:
    """Which way a metric is better: as a flag says, the files, or the name of a well-known loss; else higher."""
    if metric in self.lower:
      return "lower"
    for one in evaluations:
      if metric in one.better:
        return one.better[metric]
    return "lower" if metric.split(",")[0].endswith(_LOSSES) else "higher"
