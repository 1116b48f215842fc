"""A dataset of Grain as the source of a run: read, rendered and packed as it is trained on.

What a window of elements becomes is a function of the iterator's state in front of it, so the state that a checkpoint
holds is that one and the number of rows that were taken behind it. Every process reads the whole dataset and fills its
own rows: any number of processes trains on the same ones. That costs each of them the rendering of all rows; data that
ends is better read once (`Source.grain`).
"""

import collections
import concurrent.futures
import json
import math
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import grain
import numpy as np

from itune_jax.core import batch as batch_lib
from itune_jax.core import errors
from itune_jax.core import log
from itune_jax.core import pack
from itune_jax.data import example as example_lib
from itune_jax.data import feed as feed_lib
from itune_jax.data.origins import origin as origin_lib
from itune_jax.data.origins import values
from itune_jax.data.readers import readers
from itune_jax.data.render import chat

Member = tuple[int, pack.Item]  # the element's number in the pass, and what it became


class _Place(NamedTuple):
  """Where reading stands: the pass over the data and the window, both counted from 0, the iterator's state in front of
  the window (None at the beginning of a pass), elements of the pass before it, and rows taken of it."""

  epoch: int
  window: int
  state: str | None
  element: int
  row: int


class _Window(NamedTuple):
  """Packed rows, and the place behind them."""

  rows: tuple[tuple[Member, ...], ...]
  behind: _Place


class GrainFeed(feed_lib.Packed):
  """Batches by number over what a user's function returns."""

  def __init__(
    self,
    name: str,
    make: str,
    renderer: chat.Renderer,
    packing: feed_lib.Packing,
    *,
    seed: int = 0,
    rows: Sequence[int] | None = None,
    refuses: bool = False,
  ):
    """make: `module:function` that returns the dataset, its elements rows in one of the formats. rows: which of every
    global batch are this process's, all by default. refuses: whether an element that is no example ends the run.

    Raises InputError for a function that is not there, and a model that takes images.
    """
    if renderer.images is not None:
      raise errors.InputError(f"grain = {make!r}: rows with images are read from files, not from a dataset of Grain")
    self.packing, self._name, self._renderer, self._seed, self._refuses = packing, name, renderer, seed, refuses
    self._make, self._dataset = make, values.dataset_of(make)
    self._mine = range(packing.rows) if rows is None else rows
    self._start = (0, _Place(0, 0, None, 0, 0))  # number of the batch that comes next, and where it begins
    self._reader: tuple[_Place, Any] | None = None  # the live iterator, and the place that it has come to
    self._kept: tuple[_Place, _Window] | None = None  # the last window
    self._lock = threading.RLock()
    self.reasons: collections.Counter[str] = (
      collections.Counter()
    )  # why elements were left out, since the process began

  def batch(self, k: int, engine: Any = None) -> batch_lib.Batch:
    """This process's rows of global batch k. Of a batch that was trained already nothing is left: raises InputError."""
    del engine
    return self._filled(self._rows(k)[0])

  def segments(self, k: int) -> list[list[tuple[str, int]]]:
    """The element of the pass that each segment of each row of global batch k is of."""
    return [[(self._name, number) for number, _ in row] for row in self._rows(k)[0]]

  def iterate(self, start: int, engine: Callable[[], Any] = lambda: None) -> Iterator[batch_lib.Batch]:
    """Batches start, start + 1, ... without end; one is made while the one before is trained on."""
    del engine
    place = self._place(start)
    with concurrent.futures.ThreadPoolExecutor(1, "grain") as worker:
      ahead = worker.submit(self._next, place)
      while True:
        batch, place = ahead.result()
        ahead = worker.submit(self._next, place)
        start += 1
        self._start = (start, place)
        yield batch

  def state(self) -> dict[str, Any]:
    """Where the next batch begins."""
    number, place = self._start
    return {"grain": {"batch": number, **place._asdict()}}

  def restore(self, state: Mapping[str, Any]) -> None:
    """Goes on behind what a checkpoint saw. Raises InputError for a checkpoint of another kind of source."""
    found = state.get("grain")
    if found is None:
      raise errors.InputError(f"this checkpoint was not trained on a dataset of Grain, as {self._make} is")
    self._start = (int(found["batch"]), _Place(**{key: found[key] for key in _Place._fields}))

  def steps_per_epoch(self) -> float:
    """Steps of one pass over the data, by its first window; infinite where the dataset does not say how long it is."""
    known = isinstance(self._dataset, grain.MapDataset) and len(self._dataset) < sys.maxsize
    first = self._window(_Place(0, 0, None, 0, 0))
    read = first.behind.element or (len(self._dataset) if known else 0)
    return len(self._dataset) / read * len(first.rows) / self.packing.rows if known else math.inf

  def padding_share(self, window: int = 0) -> float:
    """Share of the positions of the first window that hold nothing."""
    del window
    rows = self._window(_Place(0, 0, None, 0, 0)).rows
    used = sum(len(item.ids) - 1 for row in rows for _, item in row)
    return 1 - used / (len(rows) * self.packing.row_length)

  def _place(self, k: int) -> _Place:
    """Where batch k begins."""
    number, place = self._start
    if k < number:
      raise errors.InputError(f"batch {k} of {self._make} is read already: a dataset of Grain goes forwards only")
    for _ in range(k - number):
      place = self._take(place)[1]
    return place

  def _rows(self, k: int) -> tuple[list[tuple[Member, ...]], _Place]:
    return self._take(self._place(k))

  def _next(self, place: _Place) -> tuple[batch_lib.Batch, _Place]:
    rows, behind = self._take(place)
    return self._filled(rows), behind

  def _filled(self, rows: Sequence[tuple[Member, ...]]) -> batch_lib.Batch:
    return pack.fill([[item for _, item in rows[b]] for b in self._mine], self.packing.row_length)

  def _take(self, place: _Place) -> tuple[list[tuple[Member, ...]], _Place]:
    """The rows of a global batch from a place on, and the place behind them."""
    rows: list[tuple[Member, ...]] = []
    while len(rows) < self.packing.rows:
      window = self._window(place)
      taken = window.rows[place.row : place.row + self.packing.rows - len(rows)]
      rows += taken
      place = place._replace(row=place.row + len(taken))
      if place.row >= len(window.rows):
        place = window.behind
    return rows, place

  def _window(self, place: _Place) -> _Window:
    place = place._replace(row=0)
    with self._lock:
      if self._kept is None or self._kept[0] != place:
        self._kept = (place, self._packed(place))
      return self._kept[1]

  def _packed(self, place: _Place) -> _Window:
    """Reads, renders and packs a window. Raises InputError for a pass that holds no example."""
    iterator, members, element, ended = self._at(place), [], place.element, False
    while len(members) < self.packing.window:
      try:
        one = next(iterator)
      except StopIteration:
        ended = True
        break
      members += [(element, item) for item in self._items(one, element)]
      element += 1
    if ended and not members:
      if not place.element:
        reasons = "; ".join(f"{n} × {reason}" for reason, n in self.reasons.most_common(3)) or "it is empty"
        raise errors.InputError(f"{self._make} leaves no row to train on: {reasons}")
      return self._packed(_Place(place.epoch + 1, place.window, None, 0, 0))
    rows = pack.best_fit_decreasing([len(item.ids) - 1 for _, item in members], self.packing.row_length)
    order = range(len(rows))
    if self.packing.shuffle:
      seeds = [self._seed, zlib.crc32(b"rows of grain"), place.window]
      order = np.random.Generator(np.random.PCG64(seeds)).permutation(len(rows))
    packed = tuple(tuple(members[i] for i in sorted(rows[r])) for r in order)
    if ended:
      return _Window(packed, _Place(place.epoch + 1, place.window + 1, None, 0, 0))
    behind = _Place(place.epoch, place.window + 1, self._saved(iterator), element, 0)
    self._reader = (behind, iterator)
    return _Window(packed, behind)

  def _at(self, place: _Place) -> Any:
    """An iterator that stands at a place: the live one, if it does."""
    if self._reader is not None and self._reader[0] == place:
      return self._reader[1]
    dataset = self._dataset
    iterator = iter(dataset.to_iter_dataset() if isinstance(dataset, grain.MapDataset) else dataset)
    if place.state is not None:
      iterator.set_state(json.loads(place.state))
    return iterator

  def _saved(self, iterator: Any) -> str:
    try:
      return json.dumps(iterator.get_state())
    except (TypeError, ValueError, NotImplementedError) as e:
      raise errors.InputError(f"{self._make}: a checkpoint cannot hold the state of its iterator ({e})") from None

  def _items(self, element: Any, number: int) -> list[pack.Item]:
    """What an element becomes; nothing, and a reason on the books, for one that is no example."""
    try:
      raw = values.row(origin_lib.mapping("rows"), element)
      if isinstance(raw, str):
        raise example_lib.BadRow(raw)
      example = example_lib.of_ids(raw["ids"], raw.get("weights")) if "ids" in raw else readers.parse(raw, "")
      rows = self._renderer.render(example)
      if too_long := [row for row in rows if len(row.ids) - 1 > self.packing.row_length]:
        raise errors.InputError(
          f"an example of {len(too_long[0].ids) - 1} positions does not fit Packing.row_length = "
          f"{self.packing.row_length}; raise it, or take a smaller Rendering.max_length"
        )
      return [_trimmed(row) for row in rows]
    except example_lib.BadRow as e:
      if self._refuses:
        raise errors.InputError(f"{self._make}, element {number}: {e}") from None
      if not self.reasons[str(e)]:
        log.info(f"{self._make}: element {number} is left out, and others for this reason: {e}")
      self.reasons[str(e)] += 1
      return []


def _trimmed(row: chat.Rendered) -> pack.Item:
  """Without what follows the last trained token: nothing there can change the loss."""
  last = int(np.flatnonzero(row.weights)[-1]) + 1
  return pack.Item(row.ids[:last].astype(np.int32), row.weights[:last].astype(np.float32))
