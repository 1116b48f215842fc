"""Claim by claim: an answer is cut into claims, and a judge says of each whether passages support it.

Claims are sentences. Passages are chunks of a given source, or what BM25 finds in a corpus.
"""

from collections.abc import Callable, Sequence
import dataclasses
import re
from typing import Any

from itune_jax.evals import judged
from itune_jax.evals import protocol
from itune_jax.grading.faithfulness import schemes
from itune_jax.grading.ifeval import texts
from itune_jax.grading.judging import reading as reading_lib
from itune_jax.grading.judging import safety_prompts
from itune_jax.grading.statistics import metrics as statistics
from itune_jax.sampling import requests as requests_lib

METRICS = {
  "supported": statistics.Mean(),
  "fact_score": statistics.Mean(),
  "claims": statistics.Mean(),
  "responded": statistics.Mean(),
  "unread": statistics.Mean("lower"),
  "judge_refused": statistics.Mean("lower"),
}
"""supported: the mean over answers of the share of their claims that is supported. fact_score: the same with
FActScore's penalty for short answers. responded: share of answers with a claim. A claim without a verdict is not
supported."""

_ABSTAINS = re.compile(
  r"^\W*(?:i(?:'|’)?m sorry|sorry|i (?:do not|don(?:'|’)t) (?:know|have)|i can(?:no|'|’)t)", re.IGNORECASE
)


@dataclasses.dataclass(frozen=True)
class Claims(protocol.Grade):
  """Answers by their claims.

  judge: who says whether a claim is supported. passages: of (item, claim), the texts that may support it. each: whether
  each of them is asked about, and the best counts; else all are asked about together.
  """

  judge: judged.Judge
  passages: Callable[[protocol.Item, str], Sequence[str]]
  each: bool = True

  def bound(self, responder: requests_lib.Responder) -> "Claims":
    """The same, judged by this responder where the judge has none of its own."""
    return dataclasses.replace(self, judge=self.judge.bound(responder))

  def __call__(self, items: Sequence[protocol.Item], answers: Sequence[requests_lib.Response]) -> list[protocol.Graded]:
    """Values by `METRICS`; claims with their verdicts in the rows."""
    rubric = self.judge.rubric(safety_prompts.SUPPORT)
    key = self.judge.key((rubric,))
    cut = [claims(answer.text) for answer in answers]
    asked: list[list[list[str]]] = [
      [self._put(item, claim) for claim in found] for item, found in zip(items, cut, strict=True)
    ]
    games = [
      judged.Game(f"{item.id}/{c}/{p}", rubric, {"context": passage, "answer": claim})
      for item, found, by_claim in zip(items, cut, asked, strict=True)
      for c, (claim, passages) in enumerate(zip(found, by_claim, strict=True))
      for p, passage in enumerate(passages)
    ]
    readings = iter(self.judge.ask(games, key))
    return [
      self._graded(found, [[next(readings) for _ in passages] for passages in by_claim], key)
      for found, by_claim in zip(cut, asked, strict=True)
    ]

  def _put(self, item: protocol.Item, claim: str) -> list[str]:
    found = list(self.passages(item, claim))
    return found if self.each or not found else ["\n\n".join(found)]

  def _graded(
    self, found: Sequence[str], readings: Sequence[Sequence[reading_lib.Reading]], key: str
  ) -> protocol.Graded:
    flat = [one for by_passage in readings for one in by_passage]
    best = [max((one.value for one in row if one.value is not None), default=None) for row in readings]
    held = [float(value is not None and value > 0.5) for value in best]
    lost = reading_lib.count(flat)
    values: dict[str, Any] = {
      "supported": sum(held) / len(held) if held else None,
      "fact_score": schemes.fact_score(held) if held else None,
      "claims": float(len(held)) if held else None,
      "responded": float(bool(held)),
      "unread": sum(value is None for value in best) / len(best) if best else None,
      "judge_refused": lost.get("refused", 0) / len(flat) if flat else None,
    }
    told = {"by_claim": [list(one) for one in zip(found, best, strict=True)]}
    return protocol.Graded(values, {**self.judge.shown(key, flat), **told})


def claims(text: str) -> list[str]:
  """The sentences of an answer, without marks of lists; none of an answer that abstains."""
  if _ABSTAINS.match(text):
    return []
  lines = (re.sub(r"^\s*(?:[-*•]|\d+[.)])\s+", "", line) for line in text.splitlines())
  return [one.strip() for line in lines for one in texts.sentences(line) if re.search(r"\w", one)]
