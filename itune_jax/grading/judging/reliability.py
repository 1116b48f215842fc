"""How far a judge can be trusted: whether both orders of a pair say the same, and its liking for the first place.

Games of a pair are told by what they say of the first answer shown: 1 is better, 0.5 a tie, 0 worse, None unread.
"""

from typing import NamedTuple


class Orders(NamedTuple):
  """What both orders of one pair say. win: what our answer is worth on average, None where a game is unread.

  consistent: whether both orders prefer the same answer, or both none; None where a game is unread. first: share of the
  decided games that the answer in the first place won, None where none is decided. tie: whether neither won over both
  orders (a tie, or two opposite verdicts). unread: share of the games without a verdict.
  """

  win: float | None
  consistent: float | None
  first: float | None
  tie: float | None
  unread: float


def of_orders(straight: float | None, swapped: float | None) -> Orders:
  """Both orders of a pair: our answer is first in `straight`, and second in `swapped`. Worths between stand for
  probabilities: the side above one half is preferred."""
  read = [worth for worth in (straight, swapped) if worth is not None]
  decided = [float(worth > 0.5) for worth in read if worth != 0.5]
  first = sum(decided) / len(decided) if decided else None
  if straight is None or swapped is None:
    return Orders(None, None, first, None, 1 - len(read) / 2)
  ours = straight, 1 - swapped
  sides = {(worth > 0.5) - (worth < 0.5) for worth in ours}
  return Orders(sum(ours) / 2, float(len(sides) == 1), first, float(sides == {0} or len(sides) > 1), 0.0)


def settled(straight: float | None, swapped: float | None) -> float | None:
  """MT-bench's verdict of both orders: a win that both give, else a tie; None where a game is unread. A worth between
  the two is a win of the side that it prefers."""
  if straight is None or swapped is None:
    return None
  sides = {(worth > 0.5) - (worth < 0.5) for worth in (straight, 1 - swapped)}
  return (sides.pop() + 1) / 2 if len(sides) == 1 else 0.5
