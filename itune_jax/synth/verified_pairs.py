"""Preference pairs by a check: what is right is chosen, what the model itself got wrong is rejected (Iterative RPO,
Pang et al. 2024, where both are the model's own)."""

import dataclasses
from typing import Literal

from itune_jax.core import check
from itune_jax.core import ranges
from itune_jax.grading import checkers
from itune_jax.synth import generator
from itune_jax.synth import rejection_sampling


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifiedPairs(generator.OverPrompts):
  """A pair for each row that the model got wrong at least once.

  samples: answers that are drawn of each; the first wrong one is rejected. chosen: the answer of the row (`row`), or
  the first right one that was drawn (`own`).
  """

  name: str = "verified_pairs"
  samples: int = 4
  chosen: Literal["row", "own"] = "row"
  temperature: ranges.NonNegativeFloat = 1.0
  limit: ranges.NonNegativeInt = 256

  def __post_init__(self):
    super().__post_init__()
    least = 1 if self.chosen == "row" else 2
    check.require(
      self.samples >= least, f"VerifiedPairs.samples = {self.samples}; with its `chosen` it is {least} or more"
    )

  def make(self, n: int, pool: generator.Pool) -> generator.Steps:
    """The pair of a row. A wrong answer that is cut off, or loops, is one here: it is what the model says."""
    example = self.rows_in.examples[n]
    test = rejection_sampling.test_of(example)
    same = {key: example.source[key] for key in ("template",) if key in example.source}  # drawn together in figures
    row = {"prompt": example.prompt, "source": {"parents": [example.id], **same}, "id": f"{self.name}/{n}"}
    reason = "" if test else "its row has no check"
    if test and self.chosen == "row":
      reason = self._unfit(example.answer, test)
    if reason:
      return [generator.Candidate(row, reason)]
    (response,) = yield from generator.ask([self.request(n, "answer", example.question, n=self.samples)])
    texts = [one.text.strip() for one in response.samples]
    right = [checkers.judge(text, test) for text in texts]
    wrong = next((text for text, is_right in zip(texts, right, strict=True) if text and not is_right), None)
    own = next((text for text, is_right in zip(texts, right, strict=True) if is_right), None)
    chosen = example.answer if self.chosen == "row" else own
    if wrong is None or chosen is None:
      reason = "no answer is right" if chosen is None else "no answer is wrong" if any(texts) else "no answer has text"
      return [generator.Candidate(row, reason)]
    row |= {"chosen": _turn(chosen), "rejected": _turn(wrong)}
    row |= {"tools": list(example.tools)} if example.tools else {}
    return [generator.Candidate(row)]

  def _unfit(self, answer: str, test) -> str:
    """Why the answer of a row cannot be chosen."""
    if not answer.strip():
      return "its row has no answer"
    return "" if checkers.judge(answer, test) else "its row's own answer is wrong"


def _turn(text: str) -> list[dict[str, str]]:
  return [{"role": "assistant", "content": text}]
