"""What prepares and chooses rows: steps, scores, diversity, and the selection that is made of them. One file each.

A step goes over the rows once or twice and says of each what becomes of it. A score is one number a row. A selection
is steps, then scores, then a budget that is filled by a rule of diversity; all of it is one value of a recipe.
"""

import abc
from collections.abc import Iterable, Iterator, Mapping, Sequence
import dataclasses
import operator
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import ranges
from itune_jax.data import fields
from itune_jax.sampling import requests as requests_lib

Row = dict[str, Any]
Notes = dict[str, Any]


class Outcome(NamedTuple):
  """What becomes of a row: the row as it goes on, or None and the reason; marks name what was changed or found in it.

  Every reason and every mark is counted in the manifest. They are of few kinds: no text of the row is in them. told:
  what else is to be known of a row that is dropped, such as its file and place; of the first ones the manifest has it.
  """

  row: Row | None
  reason: str = ""
  marks: tuple[str, ...] = ()
  told: str = ""


def dropped(reason: str, told: str = "") -> Outcome:
  """A row that goes no further."""
  return Outcome(None, reason, told=told)


def seeded(value: Any, seed: int) -> Any:
  """A value of a recipe with another seed of all that it draws, also of the values within it."""
  if isinstance(value, tuple):
    found = tuple(seeded(one, seed) for one in value)
    return value if all(map(operator.is_, found, value)) else found
  if isinstance(value, type) or not dataclasses.is_dataclass(value):
    return value
  own = {one.name: vars(value)[one.name] for one in dataclasses.fields(value) if one.init and one.name in vars(value)}
  new = {name: seed if name == "seed" else seeded(one, seed) for name, one in own.items()}
  changed = {name: one for name, one in new.items() if one is not own[name]}
  whole: Any = value
  return dataclasses.replace(whole, **changed) if changed else value


class Held(NamedTuple):
  """An item of a benchmark that no row may hold: what it asks, and what is right ("" where that is no text)."""

  id: str
  prompt: str
  gold: str


class Asking(NamedTuple):
  """Whom a step asks. who: its name, as the provenance of rows has it."""

  responder: requests_lib.Responder
  who: str


class Outside(abc.ABC):
  """What steps need that lies outside of the rows; `run` makes it, since it knows benchmarks and models."""

  @abc.abstractmethod
  def items(self, name: str) -> Iterator[Held]:
    """The items of a registered benchmark, or of a file. Raises InputError where there is none of this name."""

  @abc.abstractmethod
  def benchmarks(self) -> list[str]:
    """The names of the registered benchmarks whose data is here."""

  @abc.abstractmethod
  def embed(self, encoder: str, texts: Sequence[str]) -> np.ndarray:
    """A vector for each text [N, D] float32, by a folder or known name of an encoder. Raises InputError."""

  def asking(self) -> Asking:
    """A model that answers. Raises InputError where none is named."""
    raise errors.InputError("a step asks a model: name it with --base, --adapter or --responder")


class Step(abc.ABC):
  """A frozen value that goes over rows. It never changes a row that it was given: it makes another one.

  needs: whether it asks a model. apart: whether what becomes of a row hangs on that row alone, so that any process may
  look at any rows.
  """

  needs: ClassVar[Literal["nothing", "model"]] = "nothing"
  apart: ClassVar[bool] = False

  def files(self) -> tuple[str, ...]:
    """The files beside the input that it reads: their digests are part of what a selection is."""
    return ()

  def opened(self, outside: Outside) -> "Step":
    """The step, with what it needs from outside; itself where that is nothing. Called just before its pass."""
    del outside
    return self

  def beginning(self, row: int) -> "Step":
    """A step that is `apart`, for rows of which the first has this number."""
    del row
    return self

  def noted(self, parts: Sequence[Notes]) -> Notes:
    """The notes of a step that is `apart`, of those on parts of the rows, in their order."""
    del parts
    return {}

  @abc.abstractmethod
  def apply(self, rows: Iterable[Row], notes: Notes) -> Iterator[Outcome]:
    """One outcome for each row, in their order.

    rows: may be iterated more than once. notes: what the manifest says of this step beside the counts (clusters, a
    report), read when the outcomes have ended; numbers of rows in it are `stages.At`.
    """


class RowStep(Step):
  """A step that looks at one row at a time; neighbouring ones share a pass."""

  apart = True

  @abc.abstractmethod
  def row(self, row: Row) -> Outcome:
    """What becomes of a row."""

  def apply(self, rows: Iterable[Row], notes: Notes) -> Iterator[Outcome]:
    """One outcome for each row."""
    del notes
    yield from map(self.outcome, rows)

  def outcome(self, row: Row) -> Outcome:
    """What becomes of a row; one that cannot bear what the step writes goes no further."""
    try:
      return self.row(row)
    except fields.BadRow as e:
      return dropped(str(e))


class Ask(abc.ABC):
  """A model on the mesh (or an endpoint), as scores, embeddings and tags ask it. `run` makes it of what the user names.

  responder: answers, and log-probabilities of given text. identity: what makes its numbers what they are, for the
  manifest.
  """

  responder: requests_lib.Responder
  identity: Mapping[str, Any]

  @property
  def name(self) -> str:
    """What rows call it that it wrote something of."""
    return str(self.identity.get("name", type(self).__name__))

  @abc.abstractmethod
  def tokens(self, rows: Sequence[Row]) -> np.ndarray:
    """The number of tokens of each row as the model's template renders it [N], for a budget in tokens."""


class Score(abc.ABC):
  """A frozen value that gives each row one number.

  name: under which a row's `scores` hold it, and which `--by` takes. needs: whether it asks a model. apart: whether the
  number of a row hangs on that row alone, so that rows may be given in blocks and finished blocks are kept. best:
  which end is wanted.
  """

  name: str
  needs: ClassVar[Literal["nothing", "model"]] = "nothing"
  apart: ClassVar[bool] = True
  best: ClassVar[Literal["high", "low"]] = "high"

  @abc.abstractmethod
  def score(self, rows: Sequence[Row], ask: Ask | None) -> np.ndarray:
    """One float64 a row [N]; NaN for a row that has no such number, which is then left out and counted.

    ask: a model where `needs` says so, else None.
    """


class Diversity(abc.ABC):
  """A frozen value: in which order rows are taken, so that what is taken is not all alike."""

  @property
  def needs(self) -> Literal["nothing", "model"]:
    """Whether it asks a model, which may hang on its values."""
    return "nothing"

  @abc.abstractmethod
  def order(
    self, rows: Sequence[Row], worth: np.ndarray, most: int, random: np.random.Generator, ask: Ask | None
  ) -> Sequence[int]:
    """The numbers of rows, the first to be taken first; the budget takes from the front, and may end before the last.

    worth: what each row is worth [N] float64, the more the better; zeros without scores. most: rows that the budget can
    hold at the most. random: all randomness that it may use. A row that is never to be taken is left out.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Best(Diversity):
  """No diversity: the rows of most worth, those that stand first among equals."""

  def order(
    self, rows: Sequence[Row], worth: np.ndarray, most: int, random: np.random.Generator, ask: Ask | None
  ) -> Sequence[int]:
    """All rows by worth."""
    del rows, most, random, ask
    return np.argsort(-worth, kind="stable").tolist()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
  """How much is kept, in one unit at most; nothing set keeps all.

  rows: so many rows. share: this part of the rows that came through the steps, rounded to the nearest row. tokens: as
  many rows as have so many tokens together; the first row that does not fit is left out, and so are those behind it.
  """

  rows: int = 0
  share: float = 0.0
  tokens: int = 0

  def __post_init__(self):
    check.check_types(self)
    given = [name for name, value in dataclasses.asdict(self).items() if value]
    check.require(len(given) < 2, f"Budget has {' and '.join(given)}: one unit is enough")
    check.require(
      self.rows >= 0 and 0 <= self.share <= 1 and self.tokens >= 0,
      f"Budget: rows = {self.rows} and tokens = {self.tokens} are 0 or more, share = {self.share} is between 0 and 1",
    )

  def most(self, rows: int) -> int:
    """Of so many rows, those that it can hold at the most."""
    if self.share:
      return round(self.share * rows)
    return min(self.rows or rows, rows)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
  """How rows are prepared and chosen.

  steps: what the rows go through, in this order. scores: what is written into each row's `scores`, and what rows are
  chosen by. combine: how several scores become the worth of a row: the mean of its ranks, or the product or the sum of
  the numbers as they are. budget: how much is kept. diversity: the order in which it is filled. seed: of all that is
  drawn. bad_rows: whether what is no JSON object is dropped and counted, or refused.
  """

  steps: tuple[Step, ...] = ()
  scores: tuple[Score, ...] = ()
  combine: Literal["ranks", "product", "sum"] = "ranks"
  budget: Budget = Budget()
  diversity: Diversity = Best()
  seed: ranges.Seed = 0
  bad_rows: Literal["drop", "refuse"] = "drop"

  def __post_init__(self):
    check.check_types(self)
    check.require(self.seed >= 0, f"Selection.seed = {self.seed}; it is 0 or more")
    names = [score.name for score in self.scores]
    twice = sorted({name for name in names if names.count(name) > 1})
    check.require(not twice, f"Selection: two scores are called {', '.join(twice)}; give one another name")

  @property
  def needs_model(self) -> bool:
    """Whether a step, a score or the diversity asks a model, or tokens have to be counted."""
    return bool(self.budget.tokens) or any(one.needs == "model" for one in (*self.steps, *self.scores, self.diversity))
