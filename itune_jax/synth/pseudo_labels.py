"""Joint refinement of a prompt and of pseudo-labels, as PAPO does it (arXiv 2410.03124): label with the prompt, improve
the prompt so that answers with demonstrations agree with the labels, label all anew, and so on.

There is no official code. A round here: a critique of the prompt and its labels gives new prompts; each, with labelled
demonstrations, answers all questions; the one that agrees with the labels most is taken, and its answers are the new
labels. The share that agrees with the labels before is the measure of convergence, and stands in every row.
"""

import dataclasses
from typing import Any

from itune_jax.core import check
from itune_jax.core import ranges
from itune_jax.synth import generator
from itune_jax.synth import sources

CRITIQUE = """Below is an instruction for a language model, and what the model answered under it. No answer is known \
to be right.

<instruction>
{prompt}
</instruction>

{shown}
Find what about the instruction makes answers vague, wrong in form, or inconsistent with each other. Then write a \
better instruction. Answer with the better instruction alone, between <instruction> and </instruction>.
"""
_SHORT = 12  # words up to which two answers are compared as wholes; longer ones by their last line


@dataclasses.dataclass(frozen=True, kw_only=True)
class PseudoLabels(generator.OverPrompts):
  """Questions without answers become labelled rows; an item is a chunk of them with a prompt of its own.

  task: the instruction to begin with. chunk: questions of an item. rounds: of refinement at most; it ends when no label
  changes. proposals: new instructions a round. shown: labelled questions in a critique, and as demonstrations.
  """

  name: str = "pseudo_labels"
  task: str
  chunk: int = 16
  rounds: int = 3
  proposals: int = 2
  shown: int = 4
  temperature: ranges.NonNegativeFloat = 0.0

  def __post_init__(self):
    super().__post_init__()
    fits = min(self.chunk, self.rounds, self.proposals, self.shown) > 0
    check.require(fits and self.task.strip(), "PseudoLabels: task is not empty, all counts are 1 or more")

  @property
  def items(self) -> int:
    """Chunks of the file."""
    return -(-len(self.rows_in.examples) // self.chunk)

  @property
  def prompts(self):
    """The first instruction, and what asks for a better one."""
    return {"task": self.task, "critique": CRITIQUE}

  def make(self, n: int, pool: generator.Pool) -> generator.Steps:
    """Refines prompt and labels of a chunk."""
    examples = self.rows_in.examples[n * self.chunk : (n + 1) * self.chunk]
    examples = [one for one in examples if sources.asked(one)]
    questions = [sources.asked(one) for one in examples]
    prompt, agreement = self.task, 0.0
    labels, faults = yield from self._labelled(n, "0", prompt, questions, {})
    before = list(labels)
    rounds = 0
    while rounds < self.rounds and agreement < 1.0:
      rounds += 1
      demos = {k: labels[k] for k in self.random(n, str(rounds)).permutation(len(questions))[: self.shown].tolist()}
      proposals = yield from self._proposals(n, rounds, prompt, questions, demos)
      tried = []
      for p, proposal in enumerate([prompt, *proposals]):
        said = yield from self._labelled(n, f"{rounds}/{p}", proposal, questions, demos)
        tried.append((proposal, *said))
      shares = [_agreement(labels, said) for _, said, _ in tried]
      best = shares.index(max(shares))
      before, (prompt, labels, faults), agreement = labels, tried[best], shares[best]
    found = []
    for example, question, label, was, fault in zip(examples, questions, labels, before, faults, strict=True):
      source: dict[str, Any] = {"parents": [example.id], "prompt": prompt, "agreement": agreement, "rounds": rounds}
      row = {"messages": generator.pair(question, label, self.system), "source": source}
      reason = fault or ("" if _same(label, was) else "its label still changes")
      found.append(generator.Candidate(row, reason))
    return found

  def _labelled(self, n: int, what: str, prompt: str, questions: list[str], demos: dict[int, str]):
    """An answer to each question under an instruction, its own demonstration left out; and the faults."""
    requests = []
    for i, question in enumerate(questions):
      turns = [self._turn(prompt, questions[k], label) for k, label in demos.items() if k != i]
      turns.append(self._turn(prompt, question, ""))
      requests.append(self.request(n, f"{what}/{i}", self.question("\n\n".join(turns))))
    responses = yield from generator.ask(requests)
    return [one.text.strip() for one in responses], [self.faults.of(one.samples[0]) for one in responses]

  def _turn(self, prompt: str, question: str, label: str) -> str:
    return f"{prompt}\n\n{question}" + (f"\n\nAnswer: {label}" if label else "")

  def _proposals(self, n: int, k: int, prompt: str, questions: list[str], demos: dict[int, str]):
    shown = "".join(f"Question: {questions[i]}\nAnswer: {label}\n\n" for i, label in demos.items())
    asked = self.question(CRITIQUE.replace("{prompt}", prompt).replace("{shown}", shown))
    request = self.request(n, f"{k}/critique", asked, n=self.proposals, temperature=1.0)
    (response,) = yield from generator.ask([request])
    told = [one.text.partition("<instruction>")[2].partition("</instruction>")[0].strip() for one in response.samples]
    return [one for one in dict.fromkeys(told) if one and one != prompt]


def _agreement(labels: list[str], said: list[str]) -> float:
  """The share of labels that are said again."""
  return round(sum(_same(a, b) for a, b in zip(labels, said, strict=True)) / max(len(labels), 1), 6)


def _same(a: str, b: str) -> bool:
  return _key(a) == _key(b)


def _key(text: str) -> str:
  """What of an answer is compared: all of a short one, the last line of a long one; no case, punctuation, spacing."""
  last = text if len(text.split()) <= _SHORT else text.strip().splitlines()[-1]
  return " ".join("".join(c if c.isalnum() else " " for c in last.lower()).split())
