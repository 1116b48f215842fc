"""What was evaluated, whichever files it was read from: runs, their benchmarks, and items with values and answers."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from itune_jax.core import contracts
from itune_jax.evals.robust import variation
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.run import costs

# Shares of answers that came to nothing, which tell why others are wrong. Rows hold the verdict alone.
VERDICTS = ("cut_off", "empty")
DERIVED = (*VERDICTS, "thinking_cut")
# The share of items that stand in training data: a property of the data, which no two runs are compared by.
CONTAMINATED, SHARE = "contaminated", "contaminated_share"
HELD_FILE = "contamination.json"  # in a folder of figures: what they were held against


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
  """One item as one run answered it.

  values: by metric; None where it does not apply. document: a hash of the item's own text, "" where a file has none.
  prompt: the turns of what was asked, as (role, text). asked: what tells prompts apart. answer: what the model said, or
  chose. expected: what is right. verdict: how the answer ended, "" where nobody says. more: what else a reader should
  see (a judge's words). harmful: whether question and answer may be harmful, so that pages blur them.
  """

  id: str
  values: Mapping[str, Any]
  cluster: str = ""
  tags: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
  document: str = ""
  prompt: tuple[tuple[str, str], ...] = ()
  answer: str = ""
  expected: str = ""
  verdict: str = ""
  more: Mapping[str, str] = dataclasses.field(default_factory=dict)
  harmful: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
  """One benchmark of one run.

  where: the file of its rows, or of its figures. items: by id, in the order of the file; none where only figures were
  kept. figures: what the run recorded, by (metric, tag). of: how many items the benchmark has. settings: what must be
  equal for two figures to mean the same (version, judge, prompt settings). better: which way, where it is known. ways:
  the metrics themselves, of a benchmark that this project knows. repeats: the evaluations by single seeds, of which
  this one is the mean; none for one run. cost: what its answers cost, None where that is not known. varied: what other
  ways of asking did to its figures. axis: of a published benchmark, "" of others. notes: what must be known.
  """

  benchmark: str
  where: str
  items: Mapping[str, Item]
  figures: Mapping[tuple[str, str], contracts.Result] = dataclasses.field(default_factory=dict)
  of: int = 0
  settings: Mapping[str, str] = dataclasses.field(default_factory=dict)
  better: Mapping[str, contracts.Better] = dataclasses.field(default_factory=dict)
  ways: Mapping[str, metrics_lib.Metric] = dataclasses.field(default_factory=dict)
  repeats: tuple["Evaluation", ...] = ()
  cost: costs.Cost | None = None
  varied: tuple[variation.Line, ...] = ()
  axis: str = ""
  notes: tuple[str, ...] = ()

  @property
  def metrics(self) -> list[str]:
    """All of which there is a value or a figure."""
    named = {name: None for item in self.items.values() for name in item.values}
    return list(named | {metric: None for metric, tag in self.figures if not tag and metric != SHARE})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """A run by the name that tables give it, and its evaluations by benchmark."""

  name: str
  path: str
  evaluations: Mapping[str, Evaluation]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """A published figure. n: of how many items, 0 where nobody says."""

  name: str
  benchmark: str
  metric: str
  value: float
  n: int = 0
