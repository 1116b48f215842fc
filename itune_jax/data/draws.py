"""Which example stands where in the endless sequence of packed rows: a function of (manifest, seed, log of changes).

Examples are drawn by rate in windows, shuffled by index, packed by length alone, and the rows of a window shuffled. The
rates may change at a numbered row, which begins an era. What was drawn before and stands in rows that are cut off is
drawn again before anything new of its source: nothing is lost or seen twice, and new rates hold from their first row.
"""

import bisect
import functools
import threading
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from itune_jax.core import check
from itune_jax.core import pack

Member = tuple[int, int]  # (source, which of its draws)


class _Era:
  """Windows that are drawn by the same rates. Each source gives what is `left` of it first, then its further draws."""

  def __init__(self, start: int, rates: np.ndarray, drawn: np.ndarray, left: Sequence[Sequence[int]]):
    """drawn: draws of each source before the era, those in `left` (numbers of draws, by source) among them."""
    self.start = start
    self._rates, self._credit, self._drawn = rates, np.zeros(len(rates)), drawn
    self._left = tuple(tuple(sorted(each)) for each in left)
    self._taken = [np.zeros(len(rates), np.int64)]  # of each source before each window
    self.before = [0]  # rows before each window

  def members(self, window: int, size: int) -> list[Member]:
    """What a window of `size` examples holds: shares of the rates, remainders carried over from window to window."""
    while len(self._taken) <= window + 1:
      self._credit = self._credit + size * self._rates
      take = np.floor(self._credit).astype(np.int64)
      more = size - int(take.sum())
      take[np.argsort(-(self._credit - take), kind="stable")[:more]] += 1
      self._credit = self._credit - take
      self._taken.append(self._taken[-1] + take)
    first, last = self._taken[window], self._taken[window + 1]
    return [(s, self._draw(s, n)) for s in range(len(first)) for n in range(first[s], last[s])]

  def _draw(self, source: int, n: int) -> int:
    """Which of its source's draws the n-th of this era is."""
    left = self._left[source]
    return int(left[n] if n < len(left) else self._drawn[source] + n - len(left))

  def after(self, windows: int) -> tuple[np.ndarray, list[list[int]]]:
    """Draws of each source when so many windows are drawn, and which of them none of these windows holds."""
    taken = self._taken[windows]
    drawn = [max(0, int(n) - len(left)) for n, left in zip(taken, self._left, strict=True)]
    return self._drawn + drawn, [list(left[n:]) for n, left in zip(taken, self._left, strict=True)]


class Draws:
  """Packed rows by number, each a tuple of (source, index of the example)."""

  def __init__(
    self,
    names: Sequence[str],
    lengths: Sequence[np.ndarray],
    rates: Mapping[str, float],
    *,
    row_length: int,
    window: int,
    shuffle: bool,
    seed: int,
  ):
    """names, lengths: of the sources, and of the examples of each. window: examples that are packed together."""
    self._names, self._lengths = list(names), list(lengths)
    check.seed(seed)
    self._row_length, self._size, self._shuffle, self._seed = row_length, window, shuffle, seed
    self._eras = [_Era(0, self._shares(rates), np.zeros(len(names), np.int64), [()] * len(names))]
    self._lock = threading.RLock()  # readers run ahead in several threads
    self._window = functools.lru_cache(maxsize=3)(self._pack)
    self._permutation = functools.lru_cache(maxsize=64)(self._permute)

  def row(self, number: int) -> tuple[Member, ...]:
    """The examples of a row."""
    with self._lock:
      era = bisect.bisect_right([e.start for e in self._eras], number) - 1
      window, at = self._place(era, number)
      return tuple((s, self._index(s, j)) for s, j in self._window(era, window)[at])

  def change(self, number: int, rates: Mapping[str, float]) -> None:
    """From this row on other rates hold. Rows before it stay as they are."""
    with self._lock:
      last = len(self._eras) - 1
      window, at = self._place(last, number)
      rows = self._window(last, window)
      drawn, left = self._eras[last].after(window + (at > 0))
      for source, draw in (member for row in rows[at:] for member in row if at > 0):
        left[source].append(draw)
      self._eras.append(_Era(number, self._shares(rates), drawn, left))

  def rows_in_window(self, window: int = 0) -> int:
    """Packed rows that a window of the first era makes."""
    return len(self._window(0, window))

  def padding_share(self, window: int = 0) -> float:
    """Share of the positions of such a window that hold nothing."""
    rows = self._window(0, window)
    used = sum(int(self._lengths[s][self._index(s, j)]) for row in rows for s, j in row)
    return 1 - used / (len(rows) * self._row_length)

  def _shares(self, rates: Mapping[str, float]) -> np.ndarray:
    values = np.array([rates[name] for name in self._names])
    return values / values.sum()

  def _place(self, era: int, number: int) -> tuple[int, int]:
    """The window of a row, and its place there."""
    before, at = self._eras[era].before, number - self._eras[era].start
    while before[-1] <= at:
      before.append(before[-1] + len(self._window(era, len(before) - 1)))
    window = bisect.bisect_right(before, at) - 1
    return window, at - before[window]

  def _pack(self, era: int, window: int) -> tuple[tuple[Member, ...], ...]:
    members = self._eras[era].members(window, self._size)
    lengths = [int(self._lengths[s][self._index(s, j)]) for s, j in members]
    rows = pack.best_fit_decreasing(lengths, self._row_length)
    if self._shuffle:
      stream = "rows" if era == 0 else f"rows of era {self._eras[era].start}"
      order = self._rng(stream, window).permutation(len(rows))
    else:
      order = sorted(range(len(rows)), key=lambda r: min(rows[r]))
    return tuple(tuple(members[i] for i in sorted(rows[r])) for r in order)

  def _index(self, source: int, j: int) -> int:
    epoch, at = divmod(j, len(self._lengths[source]))
    return int(self._permutation(source, epoch)[at]) if self._shuffle else at

  def _permute(self, source: int, epoch: int) -> np.ndarray:
    return self._rng(self._names[source], epoch).permutation(len(self._lengths[source]))

  def _rng(self, name: str, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([self._seed, zlib.crc32(name.encode()), number]))
