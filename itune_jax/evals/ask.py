"""The ways of asking: an answer is generated, chosen among given ones, scored as given, or a whole text is scored."""

from collections.abc import Sequence
import dataclasses
from typing import Any, Literal

from itune_jax.core import check
from itune_jax.core import conversation as conversation_lib
from itune_jax.core import errors
from itune_jax.core import ranges
from itune_jax.evals import protocol
from itune_jax.sampling import requests as requests_lib
from itune_jax.sampling.decode import watch

THINK_END = requests_lib.THINK_END
Verdict = Literal["answered", "empty", "cut_off", "too_long", "missing"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generate(protocol.Pooled):
  """`n` answers to each question; the answer is a `Response`.

  What a model thinks, up to the last `</think>`, is no part of its answer: it is cut off before anything else. With
  `thinks` the stop strings count behind it alone; an answer that never comes to an end of its thinking is none.

  limit: most new tokens, 0 for the responder's own. stop: strings that end an answer. form: how the prompt is put.
  temperature, top_p: how tokens are drawn; None is as the responder has it. budget: of a model that thinks, so many
  tokens after which its thinking is ended and the answer follows, whose limit counts behind it; 0 for none.
  """

  n: ranges.PositiveInt = 1
  limit: ranges.NonNegativeInt = 0
  stop: tuple[str, ...] = ()
  form: protocol.Form = "chat"
  temperature: float | None = None
  top_p: float | None = None
  thinks: bool = False
  budget: ranges.NonNegativeInt = 0
  kind = "answer"
  generates = True

  def __post_init__(self):
    check.check_types(self)
    check.require(self.budget >= 0, f"Generate.budget = {self.budget}; it counts tokens, 0 is none")
    check.require(self.thinks or not self.budget, "Generate.budget is of a model that thinks (Generate.thinks)")

  def fit(self, item: protocol.Item, responder: requests_lib.Responder) -> protocol.Item:
    """The item with as many of its shots as leave room for an answer."""
    return _fitted(item, self.form, responder, self.budget + (self.limit or 1))

  def asked(self, item: protocol.Item, responder: requests_lib.Responder) -> list[protocol.Asked]:
    """One request; none where even the bare question leaves no room."""
    prompt = item.prompt(self.form)
    if not responder.fits(prompt, 1):
      return []
    return [
      requests_lib.Request(
        conversation=prompt,
        id=item.id,
        n=self.n,
        limit=self.limit,
        stop=() if self.thinks else self.stop,
        temperature=self.temperature,
        top_p=self.top_p,
        thinking=self.budget,
      )
    ]

  def answer(self, item: protocol.Item, results: Sequence[Any]) -> requests_lib.Response:
    """The answers, without what was thought."""
    if not results:
      return requests_lib.Response(item.id, (requests_lib.Sample("", "too_long"),) * self.n)
    return results[0]._replace(id=item.id, samples=tuple(self._said(sample) for sample in results[0].samples))

  def _said(self, sample: requests_lib.Sample) -> requests_lib.Sample:
    _, ended, behind = sample.text.rpartition(THINK_END)
    if self.thinks and not ended:
      return sample._replace(text="")
    text = behind.lstrip("\n") if ended else sample.text
    cut = watch.first(text, self.stop) if self.thinks and self.stop else None
    return sample._replace(text=text[: cut[0]] if cut else text)

  def row(self, item: protocol.Item, answer: requests_lib.Response) -> dict[str, Any]:
    """Question, first answer, how it ended, and the others where there are more."""
    found = {**_shown(item), "output": answer.text, "answer": item.answer, "verdict": verdict(answer)}
    found["stopped"] = answer.samples[0].finish != "length"
    found |= thought(self, [answer])
    if answer.usage is not None:
      found["usage"] = answer.usage._asdict()
    return found | ({"outputs": [sample.text for sample in answer.samples]} if self.n > 1 else {})


def thought(how: Generate, answers: Sequence[requests_lib.Response]) -> dict[str, float]:
  """The share of samples whose thinking was ended at its budget; nothing where there is none."""
  samples = [sample for answer in answers for sample in answer.samples]
  return {"thinking_cut": sum(sample.thinking_cut for sample in samples) / len(samples)} if how.budget else {}


def verdict(answer: requests_lib.Response) -> Verdict:
  """What became of an answer, before anybody judges it: one that was cut off or is empty may be wrong for that alone.

  Of several samples it is answered if one of them is.
  """
  order: tuple[Verdict, ...] = ("answered", "cut_off", "empty", "too_long", "missing")
  found = {_verdict(sample) for sample in answer.samples}
  return next(one for one in order if one in found)


def _verdict(sample: requests_lib.Sample) -> Verdict:
  if sample.finish == "failed":  # nothing was said: an endpoint gave no answer
    return "missing"
  if sample.finish == "missing" or sample.finish == "too_long":
    return sample.finish
  if sample.finish == "length":
    return "cut_off"
  return "answered" if sample.text.strip() else "empty"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choose(protocol.Pooled):
  """How likely each of the item's choices is behind its question; the answer is a tuple of `Score`s.

  form: how the prompt is put; behind a conversation choices stand without the space in front of them.
  """

  form: protocol.Form = "plain"
  kind = "score"

  def fit(self, item: protocol.Item, responder: requests_lib.Responder) -> protocol.Item:
    """The item with as many of its shots as leave room for its longest choice, a byte of it counted as a token."""
    return _fitted(item, self.form, responder, max((len(one.encode()) for one in item.choices), default=0))

  def asked(self, item: protocol.Item, responder: requests_lib.Responder) -> list[protocol.Asked]:
    """A pair for each choice. Raises InputError for an item with fewer than two choices."""
    check.require(len(item.choices) > 1, f"item {item.id} has {len(item.choices)} choices: two are the least")
    prompt = item.prompt(self.form)
    return [requests_lib.Pair(prompt, _behind(prompt, choice)) for choice in item.choices]

  def answer(self, item: protocol.Item, results: Sequence[Any]) -> tuple[requests_lib.Score, ...]:
    """The scores in the order of the choices."""
    return tuple(results)

  def row(self, item: protocol.Item, answer: tuple[requests_lib.Score, ...]) -> dict[str, Any]:
    """The choices, their log-probabilities, and which of them greedy decoding would give."""
    found = {"logprobs": [score.logprob for score in answer], "greedy": [score.is_greedy for score in answer]}
    return {**_shown(item), "choices": list(item.choices), **found, "answer": item.answer, **_usage(answer)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score(protocol.Pooled):
  """How likely the item's answer is behind its question; the answer is a `Score`. form: how the prompt is put."""

  form: protocol.Form = "plain"
  kind = "score"

  def fit(self, item: protocol.Item, responder: requests_lib.Responder) -> protocol.Item:
    """The item with as many of its shots as leave room for its answer, a byte of it counted as a token."""
    return _fitted(item, self.form, responder, len(str(item.answer).encode()))

  def asked(self, item: protocol.Item, responder: requests_lib.Responder) -> list[protocol.Asked]:
    """One pair."""
    prompt = item.prompt(self.form)
    return [requests_lib.Pair(prompt, _behind(prompt, str(item.answer)))]

  def answer(self, item: protocol.Item, results: Sequence[Any]) -> requests_lib.Score:
    """The score."""
    return results[0]

  def row(self, item: protocol.Item, answer: requests_lib.Score) -> dict[str, Any]:
    """The log-probability, and whether greedy decoding would give the answer."""
    found = {"logprob": answer.logprob, "greedy": answer.is_greedy, "tokens": answer.tokens}
    return {**_shown(item), "answer": item.answer, **found, **_usage((answer,))}


@dataclasses.dataclass(frozen=True)
class Rolling(protocol.Pooled):
  """How likely a whole text is, however long; the question is the text, the answer a `Score`."""

  kind = "rolling"

  def asked(self, item: protocol.Item, responder: requests_lib.Responder) -> list[protocol.Asked]:
    """The text. Raises InputError for an item that is no plain text."""
    if not isinstance(item.question, str):
      raise errors.InputError(f"item {item.id}: only plain text is scored as a whole")
    return [item.question]

  def answer(self, item: protocol.Item, results: Sequence[Any]) -> requests_lib.Score:
    """The score."""
    return results[0]

  def row(self, item: protocol.Item, answer: requests_lib.Score) -> dict[str, Any]:
    """The log-probability, and what it can be divided by."""
    text = str(item.question)
    counts = {"tokens": answer.tokens, "words": len(text.split()), "bytes": len(text.encode())}
    return {"prompt": text[:200], "logprob": answer.logprob, **counts}


def _fitted(item: protocol.Item, form: protocol.Form, responder: requests_lib.Responder, room: int) -> protocol.Item:
  kept = len(item.shots)
  while kept and not responder.fits(item.prompt(form, kept), room):
    kept -= 1
  dropped = len(item.shots) - kept
  return dataclasses.replace(item, shots=item.shots[dropped:], dropped=dropped) if dropped else item


def _behind(prompt: conversation_lib.Conversation | str, text: str) -> str:
  """A continuation as it stands behind a prompt: an answer of a conversation does not begin with a space."""
  return text if isinstance(prompt, str) else text.lstrip()


def _usage(scores: Sequence[requests_lib.Score]) -> dict[str, Any]:
  """The tokens of a question, which is read once, and of all that was scored behind it; nothing where not known."""
  prompt = max(score.prompt for score in scores)
  return {"usage": {"prompt": prompt, "answer": sum(score.tokens for score in scores)}} if prompt else {}


def _shown(item: protocol.Item) -> dict[str, Any]:
  """What a reader of the rows sees of a question: its last text, all messages where there are several, and how many
  shots stood in front of it."""
  found: dict[str, Any] = {}
  if isinstance(item.question, str):
    found["prompt"] = item.question
  else:
    content = item.question.messages[-1].get("content")
    text = content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())
    found["prompt"] = text
    if len(item.question.messages) > 1:
      found["messages"] = [dict(message) for message in item.question.messages]
  shots = {"shots": len(item.shots)} if item.shots or item.dropped else {}
  return found | shots | ({"shots_dropped": item.dropped} if item.dropped else {})
