"""The verdicts of a response: each instruction strictly, and loosely (without first or last line, without stars)."""

from collections.abc import Sequence
from typing import NamedTuple

from itune_jax.grading.ifeval import instruction


class Verdicts(NamedTuple):
  """Whether a response follows each instruction: as it stands, and in one of its eight variants."""

  strict: tuple[bool, ...]
  loose: tuple[bool, ...]


def judge(instructions: Sequence[instruction.Instruction], response: str) -> Verdicts:
  """The verdicts of a response, in the order of the instructions (§3.2 of the paper). A blank text follows nothing."""
  texts = variants(response)
  strict = tuple(_follows(one, response) for one in instructions)
  loose = (done or any(_follows(one, text) for text in texts) for one, done in zip(instructions, strict, strict=True))
  return Verdicts(strict, tuple(loose))


def variants(response: str) -> tuple[str, ...]:
  """The eight texts in one of which a response may follow loosely, without those that are alike.

  All, without the first line, without the last, without both; each as it is and without its stars. Only shortened texts
  lose the white space at their ends.
  """
  lines = response.split("\n")
  shortened = ["\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])]
  kept = [response, *shortened]
  return tuple(dict.fromkeys([*kept, *(text.replace("*", "") for text in kept)]))


def _follows(one: instruction.Instruction, text: str) -> bool:
  return bool(text.strip()) and one.follows(text)
