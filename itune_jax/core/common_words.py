"""The words that two vocabularies have in common."""

from collections.abc import Mapping
import dataclasses
from typing import Any, Self

import numpy as np

from itune_jax.core import errors


@dataclasses.dataclass(frozen=True, eq=False)
class Shared:
  """Ids [M], int32, of the words that are written alike in both vocabularies: in the one, and in the other, whose order
  it is."""

  own_M: Any
  other_M: Any

  @classmethod
  def of(cls, own: Mapping[str, int], other: Mapping[str, int]) -> Self:
    """Those of two vocabularies, id by word as tokenizers write them ("Ġthe" and "▁the" are two words).

    Raises InputError where they have none in common.
    """
    both = sorted((id, own[word]) for word, id in other.items() if word in own)
    if not both:
      raise errors.InputError("the vocabularies of the policy and the teacher have no word in common")
    other_M, own_M = np.asarray(both, np.int32).T
    return cls(own_M, other_M)

  def others(self, own_size: int, other_size: int) -> tuple[Any, Any]:
    """The ids that stand for no common word, in vocabularies of these sizes. Raises InputError for ids beyond them."""
    if self.own_M.max() >= own_size or self.other_M.max() >= other_size:
      raise errors.InputError(
        f"common words have ids up to {self.own_M.max()} and {self.other_M.max()}, and the models {own_size} and "
        f"{other_size} logits"
      )
    rest = lambda ids, size: np.setdiff1d(np.arange(size, dtype=np.int32), ids)
    return rest(self.own_M, own_size), rest(self.other_M, other_size)
