"""The feed: global batch k as a pure function of (manifest, seed, k, log of changed rates).

A batch can be found from its number without reading what came before, any number of processes reads its slice of the
same batch, and the state to resume from is one integer and the log.
"""

import abc
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import grain
import numpy as np

from itune_jax.core import batch as batch_lib
from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import pack
from itune_jax.data import draws
from itune_jax.data import made
from itune_jax.data import records
from itune_jax.data import tokenised


@dataclasses.dataclass(frozen=True, kw_only=True)
class Packing:
  """Geometry of a global batch: `rows` packed rows of `row_length` positions an optimizer step.

  window: examples that are packed together; the more, the less padding (below 1 % from 4,096 on). repeat_prompts: puts
  the prompt that the members of a group share in front of each of them, in place of once.

  row_length: positions of a packed row. rows: packed rows of a step, over all devices and micro-batches. shuffle:
  whether examples come in an order drawn from the seed; if not, in that of the file.
  """

  row_length: int = 2048
  rows: int = 1
  window: int = 4096
  shuffle: bool = True
  repeat_prompts: bool = False

  def __post_init__(self):
    check.check_types(self)
    check.require(
      self.row_length > 0 and self.rows > 0 and self.window > 0,
      f"Packing(row_length={self.row_length}, rows={self.rows}, window={self.window}): all must be positive",
    )


class Packed(contracts.BatchSource):
  """A source that packs examples into rows, and what people ask of one."""

  packing: Packing

  @abc.abstractmethod
  def segments(self, k: int) -> list[list[tuple[str, int]]]:
    """The example that each segment of each row of global batch k is of: (source, number)."""

  @abc.abstractmethod
  def steps_per_epoch(self) -> float:
    """Steps until the data was trained on once, infinite where nobody knows."""

  @abc.abstractmethod
  def padding_share(self, window: int = 0) -> float:
    """Share of the positions of a window that hold nothing."""


class Feed(Packed):
  """Batches by number over tokenised sources."""

  def __init__(
    self,
    sources: Mapping[str, tokenised.Examples],
    rates: Mapping[str, float],
    packing: Packing,
    *,
    seed: int = 0,
    rows: Sequence[int] | None = None,
    columns: Sequence[batch_lib.Column] = (),
    is_part: bool = False,
  ):
    """rows: which rows of every global batch are this process's, in the order wanted; all by default. columns: what
    batches get of the sources' columns. is_part: whether they are some of a run's sources: their labels may be equal.

    Raises InputError when an example does not fit a row, or a source lacks a column.
    """
    self.packing, self._columns = packing, tuple(columns)
    if not is_part:
      made.check_labels(sources, columns)
    sources = made.wrapped(sources, columns, seed)
    self._names = sorted(sources)
    self._sources = [sources[name] for name in self._names]
    for name, source in zip(self._names, self._sources, strict=True):
      records.require(columns, source.schema, name, "the objective")
    lengths = [source.repeated_lengths if packing.repeat_prompts else source.lengths for source in self._sources]
    longest = max(int(each.max()) for each in lengths)
    if longest > packing.row_length:
      raise errors.InputError(
        f"an example of {longest} positions does not fit Packing.row_length = {packing.row_length}; "
        "raise it, or prepare with a smaller Rendering.max_length"
      )
    scales = [source.scale for source in self._sources if source.scale is not None]
    self._image_size = scales[0].size if scales else None
    self._mine = range(packing.rows) if rows is None else rows
    how: dict[str, Any] = dict(row_length=packing.row_length, window=packing.window, shuffle=packing.shuffle, seed=seed)
    self._draws = draws.Draws(self._names, lengths, rates, **how)
    self._rates = self._known(rates)
    self._log: list[tuple[int, dict[str, float]]] = []
    self._figures: list[tuple[int, dict[str, float]]] = []
    self._given = 0  # batches that the loop has taken

  def batch(self, k: int, engine: Any = None) -> batch_lib.Batch:
    """This process's rows of global batch k."""
    del engine
    rows = [self._draws.row(k * self.packing.rows + b) for b in self._mine]
    items = [[self._example(s, i) for s, i in row] for row in rows]
    grouped = any(source.schema.grouped for source in self._sources)
    how = dict(grouped=grouped, repeats=self.packing.repeat_prompts)
    return pack.fill(items, self.packing.row_length, self._image_shape(k), self._columns, **how)

  def _example(self, source: int, index: int) -> pack.Item | pack.Group:
    example = self._sources[source][index]
    return example.repeated() if isinstance(example, pack.Group) and self.packing.repeat_prompts else example

  def _image_shape(self, k: int) -> tuple[int, ...]:
    """(I, H, W, 3) of the images of each row of global batch k: the same for every process."""
    if self._image_size is None:
      return (0,)
    rows = (self._draws.row(k * self.packing.rows + b) for b in range(self.packing.rows))
    counts = [sum(int(self._sources[s].image_counts[i]) for s, i in row) for row in rows]
    return pack.image_slots(counts), self._image_size, self._image_size, 3

  def members(self, k: int) -> list[list[tuple[str, int]]]:
    """Which examples each row of global batch k holds: (source, index), for people and for tests."""
    rows = (self._draws.row(k * self.packing.rows + b) for b in range(self.packing.rows))
    return [[(self._names[s], i) for s, i in row] for row in rows]

  def segments(self, k: int) -> list[list[tuple[str, int]]]:
    """The example that each segment of each row of global batch k is of; a group has several, its prompt's first."""
    rows = (self._draws.row(k * self.packing.rows + b) for b in range(self.packing.rows))
    of = lambda s, i: [(self._names[s], i)] * len(pack.segments([self._example(s, i)]))
    return [[one for s, i in row for one in of(s, i)] for row in rows]

  def iterate(self, start: int, engine: Callable[[], Any] = lambda: None, threads: int = 2) -> Iterator[Any]:
    """Batches start, start + 1, ... without end, read ahead by Grain threads."""
    del engine
    dataset = grain.MapDataset.source(_Numbered(self))[start:]
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    for k, batch in enumerate(dataset.to_iter_dataset(options), start):
      self._given = k + 1
      yield batch

  def change_rates(self, step: int, rates: Mapping[str, float]) -> None:
    """From batch `step` on, sources are drawn at other rates (of any sum).

    Raises InputError for a step that is trained already or lies before an earlier change, and for rates that are not
    positive numbers or not those of all sources.
    """
    last = self._log[-1][0] if self._log else 0
    check.require(
      step >= max(last, self._given),
      f"rates cannot change at step {step}: {self._given} steps are trained, and rates changed at step {last}",
    )
    known = set(rates) == set(self._names) and all(np.isfinite(r) and r > 0 for r in rates.values())
    check.require(known, f"rates {dict(rates)}: give a positive one for each of {', '.join(self._names)}")
    self._draws.change(step * self.packing.rows, rates)
    self._rates = self._known(rates)
    self._log.append((step, self._rates))

  def _known(self, rates: Mapping[str, float]) -> dict[str, float]:
    return {name: float(rates[name]) for name in self._names}

  @property
  def rates(self) -> dict[str, float]:
    """The rates that hold since the last change."""
    return dict(self._rates)

  def book(self, step: int, figures: Mapping[str, float]) -> None:
    """Keeps the figures of the sources that rates follow (`state` holds them): the last ones are `booked`."""
    self._figures.append((step, self._known(figures)))

  @property
  def booked(self) -> tuple[int, dict[str, float]] | None:
    """The step and the figures of each source that were booked last, None where none were."""
    return self._figures[-1] if self._figures else None

  @property
  def changes(self) -> int:
    """How often the rates have changed."""
    return len(self._log)

  def state(self) -> dict[str, Any]:
    """The log of changed rates, and the figures that they follow where they do."""
    found: dict[str, Any] = {"rates": [[step, rates] for step, rates in self._log]}
    return found | ({"figures": [[step, figures] for step, figures in self._figures]} if self._figures else {})

  def restore(self, state: Mapping[str, Any]) -> None:
    """Takes over a log of changed rates, in place of none."""
    for step, rates in state.get("rates", ()):
      self.change_rates(step, rates)
    for step, figures in state.get("figures", ()):
      self.book(step, figures)

  def steps_per_epoch(self) -> float:
    """Steps until every source was drawn once on average (rates permitting)."""
    examples = sum(len(source) for source in self._sources)
    return examples / self.packing.window * self._draws.rows_in_window() / self.packing.rows

  def padding_share(self, window: int = 0) -> float:
    """Share of the positions of a window that hold nothing."""
    return self._draws.padding_share(window)


class _Numbered(Sequence):
  """The feed as a random-access source, as Grain wants it."""

  def __init__(self, feed: Feed):
    self._feed = feed

  def __len__(self) -> int:
    return 2**40

  def __getitem__(self, k: Any) -> batch_lib.Batch:
    return self._feed.batch(int(k))
