"""Steps that ask a model about rows, many rows at a time: what is asked of a row, and what its answer makes of it.

A step that was killed asks nobody twice: answers are kept as they come (`sampling.responders.journal`), each under a
digest of its whole request. What comes out is a function of the answers alone.
"""

import abc
from collections.abc import Callable, Iterable, Iterator, Mapping
import dataclasses
import itertools
from typing import Any, ClassVar, Literal

from itune_jax.core import check
from itune_jax.core import conversation as conversation_lib
from itune_jax.core import errors
from itune_jax.core import ranges
from itune_jax.data import fields
from itune_jax.sampling import requests as requests_lib
from itune_jax.select import select_protocol

BLOCK = 512  # rows that are asked about together
_NO_ANSWER = {
  "length": "the answer was cut off",
  "content_filter": "the endpoint refused",
  "failed": "there was no answer",
  "missing": "there was no answer",
  "too_long": "the row leaves no room for an answer",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class AskedStep(select_protocol.Step):
  """A step that asks about each row at most once.

  limit: most tokens of an answer. temperature: how it is drawn, 0 for greedily. unread: what becomes of a row whose
  answer was cut off, refused, or is none of what was asked for.
  """

  needs: ClassVar[Literal["nothing", "model"]] = "model"
  writes: ClassVar[Mapping[str, Callable[[select_protocol.Row, str], Any]]] = {}  # keys that are added to, and how read
  limit: ranges.PositiveInt = 512
  temperature: ranges.NonNegativeFloat = 0.0
  unread: Literal["keep", "drop"] = "drop"

  def __post_init__(self):
    check.check_types(self)
    check.require(
      self.limit > 0 and self.temperature >= 0, f"{type(self).__name__}: limit is above 0, temperature 0 up"
    )

  @abc.abstractmethod
  def question(self, row: select_protocol.Row) -> conversation_lib.Conversation | select_protocol.Outcome:
    """What is asked about a row, or what becomes of it without a question."""

  @abc.abstractmethod
  def answered(self, row: select_protocol.Row, text: str, who: str) -> select_protocol.Outcome:
    """What a whole answer makes of the row. who: gave it."""

  def unanswered(self, row: select_protocol.Row, why: str) -> select_protocol.Outcome:
    """A row whose answer cannot be used. why: of few kinds, since it is counted."""
    return select_protocol.dropped(why) if self.unread == "drop" else select_protocol.Outcome(row, marks=(why,))

  def opened(self, outside: select_protocol.Outside) -> select_protocol.Step:
    """With the model."""
    return _Opened(self, outside.asking())

  def apply(
    self, rows: Iterable[select_protocol.Row], notes: select_protocol.Notes
  ) -> Iterator[select_protocol.Outcome]:
    """Only what was opened has a model."""
    del rows, notes
    raise errors.InputError(f"{type(self).__name__}: open it first, so that it has its model")


class _Opened(select_protocol.Step):
  """A step with whom it asks."""

  def __init__(self, step: AskedStep, asking: select_protocol.Asking):
    self._step, self._asking = step, asking

  def apply(
    self, rows: Iterable[select_protocol.Row], notes: select_protocol.Notes
  ) -> Iterator[select_protocol.Outcome]:
    """Block by block; the notes say who was asked, how often, and what the answers cost where that is known,
    and why the first of those that are missing is."""
    told = {"asked": 0, "prompt_tokens": 0, "answer_tokens": 0, "tokens_unknown": 0}
    notes |= {"model": self._asking.who}
    notes["answers"] = told
    numbered = enumerate(rows)
    while block := list(itertools.islice(numbered, BLOCK)):
      questions = {number: self._question(row) for number, row in block}
      asked = [self._request(number, one) for number, one in questions.items() if not _is_outcome(one)]
      answers = {one.id: one for one in self._asking.responder.answer(asked)} if asked else {}
      for one in answers.values():
        _count(told, one)
        if one.samples[0].problem:  # all that failed fail alike, mostly: one says why
          notes.setdefault("no_answer", one.samples[0].problem)
      for number, row in block:
        one = questions[number]
        yield one if isinstance(one, select_protocol.Outcome) else self._outcome(row, answers[self._id(number)])

  def _question(self, row: select_protocol.Row) -> conversation_lib.Conversation | select_protocol.Outcome:
    """What is asked; a row that cannot bear the answer is not asked about."""
    found = self._step.question(row)
    try:
      for key, read in self._step.writes.items() if not _is_outcome(found) else ():
        read(row, key)
    except fields.BadRow as e:
      return select_protocol.dropped(str(e))
    return found

  def _outcome(self, row: select_protocol.Row, response: requests_lib.Response) -> select_protocol.Outcome:
    sample = response.samples[0]
    if sample.finish in _NO_ANSWER:
      return self._step.unanswered(row, _NO_ANSWER[sample.finish])
    if not sample.text.strip():
      return self._step.unanswered(row, "the answer is empty")
    try:
      return self._step.answered(row, sample.text, self._asking.who)
    except fields.BadRow as e:  # it cannot bear what the answer makes of it
      return select_protocol.dropped(str(e))

  def _request(self, number: int, asked) -> requests_lib.Request:
    how = {"limit": self._step.limit, "temperature": self._step.temperature}
    return requests_lib.Request(conversation=asked, id=self._id(number), **how)

  def _id(self, number: int) -> str:
    """Of the row's place in the pass, which a selection that goes on finds again."""
    return f"{type(self._step).__name__}/{number}"


def _is_outcome(one: object) -> bool:
  return isinstance(one, select_protocol.Outcome)


def _count(told: dict[str, int], response: requests_lib.Response) -> None:
  told["asked"] += 1
  if response.usage is None:
    told["tokens_unknown"] += 1
  else:
    told["prompt_tokens"] += response.usage.prompt
    told["answer_tokens"] += response.usage.answer
