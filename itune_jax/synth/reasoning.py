"""Distillation of reasoning: what a teacher thinks and says, kept where the answer is right; of right ones the shortest
reasoning that is long enough. Kept as `reasoning_content`, as the message schema has it."""

import dataclasses
import re

from itune_jax.core import check
from itune_jax.core import ranges
from itune_jax.grading import checkers
from itune_jax.synth import generator
from itune_jax.synth import rejection_sampling

ASK = (
  "Reason between <think> and </think> first. Then give the answer, and end with a line `#### ` and the result alone."
)
_THINKS = re.compile(r"^\s*(?:<think>)?(?P<thought>.*?)</think>(?P<answer>.*)$", re.S)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reasoning(generator.OverPrompts):
  """A verified chain of reasoning for each row that has an answer.

  samples: that are drawn of each row. suffix: what is added to a question; "" for a teacher that thinks by itself.
  least_words: of a reasoning. limit_words: of a reasoning, 0 for no bound.
  """

  name: str = "reasoning"
  samples: int = 4
  suffix: str = ASK
  least_words: ranges.NonNegativeInt = 5
  limit_words: ranges.NonNegativeInt = 0

  def __post_init__(self):
    super().__post_init__()
    check.require(self.samples > 0, f"Reasoning.samples = {self.samples}; it counts from 1")

  @property
  def kind(self) -> str:
    """Distilled of a teacher."""
    return "distilled"

  @property
  def prompts(self):
    """What is added to questions."""
    return {"ask": self.suffix}

  def make(self, n: int, pool: generator.Pool) -> generator.Steps:
    """Samples, verifies, and keeps one."""
    example = self.rows_in.examples[n]
    test = rejection_sampling.test_of(example)
    if not test:
      return [generator.Candidate({"text": "", "source": {"parents": [example.id]}}, "its row has no check")]
    asked = rejection_sampling.with_suffix(example.question, self.suffix)
    (response,) = yield from generator.ask([self.request(n, "think", asked, n=self.samples)])
    read = [_THINKS.match(one.text) for one in response.samples]
    reasons = [self._reason(one, found, test) for one, found in zip(response.samples, read, strict=True)]
    right = [k for k, reason in enumerate(reasons) if not reason]
    shortest = min(right, key=lambda k: (len(response.samples[k].text), k)) if right else None
    found = []
    for k, sample in enumerate(response.samples):
      told = read[k]
      turn = {"role": "assistant", "content": (told["answer"] if told else sample.text).strip()}
      turn |= {"reasoning_content": told["thought"].strip()} if told else {}
      row = {"messages": [*example.prompt, turn], "check": test, "source": {"parents": [example.id], "sample": k}}
      found.append(generator.Candidate(row, reasons[k] or ("" if k == shortest else "a shorter one is kept")))
    return found

  def _reason(self, sample, read, test) -> str:
    if fault := self.faults.of(sample):
      return fault
    if read is None:
      return "no end of its reasoning"
    words = len(read["thought"].split())
    if words < self.least_words or (self.limit_words and words > self.limit_words):
      return "too little reasoning" if words < self.least_words else "too much reasoning"
    return "" if checkers.judge(read["answer"], test) else "wrong"
