"""What a benchmark is: items, how they are asked, how answers are graded, and the figures that follow. One file each.

BENCHMARK = protocol.Benchmark(
  name="capitals",
  axis="utility",
  items=read,                                   # () -> items, streamed from the official files
  ask=ask.Generate(limit=16),                   # or Choose(), Score(), Rolling()
  grade=protocol.each(lambda item, answer: {"exact": answer.text.strip() == item.answer}),
  metrics={"exact": metrics_lib.Mean()},
  tags=("continent",),
)
"""

import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
from typing import Any, Literal

from itune_jax.core import check
from itune_jax.core import conversation as conversation_lib
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.sampling import requests as requests_lib

Axis = Literal["utility", "faithfulness", "safety", "multilingual", "multimodal", "medicine", "law", "finance", "own"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
  """One thing that is asked.

  question: a conversation to be answered, or plain text to be continued. answer: what is right, as the grader wants it.
  choices: of which one is right. cluster: what the item is drawn together with (a passage, a template); itself where
  that is empty. tags: by which figures are told apart. shown: what else a reader of the rows should see, or a grader
  needs. where: file and line that it was read from, for what is said of it.
  """

  id: str
  question: conversation_lib.Conversation | str
  answer: Any = None
  choices: tuple[str, ...] = ()
  cluster: str = ""
  tags: Mapping[str, str] = dataclasses.field(default_factory=dict)
  shown: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  where: str = ""

  @property
  def called(self) -> str:
    """What a message calls it."""
    return self.where or f"item {self.id}"


Answer = requests_lib.Response | requests_lib.Score | tuple[requests_lib.Score, ...]


class Ask(abc.ABC):
  """A way of asking: a frozen value."""

  @abc.abstractmethod
  def __call__(
    self, items: Sequence[Item], responder: requests_lib.Responder, progress: requests_lib.Progress
  ) -> Sequence[Answer]:
    """The answer to each item. Raises InputError, naming the item, for one that cannot be asked so."""

  @abc.abstractmethod
  def row(self, item: Item, answer: Any) -> dict[str, Any]:
    """What the rows show of an answer."""


@dataclasses.dataclass(frozen=True)
class Graded:
  """The values of one item by metric (a number, or None where it does not apply), and what the rows should show."""

  values: Mapping[str, float | None]
  shown: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Grade(abc.ABC):
  """How answers are judged, many at a time: a judge is asked for all of them at once."""

  @abc.abstractmethod
  def __call__(self, items: Sequence[Item], answers: Sequence[Any]) -> list[Graded]:
    """What each answer is worth."""


@dataclasses.dataclass(frozen=True)
class Each(Grade):
  """Answers judged one by one by a function (item, answer) -> {metric: value}."""

  judge: Callable[[Item, Any], Mapping[str, Any] | Graded]

  def __call__(self, items: Sequence[Item], answers: Sequence[Any]) -> list[Graded]:
    """What each answer is worth."""
    found = [self.judge(item, answer) for item, answer in zip(items, answers, strict=True)]
    return [one if isinstance(one, Graded) else Graded(one) for one in found]


def each(judge: Callable[[Item, Any], Mapping[str, Any] | Graded]) -> Grade:
  """A grade that judges answers one by one."""
  return Each(judge)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Benchmark:
  """A benchmark as a value.

  items: gives the items anew at every call, as a stream. metrics: how the items' values become one figure, by the name
  of the value. tags: names of `Item.tags` by which figures are given as well. source, licence: for the table of them.
  """

  name: str
  items: Callable[[], Iterable[Item]]
  ask: Ask
  grade: Grade
  metrics: Mapping[str, metrics_lib.Metric]
  axis: Axis = "own"
  tags: tuple[str, ...] = ()
  source: str = ""
  licence: str = ""

  def __post_init__(self):
    check.require(self.metrics, f"benchmark {self.name} has no metric")
    check.require(self.name and "/" not in self.name, f"benchmark {self.name!r}: a name is a word without a slash")
