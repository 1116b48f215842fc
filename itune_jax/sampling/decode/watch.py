"""Texts while they grow: where a stop string ends them, and what may already be shown.

The device knows ids alone. Between rounds of tokens the host looks at the text of rows that have stop strings, or whose
text somebody reads as it comes. What it finds is a function of the tokens, whenever it looks.
"""

import bisect
from collections.abc import Callable, Sequence
from typing import NamedTuple

Text = Callable[[Sequence[int]], str]
TORN = "\ufffd"  # what bytes decode to that are no character yet
MARGIN = 16  # tokens beside a stop string's own bytes that are looked at again


class Cut(NamedTuple):
  """The tokens that complete a stop string and those before them, by number, and the text before it."""

  tokens: int
  text: str


class Piece(NamedTuple):
  """What is new of a text: its request and sample, the new tokens, all of the text so far, and how it ended (None as
  long as it goes on). Text that may yet turn out to be a stop string is held back."""

  id: str | int
  sample: int
  tokens: list[int]
  text: str
  finish: str | None


def first(text: str, stops: Sequence[str]) -> tuple[int, int] | None:
  """Where the first of the stop strings in a text begins and ends, the shortest if several begin there."""
  places = [at for at in (text.find(stop) for stop in stops) if at >= 0]
  if not places:
    return None
  at = min(places)
  return at, at + min(len(stop) for stop in stops if text.startswith(stop, at))


def pending(text: str, stops: Sequence[str]) -> int:
  """Where the longest end of a text begins that a stop string begins with; its length where there is none."""
  sizes = (n for stop in stops for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n]))
  return len(text) - max(sizes, default=0)


def closed(text: str) -> str:
  """A text without the bytes at its end that are no character yet."""
  return text.rstrip(TORN)


class Watch:
  """The growing text of one row."""

  def __init__(self, text: Text, stops: Sequence[str]):
    self._text, self.stops = text, tuple(stops)
    self._window = 4 * max(map(len, self.stops), default=0) + MARGIN  # a character has up to four tokens
    self._from = 0

  def cut(self, tokens: Sequence[int], ended: bool) -> Cut | None:
    """Where a stop string ends the text of these tokens. ended: whether no more will come.

    It is the first place of the text where one begins, whatever tokens it spans. Nothing is said as long as a longer
    one that began before may still come.
    """
    if not self.stops or not (ended or self._seems_to_stop(tokens)):
      return None
    whole = self._text(tokens) if ended else closed(self._text(tokens))
    found = first(whole, self.stops)
    if found is None or (not ended and pending(whole, self.stops) < found[0]):
      return None
    length = lambda n: len(closed(self._text(tokens[:n])))
    return Cut(bisect.bisect_left(range(len(tokens)), found[1], key=length), whole[: found[0]])

  def shown(self, tokens: Sequence[int]) -> str | None:
    """The text of these tokens as far as it will stand, whatever comes; None where a stop string is in it that may yet
    give way to another."""
    whole = closed(self._text(tokens))
    return None if first(whole, self.stops) else whole[: pending(whole, self.stops)]

  def _seems_to_stop(self, tokens: Sequence[int]) -> bool:
    """Whether a stop string is in the text of the last tokens: the whole text would be decoded over and over."""
    seems = first(closed(self._text(tokens[self._from :])), self.stops) is not None
    if not seems:
      self._from = max(self._from, len(tokens) - self._window)
    return seems
