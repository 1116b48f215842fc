"""The ways of asking: an answer is generated, chosen among given ones, scored as given, or a whole text is scored."""

from collections.abc import Sequence
import dataclasses
from typing import Any

from itune_jax.core import check
from itune_jax.core import conversation as conversation_lib
from itune_jax.evals import protocol
from itune_jax.sampling import requests as requests_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generate(protocol.Ask):
  """`n` answers to each question; the answer is a `Response`. limit: most new tokens, 0 for the responder's own."""

  n: int = 1
  limit: int = 0
  stop: tuple[str, ...] = ()

  def __post_init__(self):
    check.check_types(self)

  def __call__(
    self, items: Sequence[protocol.Item], responder: requests_lib.Responder, progress: requests_lib.Progress
  ) -> list[requests_lib.Response]:
    """The answer to each item."""
    return responder.answer([self._request(item) for item in items], progress)

  def _request(self, item: protocol.Item) -> requests_lib.Request:
    conversation = conversation_lib.of(item.question)
    return requests_lib.Request(conversation=conversation, id=item.id, n=self.n, limit=self.limit, stop=self.stop)

  def row(self, item: protocol.Item, answer: requests_lib.Response) -> dict[str, Any]:
    """Question, first answer, and how often an answer ended by itself."""
    found: dict[str, Any] = {"prompt": _shown(item.question), "output": answer.text, "answer": item.answer}
    found["stopped"] = answer.samples[0].finish != "length"
    return found | ({"outputs": [sample.text for sample in answer.samples]} if self.n > 1 else {})


@dataclasses.dataclass(frozen=True)
class Choose(protocol.Ask):
  """How likely each of the item's choices is behind its question; the answer is a tuple of `Score`s."""

  def __call__(
    self, items: Sequence[protocol.Item], responder: requests_lib.Responder, progress: requests_lib.Progress
  ) -> list[tuple[requests_lib.Score, ...]]:
    """The answer to each item. Raises InputError for an item with fewer than two choices."""
    for item in items:
      check.require(len(item.choices) > 1, f"item {item.id} has {len(item.choices)} choices: two are the least")
    scores = iter(
      responder.score([requests_lib.Pair(item.question, choice) for item in items for choice in item.choices], progress)
    )
    return [tuple(next(scores) for _ in item.choices) for item in items]

  def row(self, item: protocol.Item, answer: tuple[requests_lib.Score, ...]) -> dict[str, Any]:
    """The choices and their log-probabilities."""
    logprobs = [score.logprob for score in answer]
    return {"prompt": _shown(item.question), "choices": list(item.choices), "logprobs": logprobs, "answer": item.answer}


@dataclasses.dataclass(frozen=True)
class Score(protocol.Ask):
  """How likely the item's answer is behind its question; the answer is a `Score`."""

  def __call__(
    self, items: Sequence[protocol.Item], responder: requests_lib.Responder, progress: requests_lib.Progress
  ) -> list[requests_lib.Score]:
    """The answer to each item."""
    return responder.score([requests_lib.Pair(item.question, str(item.answer)) for item in items], progress)

  def row(self, item: protocol.Item, answer: requests_lib.Score) -> dict[str, Any]:
    """The log-probability."""
    return {"prompt": _shown(item.question), "answer": item.answer, "logprob": answer.logprob, "tokens": answer.tokens}


@dataclasses.dataclass(frozen=True)
class Rolling(protocol.Ask):
  """How likely a whole text is, however long; the question is the text, the answer a `Score`."""

  def __call__(
    self, items: Sequence[protocol.Item], responder: requests_lib.Responder, progress: requests_lib.Progress
  ) -> list[requests_lib.Score]:
    """The answer to each item. Raises InputError for an item that is no plain text."""
    texts = []
    for item in items:
      check.require(isinstance(item.question, str), f"item {item.id}: only plain text is scored as a whole")
      texts.append(str(item.question))
    return responder.rolling(texts, progress)

  def row(self, item: protocol.Item, answer: requests_lib.Score) -> dict[str, Any]:
    """The log-probability, and what it can be divided by."""
    text = str(item.question)
    counts = {"tokens": answer.tokens, "words": len(text.split()), "bytes": len(text.encode())}
    return {"prompt": text[:200], "logprob": answer.logprob, **counts}


def _shown(question: conversation_lib.Conversation | str) -> str:
  """What a reader of the rows sees of a question: its last text."""
  if isinstance(question, str):
    return question
  content = question.messages[-1].get("content")
  return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())
