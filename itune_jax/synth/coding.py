"""Code with unit tests, as MBPP has it: a teacher invents a problem, its tests and a solution; kept if the solution
passes the tests in the sandbox, and an empty function does not."""

import ast
import builtins
import dataclasses
import re
from typing import Any

from itune_jax.core import check
from itune_jax.core import ranges
from itune_jax.grading import code
from itune_jax.grading.sandbox import sandbox
from itune_jax.synth import gates
from itune_jax.synth import generator
from itune_jax.synth import samplers

PROMPT = """Invent a programming problem that one Python function solves, with the standard library alone. \
It is about: {topic}. {about}
Answer in exactly this form:

### Problem
One to three sentences that say what the function gets and returns.

### Tests
```python
assert name(...) == ...
```
(at least {tests} of them, edge cases among them, each on one line)

### Solution
```python
def name(...):
```
"""
TOPICS = (
  "strings", "lists of numbers", "dictionaries", "dates", "matrices", "prime numbers", "intervals", "text parsing",
  "sorting by several keys", "recursion", "counting", "bits", "sets", "simple simulations", "geometry on a grid",
  "run-length coding", "bank accounts", "roman numerals", "tree structures as tuples", "sliding windows",
)  # fmt: skip
_PART = re.compile(r"^#{1,4} *(Problem|Tests|Solution)\b[^\n]*\n", re.M | re.I)
_BLOCK = re.compile(r"```(?:python)?[ \t]*\n(.*?)```", re.S)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coding(generator.Generator):
  """Problems, tests and solutions.

  topics: of which one is drawn for each problem. tests: that a problem has at least. box: where programs run.
  """

  name: str = "coding"
  topics: tuple[str, ...] = TOPICS
  tests: int = 3
  box: sandbox.Sandbox = sandbox.Sandbox()
  temperature: ranges.NonNegativeFloat = 1.0
  limit: ranges.NonNegativeInt = 1024

  def __post_init__(self):
    super().__post_init__()
    check.require(self.topics and self.tests > 0, "Coding.topics holds one or more, Coding.tests counts from 1")

  @property
  def takes_attributes(self) -> bool:
    """They are told with what is asked for."""
    return True

  @property
  def prompts(self):
    """The one that asks for all three."""
    return {"problem": PROMPT}

  def gate(self) -> gates.Gate:
    """Problems unlike those before."""
    return gates.Novel(lambda row: row["source"].get("problem", ""))

  def make(self, n: int, pool: generator.Pool) -> generator.Steps:
    """A problem, and the verdicts of its solution and of an empty one."""
    topic = self.topics[int(self.random(n).integers(len(self.topics)))]
    drawn = {"topic": topic, **self.drawn(n)}
    about = samplers.said({key: value for key, value in drawn.items() if key != "topic"})
    asked = PROMPT.replace("{topic}", topic).replace("{about}", about).replace("{tests}", str(self.tests))
    (response,) = yield from generator.ask([self.request(n, "problem", self.question(asked))])
    text = response.text
    parts = parts_of(text)
    row: dict[str, Any] = {"text": text, "source": {"attributes": drawn}}
    reason = self.faults.of(response.samples[0]) or ("" if parts else "not a problem with tests and a solution")
    if reason or parts is None:
      return [generator.Candidate(row, reason)]
    problem, tests, solution = parts
    asserts = asserts_of(tests)
    entry = entry_of(asserts)
    if len(asserts) < self.tests or not entry:
      return [generator.Candidate(row, "too few tests" if entry else "tests that call no one function")]
    question = f"{problem}\nYour code should pass these tests:\n" + "\n".join(asserts)
    own = {"problem": problem, "tests": "\n".join(asserts), "entry": entry, "attributes": drawn}
    row = {"messages": generator.pair(question, f"```python\n{solution.strip()}\n```", self.system), "source": own}
    program = code.program(f"```python\n{solution}\n```", code.Problem(tests="\n".join(asserts), entry=entry))
    empty = f"def {entry}(*args, **kwargs):\n  return None\n"
    jobs = [sandbox.Job(each, "\n".join(asserts)) for each in (program, empty)]
    done, nothing = yield from generator.run(jobs, self.box)
    reason = "" if done.verdict == "passed" else f"solution: {done.verdict}"
    return [
      generator.Candidate(row, reason or ("tests that nothing passes too" if nothing.verdict == "passed" else ""))
    ]


def parts_of(text: str) -> tuple[str, str, str] | None:
  """Problem, tests and solution of an answer; None where one is missing."""
  marks = list(_PART.finditer(text))
  ends = [*(mark.start() for mark in marks[1:]), len(text)][: len(marks)]
  found = {mark[1].lower(): text[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)}
  blocks = {name: _BLOCK.search(found.get(name, "")) for name in ("tests", "solution")}
  tests, solution = blocks["tests"], blocks["solution"]
  if not found.get("problem") or tests is None or solution is None:
    return None
  return found["problem"], tests[1], solution[1]


def asserts_of(tests: str) -> list[str]:
  """The asserts of a test program, each on one line; nothing of one that is no Python."""
  try:
    tree = ast.parse(tests)
  except (SyntaxError, ValueError, RecursionError, MemoryError):
    return []
  return list(dict.fromkeys(ast.unparse(node) for node in tree.body if isinstance(node, ast.Assert)))


def entry_of(asserts: list[str]) -> str:
  """The function that all asserts call, "" where there is none."""
  called = []
  for line in asserts:
    names = [n.func.id for n in ast.walk(ast.parse(line)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    called.append(names)
  common = [name for name in (called[0] if called else []) if all(name in names for names in called)]
  own = [name for name in common if name not in dir(builtins)]
  return own[0] if own else ""
