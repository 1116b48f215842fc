"""FinQA's programs: their result, and whether two are the same (Chen et al. 2021), as the official `evaluate.py`.

A program is steps of two arguments: `subtract(5829, 5735), divide(#0, 5735)`; `#0` is the result of the first step,
`const_100` a constant, `table_max(row, none)` a row of the table. Execution is right where the result, rounded to five
digits, equals the gold one. A program is right where both are the same expression of the gold one's arguments to sympy.
"""

from collections.abc import Sequence
import re
from typing import Any

from itune_jax.core import lazy

_sympy: Any = lazy.module("sympy")

ARITHMETIC = ("add", "subtract", "multiply", "divide", "exp", "greater")
OPERATIONS = (*ARITHMETIC, "table_max", "table_min", "table_sum", "table_average")
SIGNS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "exp": "**", "greater": ">"}
_PROGRAM = re.compile(rf"\b(?:{'|'.join(OPERATIONS)})\(.*\)")
_DO = {
  "add": lambda a, b: a + b,
  "subtract": lambda a, b: a - b,
  "multiply": lambda a, b: a * b,
  "divide": lambda a, b: a / b,
  "exp": lambda a, b: a**b,
  "greater": lambda a, b: "yes" if a > b else "no",
}
_OF_ROW = {"table_max": max, "table_min": min, "table_sum": sum, "table_average": lambda row: sum(row) / len(row)}


class _NoProgramError(Exception):
  """A program that cannot be run or compared."""


def found(text: str) -> str:
  """The program in an answer: the last line's part that looks like one; "" where none does."""
  matches = _PROGRAM.findall(text)
  return matches[-1] if matches else ""


def tokens(program: str) -> list[str]:
  """A program's tokens, the operation with its bracket, and `EOF` behind them."""
  cut: list[str] = []
  for part in program.split(", "):
    word = ""
    for c in part:
      if c == ")" and word:
        cut.append(word)
        word = ""
      word += c
      if c in "()":
        cut.append(word)
        word = ""
    cut += [word] if word else []
  return [*cut, "EOF"]


def result(given: Sequence[str], table: Sequence[Sequence[str]]) -> float | str | None:
  """What a program's tokens give on a table: a number with five digits, "yes" or "no"; None where it cannot be run."""
  try:
    steps = _steps(_whole(given))
    value = _run(steps, {row[0]: row[1:] for row in table})
    return value if isinstance(value, str) else round(value, 5)
  except (_NoProgramError, ArithmeticError, LookupError, TypeError, ValueError):
    return None


def same(gold: Sequence[str], said: Sequence[str]) -> bool:
  """Whether a program is the gold one, as expressions of the gold one's arguments. Raises ValueError where the gold one
  is none."""
  first = [_parts(step) for step in _cut(gold)]
  if not first:
    raise ValueError("the gold program has no step")
  names = _named(_cut(gold), first)
  try:
    steps = _cut(_whole(said) + ["EOF"])
    second = [_parts(step) for step in steps]
    if not second or not all(_known(*one, number, names) for number, one in enumerate(zip(steps, second, strict=True))):
      return False
    told = _simple(steps, second, names)
  except (_NoProgramError, LookupError, ValueError, TypeError, RecursionError):
    return False
  return bool(_simple(_cut(gold), first, names) == told)


def _whole(given: Sequence[str]) -> list[str]:
  """The tokens without their end. Raises _NoProgramError unless each fourth begins a step and each fourth ends one."""
  kept = list(given[:-1])
  for place, token in enumerate(kept):
    if (place % 4 == 0 and token.strip("(") not in OPERATIONS) or (place % 4 == 3 and token != ")"):
      raise _NoProgramError
  return kept


def _cut(given: Sequence[str]) -> list[str]:
  return [step.strip() for step in "|".join(given[:-1]).split(")")[:-1]]


def _steps(kept: list[str]) -> list[tuple[str, str, str]]:
  return [_parts(step) for step in _cut([*kept, "EOF"])]


def _parts(step: str) -> tuple[str, str, str]:
  """Operation and both arguments. Raises _NoProgramError for a bracket within, LookupError for an argument less."""
  before, *behind = step.split("(")
  if len(behind) > 1:
    raise _NoProgramError
  arguments = behind[0].strip("|").strip().split("|")
  return before.strip("|").strip(), arguments[0].strip(), arguments[1].strip()


def _run(steps: Sequence[tuple[str, str, str]], table: dict[str, Sequence[str]]) -> Any:
  done: list[Any] = []
  row: list[float] | None = None
  for operation, one, two in steps:
    if operation in _DO:
      a, b = (done[_place(x, done)] if "#" in x else _number(x) for x in (one, two))
      done.append(_DO[operation](a, b))
      continue
    if "#" in one:  # as there: the row of an earlier step is taken again
      done[_place(one, done)]
    else:
      row = [_number(cell.replace("$", "").strip().split("(")[0].strip()) for cell in table[one]]
    if row is None or operation not in _OF_ROW:
      raise _NoProgramError
    done.append(_OF_ROW[operation](row))
  if not done:
    raise _NoProgramError
  return done[-1]


def _place(argument: str, done: Sequence[Any]) -> int:
  """The step that `#2` names. Raises LookupError for one that is not done."""
  place = int(argument.replace("#", ""))
  if not 0 <= place < len(done):
    raise LookupError
  return place


def _number(text: str) -> float:
  """A number, a percentage as a share, or a constant. Raises _NoProgramError for another text."""
  plain = text.replace(",", "")
  try:
    return float(plain)
  except ValueError:
    pass
  if "%" in plain:
    try:
      return float(plain.replace("%", "")) / 100.0
    except ValueError:
      raise _NoProgramError from None
  if "const" in plain:
    constant = plain.replace("const_", "")
    return float("-1" if constant == "m1" else constant)
  raise _NoProgramError


def _named(steps: Sequence[str], parts: Sequence[tuple[str, str, str]]) -> dict[str, str]:
  """A symbol for each argument of the gold program, and for each whole step about the table."""
  names: dict[str, str] = {}
  for step, (operation, one, two) in zip(steps, parts, strict=True):
    for argument in (step,) if "table" in operation else (one, two):
      if "table" in operation or "#" not in argument:
        names.setdefault(argument, f"a{len(names)}")
  return names


def _known(step: str, parts: tuple[str, str, str], number: int, names: dict[str, str]) -> bool:
  operation, *arguments = parts
  if "table" in operation:
    return step in names
  return all(int(one.strip("#")) < number if "#" in one else one in names for one in arguments)


def _simple(steps: Sequence[str], parts: Sequence[tuple[str, str, str]], names: dict[str, str]) -> Any:
  """The last step as sympy's simplified expression."""

  def text(number: int) -> str:
    operation, one, two = parts[number]
    if "table" in operation:
      return names[steps[number]]
    left, right = (text(int(x.replace("#", ""))) if "#" in x else names[x] for x in (one, two))
    return f"( {left} {SIGNS[operation]} {right} )"

  return _sympy.simplify(text(len(steps) - 1), evaluate=False)
