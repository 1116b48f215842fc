"""Numbers that a field of a configuration may hold, declared in its type: `rate: PositiveFloat = 1e-4`.

The names are those of pydantic. `check.check_types` reads them; to a type checker they are plain numbers.
"""

import dataclasses
import math
from typing import Annotated, Any


@dataclasses.dataclass(frozen=True)
class Range:
  """From low to high; the ends themselves belong to it where they are said to."""

  low: float = -math.inf
  high: float = math.inf
  with_low: bool = True
  with_high: bool = True

  def __contains__(self, value: Any) -> bool:
    above = value >= self.low if self.with_low else value > self.low
    return above and (value <= self.high if self.with_high else value < self.high)

  def __str__(self) -> str:
    """In words, as a message or a page of the reference says it."""
    if self.high == math.inf:
      return f"{self.low:g} or more" if self.with_low else f"above {self.low:g}"
    high = f"{int(self.high):,}" if self.high == int(self.high) else f"{self.high:g}"
    ends = f"from {self.low:g} to {high}"
    return ends if self.with_low and self.with_high else f"{ends}, without {self._left_out()}"

  def _left_out(self) -> str:
    out = [f"{end:g}" for end, inside in ((self.low, self.with_low), (self.high, self.with_high)) if not inside]
    return " and ".join(out)


PositiveInt = Annotated[int, Range(1)]
NonNegativeInt = Annotated[int, Range(0)]
PositiveFloat = Annotated[float, Range(0, with_low=False)]
NonNegativeFloat = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]
PositiveShare = Annotated[float, Range(0, 1, with_low=False)]
Decay = Annotated[float, Range(0, 1, with_high=False)]
Seed = Annotated[int, Range(0, 2**32 - 1)]
