"""Is a text supported by its source? Asked of a model by the log-probabilities of yes and no, chunk by claim, and held
against what people say. Benchmarks of human judgements (QAGS, FRANK, AggreFact, SummEdits, FaithDial) are made of it.

The model that is evaluated is the judge. An item's question is the source, `answer` what people say (1 is faithful, a
share where several judged), `shown["text"]` what must follow from the source.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np

from itune_jax.core import conversation
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.grading.faithfulness import schemes
from itune_jax.grading.judging import parsers
from itune_jax.grading.judging import safety_prompts
from itune_jax.grading.statistics import metrics as statistics
from itune_jax.grading.statistics import pair_metrics
from itune_jax.sampling import requests as requests_lib

VARIANTS = ("alignscore", "summac_zs", "whole", "text")
ANSWERS = ("yes", "no")
_RUBRIC = safety_prompts.SUPPORT


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contrast(protocol.Pooled):
  """Yes and no behind every chunk and claim; the answer is a tuple of `Score`s, chunk by chunk, claim by claim.

  scheme: of `schemes.SCHEMES`. form: how the question is put.
  """

  scheme: str
  form: protocol.Form = "chat"
  kind = "score"

  def asked(self, item: protocol.Item, responder: requests_lib.Responder) -> list[protocol.Asked]:
    """Two pairs for each chunk and claim."""
    prompts = [self._prompt(chunk, claim) for chunk, claim in parts(item, self.scheme)]
    space = "" if self.form != "plain" else " "
    return [requests_lib.Pair(prompt, space + one) for prompt in prompts for one in ANSWERS]

  def _prompt(self, chunk: str, claim: str) -> conversation.Conversation | str:
    filled = _RUBRIC.filled({"context": chunk, "answer": claim})
    return filled if self.form != "plain" else f"{filled.messages[-1]['content']}\nAnswer:"

  def answer(self, item: protocol.Item, results: Sequence[Any]) -> tuple[requests_lib.Score, ...]:
    """The scores in the order of `asked`."""
    return tuple(results)

  def row(self, item: protocol.Item, answer: tuple[requests_lib.Score, ...]) -> dict[str, Any]:
    """Source and text; the matrix is the grade's to show."""
    return {"prompt": item.question, "answer": item.answer}


def parts(item: protocol.Item, scheme: str) -> list[tuple[str, str]]:
  """(chunk, claim) of an item, chunk by chunk."""
  how = schemes.SCHEMES[scheme]
  claims = how.claims(item.shown["text"])
  return [(chunk, claim) for chunk in how.chunks(str(item.question)) for claim in claims]


def matrix(item: protocol.Item, scheme: str, answer: Sequence[requests_lib.Score]) -> np.ndarray:
  """p(yes) / (p(yes) + p(no)) of each chunk and claim [chunks, claims]."""
  claims = len(schemes.SCHEMES[scheme].claims(item.shown["text"]))
  logprobs = np.array([score.logprob for score in answer]).reshape(-1, 2)
  return (1 / (1 + np.exp(np.clip(logprobs[:, 1] - logprobs[:, 0], -700, 700)))).reshape(-1, claims)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judgements:
  """A benchmark of people's judgements.

  name: its. items: in the form of this module. values: of (item, score, said), what the metrics are made of; `said` is
  whether the score says yes, None where nothing was read. metrics: their names with `values`. tags: as a benchmark's.
  """

  name: str
  items: Callable[[], Iterable[protocol.Item]]
  values: Callable[[protocol.Item, float | None, bool | None], Mapping[str, Any]]
  metrics: Mapping[str, statistics.Metric]
  tags: tuple[str, ...] = ()

  def benchmark(self, settings: official.Settings) -> protocol.Benchmark:
    """The benchmark by log-probabilities with a scheme, or, of the variant `text`, with an answer that is generated."""
    if settings.variant == "text":
      ask: protocol.Ask = Asked(how=official.generate(settings, limit=16, temperature=0.0))
      grade = protocol.each(self._of_text)
    else:
      form: protocol.Form = "plain" if settings.form == "plain" else "chat"
      ask = Contrast(scheme=settings.variant, form=form)
      grade = protocol.each(lambda item, answer: self._of_scores(item, answer, settings.variant))
    metrics = {**self.metrics, "unread": statistics.Mean("lower")}
    return protocol.Benchmark(name=self.name, items=self.items, ask=ask, grade=grade, metrics=metrics, tags=self.tags)

  def _of_scores(self, item: protocol.Item, answer: Sequence[requests_lib.Score], scheme: str) -> protocol.Graded:
    how, table = schemes.SCHEMES[scheme], matrix(item, scheme, answer)
    score = how.score(table)
    values = {**self.values(item, score, score > how.neutral), "unread": 0.0}
    return protocol.Graded(values, {"support": table.round(4).tolist(), "score": score})

  def _of_text(self, item: protocol.Item, answer: requests_lib.Response) -> protocol.Graded:
    """An answer that is neither yes nor no is wrong, and has no part in correlations."""
    score = said_yes(answer.text)
    values = {**self.values(item, score, None if score is None else score > 0.5), "unread": float(score is None)}
    return protocol.Graded(values, {"score": score})


def said_yes(text: str) -> float | None:
  """1 for yes, 0 for no; None for an answer that begins with neither."""
  return parsers.PARSERS[_RUBRIC.reads](text)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked(protocol.Pooled):
  """The rubric with the whole source and text, answered in words; the answer is a `Response`."""

  how: Any
  kind = "answer"
  generates = True

  def asked(self, item: protocol.Item, responder: requests_lib.Responder) -> list[protocol.Asked]:
    """One request."""
    return self.how.asked(_put(item), responder)

  def answer(self, item: protocol.Item, results: Sequence[Any]) -> requests_lib.Response:
    """The answer, without what was thought."""
    return self.how.answer(item, results)

  def row(self, item: protocol.Item, answer: requests_lib.Response) -> dict[str, Any]:
    """The source, and what was said."""
    return self.how.row(item, answer)


def _put(item: protocol.Item) -> protocol.Item:
  return dataclasses.replace(
    item, question=_RUBRIC.filled({"context": str(item.question), "answer": item.shown["text"]})
  )


CORRELATIONS: Mapping[str, statistics.Metric] = {
  "pearson": pair_metrics.Pearson(),
  "spearman": pair_metrics.Spearman(),
  "auc": pair_metrics.Auc(),
  "balanced_accuracy": pair_metrics.BalancedAccuracy(),
}


def correlated(item: protocol.Item, score: float | None, said: bool | None) -> dict[str, Any]:
  """Values by `CORRELATIONS`: the human share with the score, and the label (all judge it faithful) with both."""
  human, label = float(item.answer), int(item.answer >= 0.5)
  pair = None if score is None else [human, score]
  return {
    "pearson": pair,
    "spearman": pair,
    "auc": None if score is None else [label, score],
    "balanced_accuracy": [label, -1 if said is None else int(said)],
  }
