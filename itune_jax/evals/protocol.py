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
from typing import Any, Literal, NamedTuple

from itune_jax.core import check
from itune_jax.core import conversation as conversation_lib
from itune_jax.core import ranges
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.sampling import requests as requests_lib

# How a prompt is put: plain text that is continued, all of it in one user's turn, or shots as turns of their own.
Form = Literal["plain", "chat", "turns"]
Axis = Literal[
  "utility",
  "faithfulness",
  "safety",
  "multilingual",
  "multimodal",
  "medicine",
  "law",
  "finance",
  "decisions",
  "telecom",
  "agents",
  "own",
]


class Shot(NamedTuple):
  """An example in front of a question: what is asked, and the answer as it continues it (with its leading space)."""

  question: str
  answer: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
  """One thing that is asked.

  question: a conversation to be answered, or text. shots: examples in front of it; what does not fit loses whole ones,
  the first of them first, and `dropped` counts them. head: text in front of all of it. gap: text behind each shot.
  answer: what is right, as the grader wants it. choices: of which one is right. cluster: what the item is drawn
  together with (a passage, a template); itself where that is empty. tags: by which figures are told apart; an item
  with several values of a tag counts for each of them. shown: what else a reader of the rows should see, or a grader
  needs. where: file and line that it was read from, for what is said of it. harmful: whether question and answers may
  be harmful: pages blur them until a reader asks for them.
  """

  id: str
  question: conversation_lib.Conversation | str
  shots: tuple[Shot, ...] = ()
  dropped: int = 0
  head: str = ""
  gap: str = "\n\n"
  answer: Any = None
  choices: tuple[str, ...] = ()
  cluster: str = ""
  tags: Mapping[str, str | tuple[str, ...]] = dataclasses.field(default_factory=dict)
  shown: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  where: str = ""
  harmful: bool = False

  @property
  def called(self) -> str:
    """What a message calls it."""
    return self.where or f"item {self.id}"

  def prompt(self, form: Form, shots: int | None = None) -> conversation_lib.Conversation | str:
    """What is asked, with the last `shots` of its shots (all of them without a number): text, or a conversation."""
    kept = self.shots if shots is None else self.shots[len(self.shots) - shots :]
    if isinstance(self.question, conversation_lib.Conversation):
      return self._in_turns(self.question, kept)
    if form == "turns":
      return self._in_turns(conversation_lib.of(self.question), kept)
    text = self.head + "".join(shot.question + shot.answer + self.gap for shot in kept) + self.question
    return text if form == "plain" else conversation_lib.of(text)

  def _in_turns(self, asked: conversation_lib.Conversation, shots: Sequence[Shot]) -> conversation_lib.Conversation:
    """The head stands in front of the first user's text, and answers without the space in front of them."""
    turns: list[Mapping[str, Any]] = []
    for shot in shots:
      turns += [{"role": "user", "content": shot.question}, {"role": "assistant", "content": shot.answer.strip()}]
    messages = [*turns, *asked.messages]
    if self.head:
      first = next(i for i, message in enumerate(messages) if message["role"] == "user")
      messages[first] = {**messages[first], "content": self.head + messages[first]["content"]}
    return dataclasses.replace(asked, messages=tuple(messages))


def tagged(value: Any) -> tuple[str, ...]:
  """The values of a tag of an item or of its row: none, one, or several (a list where a row was read from a file)."""
  if value is None:
    return ()
  return tuple(dict.fromkeys(value)) if isinstance(value, (tuple, list)) else (value,)


# What one question puts to a responder.
Asked = requests_lib.Request | requests_lib.Pair | str
Answer = requests_lib.Response | requests_lib.Score | tuple[requests_lib.Score, ...]


class Ask(abc.ABC):
  """A way of asking: a frozen value. One that asks a single time is a `Pooled`; others (a second turn that hangs on the
  first answer) call the responder themselves."""

  generates = False  # whether answers are `Response`s

  def fit(self, item: Item, responder: requests_lib.Responder) -> Item:
    """The item, without shots that its responder has no room for."""
    del responder
    return item

  @abc.abstractmethod
  def __call__(
    self, items: Sequence[Item], responder: requests_lib.Responder, progress: requests_lib.Progress
  ) -> Sequence[Answer]:
    """The answer to each item. Raises InputError, naming the item, for one that cannot be asked so."""

  @abc.abstractmethod
  def row(self, item: Item, answer: Any) -> dict[str, Any]:
    """What the rows show of an answer."""


class Pooled(Ask):
  """Asks once, so that the questions of many benchmarks are put together (`suite.run`)."""

  kind: Literal["answer", "score", "rolling"]

  @abc.abstractmethod
  def asked(self, item: Item, responder: requests_lib.Responder) -> list[Asked]:
    """What is put to the responder for an item. Raises InputError, naming the item, where it cannot be asked so."""

  @abc.abstractmethod
  def answer(self, item: Item, results: Sequence[Any]) -> Any:
    """The answer to an item, of the results of what `asked` gave."""

  def __call__(
    self, items: Sequence[Item], responder: requests_lib.Responder, progress: requests_lib.Progress
  ) -> Sequence[Answer]:
    """The answer to each item."""
    return pooled([(self, item) for item in items], responder, progress)


def pooled(
  asks: Sequence[tuple[Pooled, Item]], responder: requests_lib.Responder, progress: requests_lib.Progress
) -> list[Any]:
  """The answer to each item by its own way of asking; what is asked in one kind of way is put together."""
  parts = [(ask, item, ask.asked(item, responder)) for ask, item in asks]
  by_kind: dict[str, list[Any]] = {"answer": [], "score": [], "rolling": []}
  for ask, _, questions in parts:
    by_kind[ask.kind] += questions
  call = {"answer": responder.answer, "score": responder.score, "rolling": responder.rolling}
  results = {kind: iter(call[kind](given, progress) if given else ()) for kind, given in by_kind.items()}
  return [ask.answer(item, [next(results[ask.kind]) for _ in questions]) for ask, item, questions in parts]


@dataclasses.dataclass(frozen=True)
class Graded:
  """The values of one item by metric (a number, or None where it does not apply), and what the rows should show."""

  values: Mapping[str, float | None]
  shown: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Grade(abc.ABC):
  """How answers are judged, many at a time: a judge is asked for all of them at once."""

  def bound(self, responder: requests_lib.Responder) -> "Grade":
    """The same; a judge that has no responder of its own is whoever is evaluated."""
    del responder
    return self

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
  total: how many items it has where `items` gives fewer, 0 where it gives all. percent: whether its figures are shares
  that a single scoring prints in percent. against: (tag, value) with which the other values of the tag are compared on
  the same clusters, such as ("language", "en"). version: of data, prompts and scoring; figures of two versions are two.
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
  total: ranges.NonNegativeInt = 0
  percent: bool = True
  against: tuple[str, str] | None = None
  version: ranges.PositiveInt = 1

  def __post_init__(self):
    check.require(self.metrics, f"benchmark {self.name} has no metric")
    check.require(self.name and "/" not in self.name, f"benchmark {self.name!r}: a name is a word without a slash")
