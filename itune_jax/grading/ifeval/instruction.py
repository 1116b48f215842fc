"""What an instruction of IFEval is: a frozen value that tells whether a response follows it."""

import abc
from collections.abc import Iterable
from typing import Any, Literal

from itune_jax.core import check
from itune_jax.core import jsontext

Relation = Literal["less than", "at least"]


class Instruction(abc.ABC):
  """An instruction with its arguments, which are the fields of a frozen dataclass, named as the rows name them.

  What the official code would replace by a random draw (no count, a count below 1, no keyword) is refused here: a
  verdict is a function of the row and the response.
  """

  def __post_init__(self):
    check.check_types(self)
    for name, value in vars(self).items():
      check.require(_holds(value), f"{name} is {jsontext.shown(value)}; {_asks(value)}")

  @abc.abstractmethod
  def follows(self, response: str) -> bool:
    """Whether a response, which is not blank, follows the instruction."""


def compare(count: int, relation: Relation, bound: int) -> bool:
  """Whether a count stands in a relation to its bound."""
  return count < bound if relation == "less than" else count >= bound


def require_patterns(name: str, patterns: Iterable[str]) -> None:
  """Raises InputError unless all are regular expressions: the official code does not escape what rows name."""
  for pattern in patterns:
    check.regex(pattern, name)


def _holds(value: Any) -> bool:
  """Whether an argument says something: a count from 1, a text that is not blank, a list of such texts."""
  if isinstance(value, int):
    return value >= 1
  return bool(value.strip()) if isinstance(value, str) else bool(value) and all(map(_holds, value))


def _asks(value: Any) -> str:
  if isinstance(value, int):
    return "it must be 1 or more"
  return "it must not be blank" if isinstance(value, str) else "it must be a list of texts, none of them blank"
