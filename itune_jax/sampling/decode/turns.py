"""Which prompts run together, and where: each on the data shard that its row of the cache lies on.

A turn is about so many positions on each shard, whatever is waiting. Of equal prompts one runs on each shard that has
rows for them, and its keys are copied there: no keys travel.
"""

from collections.abc import Sequence
import dataclasses
from typing import NamedTuple


class Unit(NamedTuple):
  """Equal prompts, of which the first runs, and the row that each enters."""

  members: list[int]
  rows: list[int]


@dataclasses.dataclass(frozen=True)
class Turn:
  """Units by shard. Of a long turn each is run in pieces."""

  units: list[list[Unit]]
  is_long: bool

  @property
  def firsts(self) -> list[int]:
    """The prompts that run, shard by shard."""
    return [unit.members[0] for units in self.units for unit in units]

  @property
  def held(self) -> list[list[int]]:
    """Numbers of `firsts` by shard."""
    numbers = iter(range(len(self.firsts)))
    return [[next(numbers) for _ in units] for units in self.units]


def plan(
  equal: Sequence[Sequence[int]], lengths: Sequence[int], free: list[list[int]], chunk: int, most: int, cuts: bool
) -> list[Turn]:
  """Turns of all these prompts.

  equal: numbers of prompts, those that are the same together. lengths: of all prompts. free: rows that each shard has
  left, as many as there are prompts or more; they are taken. chunk: positions of a turn on a shard; a prompt is longer
  only by itself. most: different prompts of a turn on a shard. cuts: whether a prompt longer than a chunk may run in
  pieces.
  """
  turns: list[Turn] = []
  load: list[int] = []
  is_long = lambda same: cuts and lengths[same[0]] > chunk
  ordered = sorted(equal, key=lambda same: (is_long(same), -lengths[same[0]]))
  whole = [same for same in ordered if not is_long(same)]
  for same in [*_dealt(whole, most * len(free)), *ordered[len(whole) :]]:
    n, rest = lengths[same[0]], list(same)
    while rest:
      room = lambda s: len(turns[-1].units[s]) < most and (load[s] == 0 or load[s] + n <= chunk)
      fits = [s for s in range(len(load)) if free[s] and room(s)]
      if not turns or turns[-1].is_long != is_long(same) or not fits:
        turns.append(Turn([[] for _ in free], is_long(same)))
        load = [0] * len(free)
        fits = [s for s in range(len(free)) if free[s]]
      shard = min(fits, key=lambda s: (-min(len(free[s]), len(rest)), load[s]))
      count = min(len(free[shard]), len(rest))
      turns[-1].units[shard].append(Unit(rest[:count], free[shard][:count]))
      load[shard] += n
      rest = rest[count:]
      del free[shard][:count]
  return turns


def _dealt(units: list[Sequence[int]], size: int) -> list[Sequence[int]]:
  """Units, longest first, in another order: of each `size` that follow one another the lengths add up to about as much.
  They are dealt out there and back, so no turn has all the long ones, and is padded to twice the length of the next."""
  groups: list[list[Sequence[int]]] = [[] for _ in range(-(-len(units) // size))]
  for k, unit in enumerate(units):
    round_, place = divmod(k, len(groups))
    groups[place if round_ % 2 == 0 else len(groups) - 1 - place].append(unit)
  return [unit for group in groups for unit in group]
