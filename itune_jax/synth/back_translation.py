"""Instruction back-translation: instructions for texts that people wrote, then curated by the model itself (Li et al.
2024, Humback).

A backward model gives the instruction y → x; the forward model rates each pair from 1 to 5, and those rated 5 are kept.
The backward model is an adapter trained on reversed seeds (`reversed_rows`), or any model that follows instructions.
"""

from collections.abc import Iterable, Iterator
import dataclasses
from typing import Any

from itune_jax.core import check
from itune_jax.core import ranges
from itune_jax.data import example as example_lib
from itune_jax.synth import gates
from itune_jax.synth import generator
from itune_jax.synth import rating
from itune_jax.synth import samplers
from itune_jax.synth import sources

BACKWARD = "backward"
ASK = """A language model answered a user with the text below. Write the instruction that the user most likely gave. \
Answer with the instruction alone.

<text>
{text}
</text>
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BackTranslation(generator.OverPrompts):
  """An instruction for each text of a file; the text is the last answer of its row, or the row's question.

  bare: whether the backward model reads the text alone, as one that was trained on reversed rows does. rubric: of
  the curation. least: rating from which a pair is kept. votes: ratings of a pair, whose mean counts.
  """

  name: str = "back_translation"
  bare: bool = False
  rubric: str = "curation"
  least: ranges.NonNegativeFloat = 5.0
  votes: int = 1

  def __post_init__(self):
    super().__post_init__()
    check.require(self.votes > 0, f"BackTranslation.votes = {self.votes}; it counts from 1")
    rating.named(self.rubric)

  @property
  def roles(self) -> tuple[str, ...]:
    """Who writes instructions, and who curates."""
    return (BACKWARD, rating.JUDGE)

  @property
  def prompts(self):
    """What asks for an instruction, and the rubric."""
    return {**({} if self.bare else {"backward": ASK}), self.rubric: rating.named(self.rubric).template}

  def gate(self) -> gates.Gate:
    """Each instruction once."""
    return gates.Distinct(samplers.question)

  def make(self, n: int, pool: generator.Pool) -> generator.Steps:
    """The instruction of a text, and whether the pair is kept."""
    example = self.rows_in.examples[n]
    text = example.answer or sources.asked(example)
    asked = self.question(text if self.bare else ASK.replace("{text}", text))
    (response,) = yield from generator.ask([self.request(n, "backward", asked)], BACKWARD)
    question = response.text.strip()
    row: dict[str, Any] = {"messages": generator.pair(question, text, self.system)}
    row["source"] = {"parents": [example.id], "part": "question"}
    reason = self.faults.of(response.samples[0]) or ("" if text.strip() else "its row has no text")
    if reason:
      return [generator.Candidate(row, reason)]
    told = yield from rating.rate(self, n, {"pair": rating.Pair(question, text)}, self.rubric, times=self.votes)
    rated = told["pair"]
    if rated is None:
      return [generator.Candidate(row, "rating not read")]
    row["scores"] = {self.rubric: rated}
    return [generator.Candidate(row, "" if rated >= self.least else "rated too low")]


def reversed_rows(examples: Iterable[example_lib.Example]) -> Iterator[dict[str, Any]]:
  """Rows from which a backward model learns: the answer asks, the question is learned. Rows of several turns are left
  out, since a text alone cannot tell them."""
  for example in examples:
    question = sources.asked(example)
    if question and example.answer:
      yield {
        "messages": generator.pair(example.answer, question),
        "source": {**example.source, "parents": [example.id]},
      }
