"""What a generator of data is: numbered items, each a function that asks, reads, and ends in candidates. One file each.

An item is written as a coroutine: it yields what it wants to know (answers, verdicts of programs), is given that, and
returns candidates. The runner walks many items at once, so none is asked alone; since an item sees nothing but its
number, its own answers, and the rows of earlier rounds, neither the batch nor the number of processes changes a byte.
"""

import abc
from collections.abc import Generator as Coroutine
from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import functools
from typing import Any, NamedTuple
import zlib

import numpy as np

from itune_jax.core import check
from itune_jax.core import conversation as conversation_lib
from itune_jax.core import ranges
from itune_jax.grading.sandbox import sandbox
from itune_jax.sampling import requests as requests_lib
from itune_jax.synth import faults as faults_lib
from itune_jax.synth import gates
from itune_jax.synth import samplers
from itune_jax.synth import sources

Row = dict[str, Any]
Pool = Sequence[Mapping[str, Any]]
TEACHER = "teacher"


class Candidate(NamedTuple):
  """A row that an item made, and why it is not kept; "" where nothing speaks against it so far."""

  row: Row
  reason: str = ""


class Asks(NamedTuple):
  """Requests of an item to whoever has a role: the teacher, a judge, a backward model."""

  requests: Sequence[requests_lib.Request]
  role: str = TEACHER


class Runs(NamedTuple):
  """Programs of an item, run in a sandbox with these limits."""

  jobs: Sequence[sandbox.Job]
  box: sandbox.Sandbox


class Outcome(NamedTuple):
  """What became of a program: verdict, reason, and the beginning of what it printed."""

  verdict: str
  detail: str
  output: str


Steps = Coroutine["Asks | Runs", Any, list[Candidate]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generator(abc.ABC):
  """A frozen value. Item n is a function of (the value, n, the rows of earlier rounds, its answers).

  name: of the stage; it is in every id. seed: of all that is drawn. limit: new tokens of an answer at most, 0 for the
  responder's own. temperature, top_p: how answers are drawn. system: a system turn before every question, "" for none.
  faults: which answers of a teacher are none. attributes: what is drawn for each item and told to the teacher, so that
  rows differ.
  """

  name: str
  seed: ranges.Seed = 0
  limit: ranges.NonNegativeInt = 0
  temperature: ranges.NonNegativeFloat = 0.7
  top_p: ranges.PositiveShare = 1.0
  system: str = ""
  faults: faults_lib.Faults = faults_lib.Faults()
  attributes: samplers.Attributes = samplers.Attributes()

  def __post_init__(self):
    check.check_types(self)
    check.require(self.limit >= 0 and self.seed >= 0, f"{self.name}: limit and seed are 0 or more")
    drawn = self.takes_attributes or self.attributes == samplers.Attributes()
    check.require(drawn, f"{type(self).__name__} tells its teacher no attributes: its questions are given, or its own")

  @property
  def takes_attributes(self) -> bool:
    """Whether attributes are drawn and told."""
    return False

  @property
  def kind(self) -> str:
    """Where rows stand in the taxonomy: `distilled`, or `self_generated` where the teacher is who will learn."""
    return "self_generated"

  @property
  def roles(self) -> tuple[str, ...]:
    """Who is asked."""
    return (TEACHER,)

  @property
  def items(self) -> int:
    """How many items there are; 0 for as many as are wanted."""
    return 0

  @property
  def round(self) -> int:
    """Items of a round: each sees the rows of the rounds before its own. 0: items see no rows."""
    return 0

  @property
  def inputs(self) -> tuple[str, ...]:
    """The files that it reads."""
    return ()

  @property
  def reads(self) -> tuple[str, ...]:
    """Those of them whose rows are examples."""
    return ()

  @property
  def asks(self) -> bool:
    """Whether what it writes comes from a teacher: its licence is then that of the rows."""
    return True

  @property
  def prompts(self) -> Mapping[str, str]:
    """The texts that it asks with, by name, for the manifest."""
    return {}

  @abc.abstractmethod
  def make(self, n: int, pool: Pool) -> Steps:
    """The coroutine of item n: yields `Asks` and `Runs`, is sent responses and outcomes, returns candidates."""

  def gate(self) -> gates.Gate:
    """What keeps a row out because of the rows before it; all are let through here."""
    return gates.Gate()

  def random(self, n: int, *what: str) -> np.random.Generator:
    """The randomness of item n, for one purpose."""
    names = [zlib.crc32(text.encode()) for text in (self.name, *what)]
    return np.random.Generator(np.random.PCG64([self.seed, n, *names]))

  def request(
    self, n: int, what: str, asked: conversation_lib.Conversation | str, /, **more: Any
  ) -> requests_lib.Request:
    """A request of item n; `what` names it within the item. more: in place of what the generator says."""
    drawn = {"limit": self.limit, "temperature": self.temperature, "top_p": self.top_p}
    return requests_lib.Request(conversation=asked, id=f"{self.name}/{n}/{what}", **(drawn | more))

  def question(self, text: str) -> conversation_lib.Conversation:
    """A user's turn, behind the system turn where there is one."""
    turns = ({"role": "system", "content": self.system},) if self.system else ()
    return conversation_lib.Conversation((*turns, {"role": "user", "content": text}))

  def drawn(self, n: int) -> dict[str, str]:
    """The attributes of item n."""
    return self.attributes.draw(self.random(n, "attributes"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class OverPrompts(Generator):
  """One whose items are the rows of a file.

  prompts_file: rows in any known format, or a split of the starter set (`starter:train`). first: how many of its rows,
  0 for all.
  """

  prompts_file: str
  first: ranges.NonNegativeInt = 0

  def __post_init__(self):
    super().__post_init__()
    check.require(self.prompts_file, f"{type(self).__name__}.prompts_file is empty: give a file of rows (--data)")
    check.require(self.first >= 0, f"{type(self).__name__}.first = {self.first}; it counts rows, 0 for all")

  @functools.cached_property
  def rows_in(self) -> sources.Inputs:
    """The rows of its file."""
    found = sources.read(self.prompts_file)
    return found if not self.first else found.head(self.first)

  @property
  def items(self) -> int:
    """One a row."""
    return len(self.rows_in.examples)

  @property
  def inputs(self) -> tuple[str, ...]:
    """Its file."""
    return (self.prompts_file,)

  @property
  def reads(self) -> tuple[str, ...]:
    """Its file."""
    return (self.prompts_file,)


def ask(
  requests: Sequence[requests_lib.Request], role: str = TEACHER
) -> Coroutine[Any, Any, list[requests_lib.Response]]:
  """For `yield from`: the responses to some requests."""
  return (yield Asks(requests, role)) if requests else []


def run(jobs: Sequence[sandbox.Job], box: sandbox.Sandbox) -> Coroutine[Any, Any, list[Outcome]]:
  """For `yield from`: the outcomes of some programs."""
  return (yield Runs(jobs, box)) if jobs else []


def pair(question: str, answer: str, system: str = "") -> list[dict[str, Any]]:
  """The messages of one question and its answer."""
  turns = [{"role": "system", "content": system}] if system else []
  return [*turns, {"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def kept(candidates: Sequence[Candidate]) -> Iterator[Row]:
  """The rows that nothing speaks against."""
  return (one.row for one in candidates if not one.reason)
