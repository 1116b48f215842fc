"""Rejection sampling (RFT): many solutions of each problem, those that are right and differ in their equations (Yuan et
al. 2023).

Source: OFA-Sys/gsm8k-ScRel: 100 samples at temperature 0.7; right final number, every equation holds; one solution for
each ordered list of equations, that with the largest summed edit distance to the others of its list.
"""

import collections
import dataclasses

from itune_jax.core import check
from itune_jax.core import lazy
from itune_jax.grading import checkers
from itune_jax.synth import equations
from itune_jax.synth import generator

_levenshtein = lazy.module("rapidfuzz.distance.Levenshtein")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RejectionSampling(generator.OverPrompts):
  """Right solutions of rows that have a check, or an answer with a final number.

  samples: of each problem. suffix: what is added to each problem, such as how the answer is to end.
  """

  name: str = "rejection_sampling"
  samples: int = 100
  suffix: str = ""

  def __post_init__(self):
    super().__post_init__()
    check.require(self.samples > 0, f"RejectionSampling.samples = {self.samples}; it counts from 1")

  def make(self, n: int, pool: generator.Pool) -> generator.Steps:
    """Samples and sieves the solutions of a row."""
    example = self.rows_in.examples[n]
    test = test_of(example)
    if not test:
      return [generator.Candidate({"text": "", "source": {"parents": [example.id]}}, "its row has no check")]
    asked = with_suffix(example.question, self.suffix)
    (response,) = yield from generator.ask([self.request(n, "solve", asked, n=self.samples)])
    reasons = [self._reason(one, test) for one in response.samples]
    lists: dict[tuple[tuple[str, str], ...], list[int]] = collections.defaultdict(list)
    for k, sample in enumerate(response.samples):
      if not reasons[k]:
        lists[tuple(equations.of(sample.text))].append(k)
    for places in lists.values():
      texts = [response.samples[k].text for k in places]
      chosen = places[equations.most_unlike(texts, lambda a, b: _levenshtein.distance(a, b))]
      for k in places:
        reasons[k] = "" if k == chosen else "the same equations as one that is kept"
    found = []
    for k, sample in enumerate(response.samples):
      turns = [*example.prompt, {"role": "assistant", "content": sample.text.strip()}]
      row = {"messages": turns, "check": test, "source": {"parents": [example.id], "sample": k}}
      found.append(generator.Candidate(row, reasons[k]))
    return found

  def _reason(self, sample, test) -> str:
    if fault := self.faults.of(sample):
      return fault
    if not checkers.judge(sample.text, test):
      return "wrong"
    return "an equation does not hold" if equations.wrong(sample.text) else ""


def test_of(example) -> dict:
  """The check of a row: its own, or its answer's final number; {} where it has neither."""
  if example.check:
    return dict(example.check)
  test = {"name": "final_number", "answer": example.answer}
  return test if example.answer and not checkers.problem(test) else {}


def with_suffix(asked, suffix: str):
  """A conversation whose last turn has a text behind it."""
  if not suffix or not isinstance(asked.messages[-1]["content"], str):
    return asked
  *turns, last = asked.messages
  return dataclasses.replace(asked, messages=(*turns, {**last, "content": f"{last['content']}\n{suffix}"}))
