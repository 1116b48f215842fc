"""Alpaca: twenty tasks in one completion, behind three that are shown (Taori et al. 2023).

Source: tatsu-lab/stanford_alpaca, generate_instruction.py: three seeds a request, temperature 1, one instance a task,
the filters of Self-Instruct with five words more, ROUGE-L of at most 0.7 with seeds and pool.
"""

import dataclasses
import functools
import re

from itune_jax.core import ranges
from itune_jax.synth import gates
from itune_jax.synth import generator
from itune_jax.synth import instructions
from itune_jax.synth import samplers
from itune_jax.synth import sources

PROMPT = """Think of {count} different tasks that a person may set for a language model, and solve each.
Rules:
- No two begin with the same verb; kinds differ: questions, requests, orders; open ones, classification, editing.
- A model that reads and writes text alone can do each: it sees nothing, makes no sound, and reminds nobody later.
- An instruction is one or two sentences of English. An input is given where the task is about something; it holds \
real content, no placeholder, and at most 100 words. Else the input is <noinput>.
- The output answers instruction and input, in under 100 words.
{about}
List of {count} tasks:
"""
_TASK = re.compile(
  r"^\s*(?:\d+\s*\.\s*)?Instruction:\s*(?P<instruction>.*?)\s*\n\s*(?:\d+\s*\.\s*)?Input:\s*(?P<input>.*?)\s*\n"
  r"\s*(?:\d+\s*\.\s*)?Output:\s*(?P<output>.*?)\s*$",
  re.S,
)
_NO_INPUT = re.compile(r"^<?\s*no\s*input\s*>?\.?$", re.I)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Alpaca(generator.Generator):
  """Many tasks a completion, with their inputs and outputs.

  seeds: a file of tasks, such as Self-Instruct's. shown: of which so many stand in front. tasks: of a completion, with
  those that are shown. similar: ROUGE-L above which an instruction is none of its own.
  """

  name: str = "alpaca"
  seeds: str
  shown: ranges.NonNegativeInt = 3
  tasks: ranges.PositiveInt = 20
  similar: ranges.Share = gates.LIMIT
  temperature: ranges.NonNegativeFloat = 1.0
  limit: ranges.NonNegativeInt = 3072

  @property
  def kind(self) -> str:
    """Distilled of a teacher."""
    return "distilled"

  @property
  def takes_attributes(self) -> bool:
    """They are told with what is asked for."""
    return True

  @property
  def inputs(self) -> tuple[str, ...]:
    """The seeds."""
    return (self.seeds,)

  @property
  def prompts(self):
    """The one that asks for tasks."""
    return {"tasks": PROMPT}

  @functools.cached_property
  def seed_tasks(self) -> tuple[sources.Task, ...]:
    """The seeds, read."""
    return sources.tasks(self.seeds)

  def gate(self) -> gates.Gate:
    """Novel against seeds and pool."""
    return gates.Novel(instructions.instruction, [task.instruction for task in self.seed_tasks], self.similar)

  def make(self, n: int, pool: generator.Pool) -> generator.Steps:
    """Asks for a list of tasks and reads it."""
    drawn = self.drawn(n)
    chosen = self.random(n).permutation(len(self.seed_tasks))[: self.shown]
    shown = "".join(_shown(i, self.seed_tasks[k]) for i, k in enumerate(chosen, 1))
    about = samplers.said(drawn)
    text = PROMPT.format(count=self.tasks, about=about) + shown + f"###\n{len(chosen) + 1}. Instruction:"
    stop = (f"\n{self.tasks + 1}. Instruction",)
    (response,) = yield from generator.ask([self.request(n, "tasks", self.question(text), stop=stop)])
    sample = response.samples[0]
    fault = self.faults.of(sample)
    if fault and fault != "cut off":
      return [generator.Candidate({"text": sample.text}, fault)]
    return [self._candidate(one, drawn) for one in _split(sample.text, fault)]

  def _candidate(self, found: tuple[str, str], drawn: dict[str, str]) -> generator.Candidate:
    text, fault = found
    read = _TASK.match(text)
    if fault or read is None:
      return generator.Candidate({"text": text}, fault or "not a task with instruction, input and output")
    asked, output = read["instruction"], read["output"]
    given = "" if _NO_INPUT.match(read["input"]) else read["input"]
    question = sources.Task(asked, given, output).question
    row = instructions.task_row(question, asked, output, attributes=drawn)
    reason = instructions.unfit(asked, instructions.ALPACA) or ("" if output else "empty output")
    return generator.Candidate(row, reason or self.faults.of_text(output))


def _shown(number: int, task: sources.Task) -> str:
  given = task.input or "<noinput>"
  return (
    f"###\n{number}. Instruction: {task.instruction}\n{number}. Input:\n{given}\n{number}. Output:\n{task.output}\n"
  )


def _split(text: str, fault: str) -> list[tuple[str, str]]:
  """The tasks of a completion that goes on behind `Instruction:`; the last one of a cut off completion is cut off."""
  begins = text if re.match(r"\s*(?:###\s*)?(?:\d+\s*\.\s*)?Instruction:", text) else "Instruction:" + text
  parts = [part for part in begins.split("###") if part.strip()]
  return [(part, fault if fault and i == len(parts) - 1 else "") for i, part in enumerate(parts)]
