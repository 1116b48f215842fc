"""Self-Instruct: instructions behind eight that are shown, whether each is classification, then its instances (Wang et
al. 2023), with all filters.

Source: yizhongw/self-instruct: six human and two machine-made demonstrations, shuffled; ROUGE-L with all before at most
0.7; output first for classification, input first else, at most five instances; a task whose equal inputs have
different outputs loses them all.
"""

import dataclasses
import functools
import re
from typing import Any

from itune_jax.core import ranges
from itune_jax.synth import gates
from itune_jax.synth import generator
from itune_jax.synth import instructions
from itune_jax.synth import samplers
from itune_jax.synth import sources

TASKS = """Continue this list of tasks that a person may set for a language model, up to number {last}. Each stands on \
one line; none repeats another.
{about}
{shown}{next}."""
CLASSIFY = """Is the answer to a task one of a few fixed labels, so that it is a classification task? Yes or no.

{shown}Task: {instruction}
Is it classification?"""
INPUT_FIRST = """Give up to {most} examples for each task. If a task needs an input, write the line `Input:` with it, \
then the line `Output:` with the answer; else write `Output:` alone. Number them as Example 1, Example 2, …

{shown}Task: {instruction}
"""
OUTPUT_FIRST = """Give examples for each classification task, one for each of its labels (up to {most}). Write the \
line `Class label:` with the label first, then an input for which it is right.

{shown}Task: {instruction}
"""
_NUMBERED = re.compile(r"(?:^|\n)\s*\d+\s*\.\s*")
_EXAMPLE = re.compile(r"(?:^|\n)\s*Example \d+\.?\s*(?:\n|$)")
_OUTPUT = re.compile(r"(?:^|\n)\s*Output(?: \d+)?\s*:", re.I)
_LABEL = re.compile(r"(?:^|\n)\s*Class label\s*:", re.I)

Instance = tuple[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelfInstruct(generator.Generator):
  """Tasks out of a pool that grows, each with its instances.

  seeds: a file of tasks: Self-Instruct's own, or rows of any format. human, machine: how many of either are shown; what
  the pool lacks yet is taken from the seeds. asked: instructions of a completion at most. most: instances of a task.
  round_items: items between two looks at the pool. similar: ROUGE-L above which an instruction is none of its own.
  """

  name: str = "self_instruct"
  seeds: str
  human: ranges.NonNegativeInt = 6
  machine: ranges.NonNegativeInt = 2
  asked: ranges.PositiveInt = 8
  most: ranges.PositiveInt = 5
  round_items: ranges.PositiveInt = 32
  similar: ranges.Share = gates.LIMIT
  top_p: ranges.PositiveShare = 0.5
  limit: ranges.NonNegativeInt = 1024

  @property
  def takes_attributes(self) -> bool:
    """They are told with what is asked for."""
    return True

  @property
  def inputs(self) -> tuple[str, ...]:
    """The seeds."""
    return (self.seeds,)

  @property
  def round(self) -> int:
    """How often the pool is looked at."""
    return self.round_items

  @property
  def prompts(self):
    """Those of the three steps."""
    return {"tasks": TASKS, "classify": CLASSIFY, "input_first": INPUT_FIRST, "output_first": OUTPUT_FIRST}

  @functools.cached_property
  def seed_tasks(self) -> tuple[sources.Task, ...]:
    """The seeds, read."""
    return sources.tasks(self.seeds)

  def gate(self) -> gates.Gate:
    """Novel against seeds and pool; the instances of one task count once."""
    return gates.Novel(instructions.instruction, [task.instruction for task in self.seed_tasks], self.similar)

  def make(self, n: int, pool: generator.Pool) -> generator.Steps:
    """A completion of instructions, and what each becomes."""
    rng = self.random(n)
    made = list(dict.fromkeys(instructions.instruction(row) for row in pool))
    from_pool = [made[i] for i in rng.permutation(len(made))[: self.machine]]
    order = rng.permutation(len(self.seed_tasks))[: self.human + self.machine - len(from_pool)]
    demos = [*from_pool, *(self.seed_tasks[i].instruction for i in order)]
    demos = [" ".join(demos[i].split()).rstrip(":") for i in rng.permutation(len(demos))]
    shown = "".join(f"{i}. {one}\n" for i, one in enumerate(demos, 1))
    first, last = len(demos) + 1, len(demos) + self.asked
    drawn = self.drawn(n)
    text = TASKS.format(last=last, about=samplers.said(drawn), shown=shown, next=first)
    (response,) = yield from generator.ask([self.request(n, "tasks", self.question(text), stop=(f"\n{last + 1}.",))])
    sample = response.samples[0]
    fault = self.faults.of(sample)
    if fault and fault != "cut off":
      return [generator.Candidate({"text": sample.text}, fault)]
    texts = [" ".join(one.split()) for one in _NUMBERED.split(sample.text) if one.strip()]
    reasons = [instructions.unfit(one) for one in texts]
    if fault and texts:
      reasons[-1] = fault
    novel = self._novel(made)
    reasons = [why or novel.alike(one) for one, why in zip(texts, reasons, strict=True)]
    good = [one for one, why in zip(texts, reasons, strict=True) if not why]
    found = [generator.Candidate({"text": one}, why) for one, why in zip(texts, reasons, strict=True) if why]
    made_of = yield from self._instances(n, good, drawn)
    return [*found, *made_of]

  def _novel(self, made: list[str]) -> gates.Novel:
    """What a completion is compared with before more is paid for it: seeds, and the pool of earlier rounds."""
    return gates.Novel(instructions.instruction, [*(task.instruction for task in self.seed_tasks), *made], self.similar)

  def _instances(self, n: int, tasks: list[str], drawn: dict[str, str]):
    classify = [
      self.request(n, f"classify/{i}", self.question(self._classify(n, task)), limit=8, temperature=0.0)
      for i, task in enumerate(tasks)
    ]
    told = yield from generator.ask(classify)
    labels = [_yes(response.text) for response in told]
    asked = [i for i, label in enumerate(labels) if label is not None]
    requests = [
      self.request(n, f"instances/{i}", self.question(self._asks(n, tasks[i], labels[i])), temperature=0.0, limit=350)
      for i in asked
    ]
    answers = yield from generator.ask(requests)
    found = [
      generator.Candidate({"text": tasks[i]}, "whether it is classification is not told")
      for i, label in enumerate(labels)
      if label is None
    ]
    for i, answer in zip(asked, answers, strict=True):
      found += self._candidates(tasks[i], bool(labels[i]), answer.samples[0], drawn)
    return found

  def _candidates(self, task: str, label: bool, sample: Any, drawn: dict[str, str]) -> list[generator.Candidate]:
    fault = self.faults.of(sample)
    if fault and fault != "cut off":
      return [generator.Candidate({"text": task}, fault)]
    read = _of_labels(sample.text) if label else _of_inputs(sample.text)
    if not read:
      return [generator.Candidate({"text": task}, fault or "no instance can be read")]
    reasons = _filtered(read[: self.most], fault)
    source: dict[str, Any] = {"classification": label, "attributes": drawn}
    return [
      generator.Candidate(instructions.task_row(sources.Task(task, *one).question, task, one[1], **source), why)
      for one, why in zip(read, reasons, strict=False)
    ]

  def _classify(self, n: int, task: str) -> str:
    chosen = self._some(n, True)[:3] + self._some(n, False)[:3]
    line = lambda one: f"Task: {one.instruction}\nIs it classification? {'Yes' if one.is_classification else 'No'}\n\n"
    return CLASSIFY.format(shown="".join(map(line, chosen)), instruction=task)

  def _asks(self, n: int, task: str, label: bool | None) -> str:
    head = "Class label:" if label else "Output:"
    shown = ""
    for one in self._some(n, bool(label))[:3]:
      given = f"Input: {one.input}\n" if one.input else ""
      body = f"{head} {one.output}\n{given}" if label else f"{given}{head} {one.output}\n"
      shown += f"Task: {one.instruction}\n" + ("" if label else "Example 1\n") + body + "\n"
    return (OUTPUT_FIRST if label else INPUT_FIRST).format(most=self.most, shown=shown, instruction=task)

  def _some(self, n: int, label: bool) -> list[sources.Task]:
    """Seeds of a kind, in an order of this item."""
    found = [task for task in self.seed_tasks if task.is_classification == label]
    return [found[i] for i in self.random(n, "seeds").permutation(len(found))]


def _yes(text: str) -> bool | None:
  word = re.match(r"\W*(yes|no)\b", text, re.I)
  return None if word is None else word[1].lower() == "yes"


def _of_inputs(text: str) -> list[Instance]:
  """Instances as input-first prompts have them: `Input:` if there is one, then `Output:`."""
  found = []
  for part in _EXAMPLE.split(text):
    if (mark := _OUTPUT.search(part)) is not None:
      given = re.sub(r"^\s*Input(?: \d+)?\s*:", "", part[: mark.start()], flags=re.I).strip()
      found.append((given, part[mark.end() :].strip()))
  return found


def _of_labels(text: str) -> list[Instance]:
  """Instances as output-first prompts have them: a label, then an input."""
  found = []
  for part in _LABEL.split(text):
    label, _, given = part.strip().partition("\n")
    if label.strip() and part.strip() and _LABEL.search(text):
      found.append((re.sub(r"^\s*Input(?: \d+)?\s*:", "", given, flags=re.I).strip(), label.strip()))
  return found


def _filtered(found: list[Instance], fault: str) -> list[str]:
  """Why each instance is dropped, "" where it is not; the last of a cut off completion is cut off."""
  outputs: dict[str, set[str]] = {}
  for given, output in found:
    outputs.setdefault(given, set()).add(output)
  contradicts = any(len(said) > 1 for given, said in outputs.items() if given)
  reasons, seen = [], set()
  for i, (given, output) in enumerate(found):
    why = fault if fault and i == len(found) - 1 else ""
    why = why or ("empty output" if not output else "output equals input" if output == given else "")
    why = why or ("ends with a colon" if output.endswith(":") or given.endswith(":") else "")
    why = why or ("equal inputs have different outputs" if contradicts else "")
    why = why or ("the same instance again" if (given, output) in seen else "")
    seen.add((given, output))
    reasons.append(why)
  return reasons
