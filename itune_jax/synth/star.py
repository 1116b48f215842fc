"""STaR: chains of thought that lead to the right answer; where none does, one is asked for with the answer given, and
kept without that hint (Zelikman et al. 2022). A round is one run; each round trains the original base anew."""

import dataclasses

from itune_jax.core import ranges
from itune_jax.grading import checkers
from itune_jax.synth import generator
from itune_jax.synth import rejection_sampling

ASK = "Think step by step. End with a line `#### ` and the answer."
HINT = "(Hint: the answer is {answer}. Reason towards it as if you did not know it, and do not speak of the hint.)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Star(generator.OverPrompts):
  """A chain of thought for each row that has an answer.

  rationalise: whether rows that were got wrong are asked again with their answer. suffix: what is added to a question.
  """

  name: str = "star"
  rationalise: bool = True
  suffix: str = ASK
  temperature: ranges.NonNegativeFloat = 0.0

  @property
  def prompts(self):
    """What is added to questions."""
    return {"ask": self.suffix, "hint": HINT}

  def make(self, n: int, pool: generator.Pool) -> generator.Steps:
    """A chain of thought, or one with the answer given."""
    example = self.rows_in.examples[n]
    test = rejection_sampling.test_of(example)
    if not test:
      return [generator.Candidate({"text": "", "source": {"parents": [example.id]}}, "its row has no check")]
    found = []
    asked = rejection_sampling.with_suffix(example.question, self.suffix)
    (response,) = yield from generator.ask([self.request(n, "think", asked)])
    found.append(self._candidate(example, test, response, False))
    if found[0].reason and self.rationalise:
      hint = HINT.replace("{answer}", _answer(example, test))
      hinted = rejection_sampling.with_suffix(asked, hint)
      (response,) = yield from generator.ask([self.request(n, "rationalise", hinted)])
      found.append(self._candidate(example, test, response, True))
    return found

  def _candidate(self, example, test, response, rationalised: bool) -> generator.Candidate:
    text = response.text.strip()
    source = {"parents": [example.id], "rationalised": rationalised}
    row = {"messages": [*example.prompt, {"role": "assistant", "content": text}], "check": test, "source": source}
    reason = self.faults.of(response.samples[0]) or ("" if checkers.judge(text, test) else "wrong")
    if not reason and rationalised and "hint" in text.lower():
      reason = "speaks of the hint"
    return generator.Candidate(row, f"{reason} (rationalised)" if reason and rationalised else reason)


def _answer(example, test) -> str:
  known = test.get("answer", test.get("answers", [example.answer]))
  return str(known[0] if isinstance(known, (list, tuple)) else known)
