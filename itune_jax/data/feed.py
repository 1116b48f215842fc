"""The feed: global batch k as a pure function of (manifest, seed, k).

Windows of examples are drawn by rate and shuffled by index, packed by length alone, and their rows shuffled. So
a batch can be found from its number without reading what came before, any number of processes reads its slice
of the same batch, and the state to resume from is one integer.
"""

import bisect
from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import functools
import threading
from typing import Any
import zlib

import grain
import numpy as np

from itune_jax.core import batch as batch_lib
from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.data import tokenised
from itune_jax.core import pack


@dataclasses.dataclass(frozen=True, kw_only=True)
class Packing:
  """Geometry of a global batch: `rows` packed rows of `row_length` positions an optimizer step.

  window: examples that are packed together; the more, the less padding (below 1 % from 4,096 on).
  """

  row_length: int = 2048
  rows: int = 1
  window: int = 4096
  shuffle: bool = True

  def __post_init__(self):
    check.check_types(self)
    check.require(
      self.row_length > 0 and self.rows > 0 and self.window > 0,
      f"Packing(row_length={self.row_length}, rows={self.rows}, window={self.window}): all must be positive",
    )


@dataclasses.dataclass(frozen=True)
class _Window:
  rows: tuple[tuple[tuple[int, int], ...], ...]  # rows of (source, index)


class Feed:
  """Batches by number over tokenised sources. Keeps the Feed contract."""

  def __init__(
    self,
    sources: Mapping[str, tokenised.CachedSource],
    rates: Mapping[str, float],
    packing: Packing,
    *,
    seed: int = 0,
    rows: Sequence[int] | None = None,
  ):
    """rows: which rows of every global batch are this process's, in the order wanted; all by default."""
    self.packing, self._seed = packing, seed
    self._names = sorted(sources)
    self._sources = [sources[name] for name in self._names]
    self._rates = np.array([rates[name] for name in self._names]) / sum(rates[name] for name in self._names)
    longest = max(int(source.lengths.max()) for source in self._sources)
    if longest > packing.row_length:
      raise errors.InputError(
        f"an example of {longest} positions does not fit Packing.row_length = {packing.row_length}; "
        "raise it, or prepare with a smaller Rendering.max_length"
      )
    scales = [source.scale for source in self._sources if source.scale is not None]
    self._image_size = scales[0].size if scales else None
    self._mine = range(packing.rows) if rows is None else rows
    # Draws per source and rows before each window; extended on demand, a function of the manifest and seed alone.
    self._drawn = [np.zeros(len(self._names), np.int64)]
    self._credit = np.zeros(len(self._names))
    self._before = [0]
    self._lock = threading.RLock()  # Grain reads ahead from several threads
    self._window = functools.lru_cache(maxsize=3)(self._pack_window)
    self._permutation = functools.lru_cache(maxsize=64)(self._permute)

  def batch(self, k: int) -> batch_lib.Batch:
    """This process's rows of global batch k."""
    rows = [self._row(k * self.packing.rows + b) for b in self._mine]
    items = [[self._sources[s][i] for s, i in row] for row in rows]
    return pack.fill(items, self.packing.row_length, self._image_shape(k))

  def _image_shape(self, k: int) -> tuple[int, ...]:
    """(I, H, W, 3) of the images of each row of global batch k: the same for every process."""
    if self._image_size is None:
      return (0,)
    rows = (self._row(k * self.packing.rows + b) for b in range(self.packing.rows))
    counts = [sum(int(self._sources[s].image_counts[i]) for s, i in row) for row in rows]
    return pack.image_slots(counts), self._image_size, self._image_size, 3

  def members(self, k: int) -> list[list[tuple[str, int]]]:
    """Which examples each row of global batch k holds: (source, index), for people and for tests."""
    return [
      [(self._names[s], int(i)) for s, i in self._row(k * self.packing.rows + b)] for b in range(self.packing.rows)
    ]

  def iterate(self, start: int, threads: int = 2) -> Iterator[batch_lib.Batch]:
    """Batches start, start + 1, ... without end, read ahead by Grain threads."""
    dataset = grain.MapDataset.source(_Numbered(self))[start:]
    return iter(dataset.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)))

  def rows_in_window(self, window: int) -> int:
    """Packed rows that a window of examples makes."""
    return len(self._window(window).rows)

  def steps_per_epoch(self) -> float:
    """Steps until every source was drawn once on average (rates permitting)."""
    examples = sum(len(source) for source in self._sources)
    return examples / self.packing.window * self.rows_in_window(0) / self.packing.rows

  def padding_share(self, window: int = 0) -> float:
    """Share of positions of a window that hold nothing."""
    rows = self._window(window).rows
    used = sum(int(self._sources[s].lengths[i]) for row in rows for s, i in row)
    return 1 - used / (len(rows) * self.packing.row_length)

  def _row(self, number: int):
    with self._lock:
      while self._before[-1] <= number:
        self._before.append(self._before[-1] + self.rows_in_window(len(self._before) - 1))
      window = bisect.bisect_right(self._before, number) - 1
      return self._window(window).rows[number - self._before[window]]

  def _counts(self, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws per source before the window and in it: shares of the rates, remainders carried over."""
    while len(self._drawn) <= window + 1:
      self._credit = self._credit + self.packing.window * self._rates
      take = np.floor(self._credit).astype(np.int64)
      left = self.packing.window - int(take.sum())
      take[np.argsort(-(self._credit - take), kind="stable")[:left]] += 1
      self._credit = self._credit - take
      self._drawn.append(self._drawn[-1] + take)
    return self._drawn[window], self._drawn[window + 1]

  def _pack_window(self, window: int) -> _Window:
    first, last = self._counts(window)
    members = [(s, self._draw(s, j)) for s in range(len(self._names)) for j in range(first[s], last[s])]
    lengths = [int(self._sources[s].lengths[i]) for s, i in members]
    rows = pack.best_fit_decreasing(lengths, self.packing.row_length)
    order = (
      self._rng("rows", window).permutation(len(rows))
      if self.packing.shuffle
      else sorted(range(len(rows)), key=lambda r: min(rows[r]))
    )
    return _Window(tuple(tuple(members[i] for i in sorted(rows[r])) for r in order))

  def _draw(self, source: int, j: int) -> int:
    epoch, at = divmod(int(j), len(self._sources[source]))
    return int(self._permutation(source, epoch)[at]) if self.packing.shuffle else at

  def _permute(self, source: int, epoch: int) -> np.ndarray:
    return self._rng(self._names[source], epoch).permutation(len(self._sources[source]))

  def _rng(self, name: str, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([self._seed, zlib.crc32(name.encode()), number]))


class _Numbered(Sequence):
  """The feed as a random-access source, as Grain wants it."""

  def __init__(self, feed: Feed):
    self._feed = feed

  def __len__(self) -> int:
    return 2**40

  def __getitem__(self, k: Any) -> batch_lib.Batch:
    return self._feed.batch(int(k))
