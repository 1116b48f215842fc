"""SPIN pairs: a person's answer against the model's own to the same prompt (Chen et al. 2024). Each round asks the
model that the round before trained."""

import dataclasses

from itune_jax.core import ranges
from itune_jax.synth import generator


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spin(generator.OverPrompts):
  """A preference for each row: its answer is chosen, what the model says is rejected.

  iteration: which round it is; it stands in the rows, and keeps the rounds' ids apart.
  """

  name: str = "spin"
  iteration: ranges.NonNegativeInt = 0
  temperature: ranges.NonNegativeFloat = 1.0
  limit: ranges.NonNegativeInt = 256

  def make(self, n: int, pool: generator.Pool) -> generator.Steps:
    """The pair of a row. An answer that is cut off is one here: it is what the model says."""
    example = self.rows_in.examples[n]
    source = {"parents": [example.id], "iteration": self.iteration}
    row = {"prompt": example.prompt, "source": source, "id": f"{self.name}/{self.iteration}/{n}"}
    if not example.answer:
      return [generator.Candidate(row, "its row has no answer")]
    (response,) = yield from generator.ask([self.request(n, f"answer/{self.iteration}", example.question)])
    text = response.text.strip()
    row["chosen"] = [{"role": "assistant", "content": example.answer}]
    row["rejected"] = [{"role": "assistant", "content": text}]
    row |= {"tools": list(example.tools)} if example.tools else {}
    reason = self.faults.of(response.samples[0])
    reason = "" if reason in ("cut off", "refused", "loops", "other language") else reason
    return [generator.Candidate(row, reason or ("says what the row says" if text == example.answer.strip() else ""))]
