"""What losses have in common that add a term to any other loss."""

from collections.abc import Mapping
import dataclasses
from typing import Any, ClassVar

from itune_jax.core import batch as batch_lib
from itune_jax.core import contracts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wrapping(contracts.Objective):
  """A loss that is told all that the loss inside is told, and asks for a view more.

  objective: the loss inside.
  """

  VIEW: ClassVar[str]  # what the term compares the policy with

  objective: contracts.Objective

  @property
  def needs(self) -> tuple[str, ...]:
    """What the loss needs, and the view of the term."""
    return tuple(dict.fromkeys((*self.objective.needs, self.VIEW)))

  @property
  def columns(self) -> tuple[batch_lib.Column, ...]:
    """Those of the loss."""
    return self.objective.columns

  @property
  def couples_batch(self) -> bool:
    """Whether the loss does."""
    return self.objective.couples_batch

  @property
  def starts_at(self) -> Mapping[str, float]:
    """What the loss starts at."""
    return self.objective.starts_at

  @property
  def remembers(self) -> Mapping[str, float]:
    """What the loss does."""
    return self.objective.remembers

  def remember(self, memory: Mapping[str, Any], metrics: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    """As the loss does."""
    return self.objective.remember(memory, metrics)
