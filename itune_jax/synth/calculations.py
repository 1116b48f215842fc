"""Arithmetic with checkers: problems whose value is known exactly are drawn, a teacher works them out, and what is kept
has the right number behind equations that all hold."""

import dataclasses
from fractions import Fraction

import numpy as np

from itune_jax.core import check
from itune_jax.grading import checkers
from itune_jax.synth import equations
from itune_jax.synth import gates
from itune_jax.synth import generator
from itune_jax.synth import samplers

ASK = "Write each step as an equation, like 3 * 4 = 12. End with a line `#### ` and the number."
FORMS = (
  "Work out {expression}.",
  "What is {expression}?",
  "A shop's till shows the calculation {expression}. Which number comes out?",
  "Somebody typed {expression} into a calculator. What does it show?",
  "Find the value of {expression}.",
)
_SIGNS = ("+", "-", "*", "/")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arithmetic(generator.Generator):
  """Expressions of whole numbers with whole results, and solutions.

  fewest, most: operations of an expression. largest: number in it. suffix: how the answer is asked for.
  """

  name: str = "arithmetic"
  fewest: int = 1
  most: int = 4
  largest: int = 60
  suffix: str = ASK

  def __post_init__(self):
    super().__post_init__()
    check.require(0 < self.fewest <= self.most <= 12, "Arithmetic: 1 <= fewest <= most <= 12 operations")
    check.require(self.largest > 1, f"Arithmetic.largest = {self.largest}; it is 2 or more")

  @property
  def prompts(self):
    """How problems are put."""
    return {"ask": self.suffix, **{f"form_{i}": form for i, form in enumerate(FORMS)}}

  def gate(self) -> gates.Gate:
    """Each problem once."""
    return gates.Distinct(samplers.question)

  def make(self, n: int, pool: generator.Pool) -> generator.Steps:
    """A problem and its solution."""
    rng = self.random(n)
    operations = int(rng.integers(self.fewest, self.most + 1))
    expression, value = drawn(rng, operations, self.largest)
    question = FORMS[int(rng.integers(len(FORMS)))].format(expression=expression)
    asked = f"{question}\n{self.suffix}" if self.suffix else question
    (response,) = yield from generator.ask([self.request(n, "solve", self.question(asked))])
    text, test = response.text.strip(), {"name": "final_number", "answer": str(value)}
    source = {"expression": expression, "attributes": {"operations": str(operations)}}
    row = {"messages": generator.pair(question, text, self.system), "check": test, "source": source}
    reason = self.faults.of(response.samples[0]) or ("" if checkers.judge(text, test) else "wrong")
    return [generator.Candidate(row, reason or ("an equation does not hold" if equations.wrong(text) else ""))]


def drawn(rng: np.random.Generator, operations: int, largest: int) -> tuple[str, int]:
  """An expression with so many operations, and its value, which is whole and not negative, as is that of every part."""
  if operations == 0:
    number = int(rng.integers(1, largest + 1))
    return str(number), number
  while True:
    left = int(rng.integers(operations))
    a, x = drawn(rng, left, largest)
    b, y = drawn(rng, operations - 1 - left, largest)
    sign = _SIGNS[int(rng.integers(4))]
    value = {"+": Fraction(x + y), "-": Fraction(x - y), "*": Fraction(x * y), "/": Fraction(x, y or 1)}[sign]
    if y and value >= 0 and value.denominator == 1 and value < 10**7:
      sides = [f"({side})" if " " in side else side for side in (a, b)]
      return f"{sides[0]} {sign} {sides[1]}", int(value)
