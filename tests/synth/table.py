"""The generators, each with a teacher of its own kind: a script that answers well, or in a way that must be counted."""

from collections.abc import Callable
import json
import os
import re
from typing import Any, NamedTuple
import zlib

import numpy as np
import scipy

from itune_jax.sampling import requests
from itune_jax.synth import agents
from itune_jax.synth import alpaca
from itune_jax.synth import calculations
from itune_jax.synth import back_translation
from itune_jax.synth import coding
from itune_jax.synth import constraints
from itune_jax.synth import equations
from itune_jax.synth import evol_instruct
from itune_jax.synth import magpie
from itune_jax.synth import optimisation
from itune_jax.synth import pseudo_labels
from itune_jax.synth import reasoning
from itune_jax.synth import rejection_sampling
from itune_jax.synth import runner
from itune_jax.synth import self_instruct
from itune_jax.synth import self_rewarding
from itune_jax.synth import spin
from itune_jax.synth import star
from itune_jax.synth import teacher_answers
from itune_jax.synth import verified_pairs

_WORDS = """amber basket copper dragon engine feather garden hammer island jacket kettle ladder marble needle orchard
pepper quarry ribbon saddle timber umbrella velvet window yellow zipper bridge candle desert forest guitar harbor
lantern meadow mirror ocean pencil planet rocket silver spider thunder tunnel valley violin walnut winter butter
castle circle doctor family finger flower friend hunter jungle kitchen letter market mother museum number office
parent picnic pocket police potato prison puzzle rabbit record school season secret shadow sister soccer spring
square stable street summer sunset temple theory ticket tomato travel turtle valise vision wizard writer anchor"""
WORDS = _WORDS.split()


class Fault(NamedTuple):
  """An answer that is none, and the reason it is counted under."""

  text: str
  finish: requests.Finish
  reason: str


FAULTS = (
  Fault("I'm sorry, but I cannot help with that.", "stop", "refused"),
  Fault("and so on and so forth " * 12, "stop", "loops"),
  Fault("This answer was going to be", "length", "cut off"),
  Fault("   ", "stop", "empty"),
  Fault("", "content_filter", "refused by the endpoint"),
  Fault("", "failed", "the teacher gave no answer"),
)


class Scripted(requests.Responder):
  """Answers by a function of the request's id, its text, and a source of randomness that hangs on both; every
  `often`-th answer is a fault. `hook` is called before each answer, and may end everything."""

  def __init__(
    self, says: Callable[[str, str, np.random.Generator], str], often: int = 9, hook=lambda request: None, failed=None
  ):
    self._says, self._often, self._hook = says, often, hook
    self._failed = set() if failed is None else failed

  def answer(self, given, progress=lambda n: None):
    return self.answer_each(given, lambda response: None, progress)

  def answer_each(self, given, done, progress=lambda n: None):
    found = []
    for request in given:
      self._hook(request)
      samples = tuple(self._sample(request, i) for i in range(request.n))
      found.append(requests.Response(request.id, samples, requests.Usage(len(_text(request)) // 4, 9 * request.n)))
      if any(sample.finish == "failed" for sample in samples):
        self._failed.add(request.id)
      done(found[-1])
    return found

  def _sample(self, request, i):
    seed = zlib.crc32(f"{request.id} {i} {_text(request)}".encode())
    if self._often and seed % self._often == 0:
      fault = FAULTS[seed // self._often % len(FAULTS)]
      return requests.Sample(fault.text, fault.finish)
    text = self._says(request.id, _text(request), np.random.Generator(np.random.PCG64(seed)))
    for stop in request.stop:
      text = text.partition(stop)[0]
    return requests.Sample(text, "stop")


def _text(request) -> str:
  asked = request.conversation
  return asked if isinstance(asked, str) else json.dumps([message.get("content") for message in asked.messages])


def sentence(rng: np.random.Generator, words: int = 9, end: str = ".") -> str:
  """Words that no other sentence has in this order."""
  return " ".join(WORDS[i] for i in rng.permutation(len(WORDS))[:words]).capitalize() + end


def _alpaca(id, text, rng):
  tasks = [f" {sentence(rng)}\n4. Input:\n{rng.choice(['<noinput>', 'Some text.'])}\n4. Output:\n{sentence(rng)}"]
  tasks += [
    f"\n{k}. Instruction: {sentence(rng)}\n{k}. Input:\n<noinput>\n{k}. Output:\n{sentence(rng)}" for k in (5, 6)
  ]
  tasks.append("\n7. Instruction: " + str(rng.choice(["Draw a picture of the sea now.", "Go.", "no colon here"])))
  return "###".join(tasks)


def _evol(id, text, rng):
  if id.endswith("/equal"):
    return str(rng.choice(["Not Equal", "Not Equal", "Equal", "Perhaps"]))
  if id.endswith("/answer"):
    return str(rng.choice([sentence(rng), sentence(rng), "Sorry, that is hard.", "It is what it was."]))
  return sentence(rng, 12) + str(rng.choice(["", "", " #The new prompt#"]))


def _spin(id, text, rng):
  return str(rng.choice(["Together 12.\n#### 12", sentence(rng)]))


def _rated(id, text, rng):
  return str(rng.choice(["Fine. [[5]]", "Fine. [[5]]", "Poor. [[2]]", "[[9]]", "no number"]))


def _answers(id, text, rng):
  return _rated(id, text, rng) if "/rate/" in id else sentence(rng) + f" #### {rng.integers(3)}"


def _self_instruct(id, text, rng):
  kind = id.split("/")[2]
  if kind == "tasks":
    good = [sentence(rng, 10) for _ in range(3)]
    return "\n".join(f"{9 + i}. {one}" for i, one in enumerate([*good, "Plot the data on a map.", good[0]]))
  if kind == "classify":
    return str(rng.choice(["No", "No.", "Yes", "Hm"]))
  if "Class label" in text:
    return f"Class label: good\nInput: {sentence(rng)}\nClass label: bad\nInput: {sentence(rng)}"
  a = f"Example 1\nInput: {sentence(rng)}\nOutput: {sentence(rng)}\n\nExample 2\nInput: alike\nOutput: one"
  return a + str(rng.choice(["", "\n\nExample 3\nInput: alike\nOutput: two", "\n\nExample 3\nOutput: ends:"]))


def _magpie(id, text, rng):
  if id.endswith("/question"):
    return sentence(rng, 10, "?") + "\nmore"
  if id.endswith("/tags"):
    tags = {"difficulty": "easy", "quality": str(rng.choice(["good", "excellent", "poor"])), "category": "math"}
    return str(rng.choice([json.dumps(tags), f"```json\n{json.dumps(tags)}\n```", json.dumps(tags)[:-9]]))
  return _rated(id, text, rng) if "/rate/" in id else sentence(rng)


def _solves(id, text, rng):
  a, b = rng.integers(2, 9, 2)
  right = rng.integers(4) > 0
  total = 12 if right else 13
  steps = [f"{a} + {12 - a} = 12", f"{b} + {12 - b} = 12", f"2 * 6 = {rng.choice([12, 12, 11])}"]
  worked = "First: " + ", then ".join(steps[: rng.integers(1, 4)]) + f".\n#### {total}"
  return f"<think>{worked}</think>It is so.\n#### {total}" if "<think>" in text else worked


def _arithmetic(id, text, rng):
  forms = [re.escape(form).replace(re.escape("{expression}"), r"(.+?)") for form in calculations.FORMS]
  expression = re.search("|".join(forms), text)
  expression = next(part for part in expression.groups() if part)
  value = equations.value(expression)
  said = value if rng.integers(4) else value + 1
  return f"{expression} = {said}\n#### {said}"


def _code(id, text, rng):
  number = int(rng.integers(1000))
  right = "x + " + str(number if rng.integers(3) else number + 1)
  tests = "\n".join(f"assert plus_{number}({k}) == {k + number}" for k in range(3))
  if not rng.integers(5):
    tests = "\n".join(f"assert plus_{number}({k}) is None" for k in range(3))
    right = "None"
  parts = [sentence(rng), f"```python\n{tests}\n```", f"```python\ndef plus_{number}(x):\n  return {right}\n```"]
  heads = ["### Problem", "### Tests", "### Solution"]
  return "\n".join(f"{head}\n{part}\n" for head, part in zip(heads[: rng.integers(2, 9)], parts, strict=False))


def _optimise(id, text, rng):
  if not id.split("/")[2:][-1].isdecimal():
    return sentence(rng, 14)
  if id.endswith("/0") and not rng.integers(3):
    return "Formulation.\n```python\ndef model():\n  return {}\n```"
  high = 3 if rng.integers(5) else 2
  sense = "max" if rng.integers(5) else "min"
  bounds = f"[[{0 if sense == 'max' else None}, {high}], [0, None]]"
  body = (
    f'{{"sense": "{sense}", "c": [3, 2], "A_ub": [[1, 1]], "b_ub": [4], "A_eq": [], "b_eq": [], "bounds": {bounds}, '
  )
  return f'Formulation.\n```python\ndef model():\n  return {body}"integrality": [1, 0]}}\n```'


def _labels(id, text, rng):
  if id.endswith("/critique"):
    return f"<instruction>{sentence(rng)}</instruction>"
  return f"label {zlib.crc32(text.encode()) % 2}" if rng.integers(3) else "label 0"


def _agent(id, text, rng):
  """Does what the scenario does, and sometimes something else."""
  item, turn = int(id.split("/")[1]), int(id.split("/")[3])
  given = agents.drawn(AGENTS.random(item), AGENTS.goals)
  if turn < len(given.calls):
    name, arguments = given.calls[turn]
    call = json.dumps({"name": name, "arguments": arguments})
    return str(
      rng.choice([f"<tool_call>\n{call}\n</tool_call>"] * 9 + [f"<tool_call>{call[:-1]}</tool_call>", "Done."])
    )
  return f"It is done: {given.answer}."


AGENTS = agents.Agents()


class Row(NamedTuple):
  """How a generator is made of the files of a folder, what its teacher says, and how many items are looked at."""

  make: Callable[[str], Any]
  says: Callable[[str, str, np.random.Generator], str]
  limits: runner.Limits = runner.Limits(candidates=24)
  is_pair: bool = False
  weight: str = ""  # the mark of a row that is no default test
  often: int = 9
  batches: tuple[int, ...] = (1,)


def _file(name: str) -> Callable[[str], str]:
  return lambda folder: os.path.join(folder, name)


SEEDS, PROMPTS = _file("seeds.jsonl"), _file("prompts.jsonl")
PACKAGES = (os.path.dirname(os.path.dirname(scipy.__file__)),)
_SOME = runner.Limits(candidates=24)

GENERATORS: dict[str, Row] = {
  "alpaca": Row(lambda d: alpaca.Alpaca(seeds=SEEDS(d)), _alpaca),
  "evol_instruct": Row(lambda d: evol_instruct.EvolInstruct(prompts_file=PROMPTS(d)), _evol),
  "teacher_answers": Row(
    lambda d: teacher_answers.TeacherAnswers(prompts_file=PROMPTS(d), samples=3, best="judge"), _answers
  ),
  "teacher_vote": Row(
    lambda d: teacher_answers.TeacherAnswers(prompts_file=PROMPTS(d), samples=4, best="vote"), _answers
  ),
  "self_instruct": Row(lambda d: self_instruct.SelfInstruct(seeds=SEEDS(d), round_items=3), _self_instruct),
  "magpie": Row(lambda d: magpie.Magpie(prefix="<|im_start|>user\n", least_reward=3.0), _magpie),
  "back_translation": Row(lambda d: back_translation.BackTranslation(prompts_file=PROMPTS(d)), _answers),
  "rejection_sampling": Row(
    lambda d: rejection_sampling.RejectionSampling(prompts_file=PROMPTS(d), samples=6), _solves, runner.Limits()
  ),
  "star": Row(lambda d: star.Star(prompts_file=PROMPTS(d)), _solves),
  "self_rewarding": Row(lambda d: self_rewarding.SelfRewarding(seeds=SEEDS(d)), _answers, _SOME, is_pair=True),
  "spin": Row(lambda d: spin.Spin(prompts_file=PROMPTS(d)), _spin, is_pair=True),
  "verified_pairs": Row(
    lambda d: verified_pairs.VerifiedPairs(prompts_file=PROMPTS(d), chosen="own"), _spin, is_pair=True
  ),
  "constraints": Row(
    lambda d: constraints.Constraints(prompts_file=PROMPTS(d), direction="forward"), _answers, weight="heavy"
  ),
  "reasoning": Row(lambda d: reasoning.Reasoning(prompts_file=PROMPTS(d), least_words=2), _solves),
  "arithmetic": Row(lambda d: calculations.Arithmetic(), _arithmetic),
  "pseudo_labels": Row(
    lambda d: pseudo_labels.PseudoLabels(prompts_file=PROMPTS(d), task="Tell the label.", chunk=4, rounds=2), _labels
  ),
  "agents": Row(lambda d: AGENTS, _agent, runner.Limits(candidates=12)),
  "coding": Row(lambda d: coding.Coding(), _code, runner.Limits(candidates=8), weight="heavy", batches=(3,)),
  "optimisation": Row(
    lambda d: optimisation.Optimisation(seeds=SEEDS(d), packages=PACKAGES),
    _optimise,
    runner.Limits(candidates=6),
    weight="full",
    often=40,
    batches=(2,),
  ),
}


def write_inputs(folder: str) -> None:
  """The files that generators of the table read."""
  rng = np.random.Generator(np.random.PCG64(7))
  with open(SEEDS(folder), "w", encoding="utf-8") as f:
    for i in range(10):
      one = {"input": "", "output": sentence(rng)}
      f.write(json.dumps({"instruction": sentence(rng), "instances": [one], "is_classification": i % 3 == 0}) + "\n")
  with open(PROMPTS(folder), "w", encoding="utf-8") as f:
    for _ in range(12):
      f.write(json.dumps({"question": sentence(rng, end="?"), "answer": "Together 12.\n#### 12"}) + "\n")
