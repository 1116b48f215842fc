"""Packing examples into rows: best-fit decreasing, by length only, so that it can be redone from lengths alone."""

import bisect
from collections.abc import Mapping, Sequence
import dataclasses
import types
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from itune_jax.core import columns as columns_lib
from itune_jax.core import errors
from itune_jax.core import lazy

if TYPE_CHECKING:
  from itune_jax.core import batch as batch_lib
else:
  batch_lib = lazy.module("itune_jax.core.batch")  # a tree of JAX, which who only stores examples makes none of


class Item(NamedTuple):
  """One example: ids [n+1], the weight of each [n+1], pixels [I, H, W, 3] of its images if it has any, and further
  columns by name: a value for each id ([n+1, ...]), or one for all of them."""

  ids: np.ndarray
  weights: np.ndarray
  images: Any = None
  columns: Mapping[str, Any] = types.MappingProxyType({})


class Group(NamedTuple):
  """Examples that stay in one row, all beginning with the same `shared` ids (0 for none), which stand there once."""

  items: tuple[Item, ...]
  shared: int = 0

  @property
  def trunk(self) -> int:
    """Positions that stand once. The last shared id is none of them: each branch predicts a first token of its own."""
    return max(self.shared - 1, 0) if len(self.items) > 1 else 0

  @property
  def positions(self) -> int:
    """Positions of a row that the group takes."""
    return self.trunk + sum(len(item.ids) - 1 - self.trunk for item in self.items)

  def repeated(self) -> "Group":
    """The same with the common beginning in front of each: what `shared` must equal, and spares."""
    return Group(self.items)

  def check(self) -> None:
    """Raises InputError unless what stands once is the same in all items, and nothing that trains."""
    first = self.items[0].ids[: self.shared]
    for item in self.items if self.trunk else ():
      if not np.array_equal(item.ids[: self.shared], first) or np.any(item.weights[1 : self.shared]):
        raise errors.InputError(
          f"Group(shared={self.shared}): the items begin with other ids, or train some of these: see `pack.grouped`"
        )
      if item.images is not None:
        raise errors.InputError("a prompt with images does not stand once for several items: use Group.repeated()")


def grouped(items: Sequence[Item]) -> Group:
  """These examples as a group, sharing all that they begin with, so long as each predicts a token of its own. Examples
  with images share nothing: each needs its own."""
  low, high = min(list(i.ids) for i in items), max(list(i.ids) for i in items)
  most = min(first_weight(item.weights) for item in items)
  same = next((k for k, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
  return Group(tuple(items), 0 if any(i.images is not None for i in items) else min(same, most))


def first_weight(weights) -> int:
  """Where the first id with weight stands."""
  trained = np.flatnonzero(weights)
  return int(trained[0]) if len(trained) else len(weights) - 1


def best_fit_decreasing(lengths: Sequence[int], row_length: int) -> list[list[int]]:
  """Rows of indices: longest first, each into the fullest row that still holds it. Ties keep their order.

  Raises ValueError when an example is longer than a row.
  """
  order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
  if order and lengths[order[0]] > row_length:
    raise ValueError(f"an example of {lengths[order[0]]} positions does not fit a row of {row_length}")
  rows: list[list[int]] = []
  room: list[tuple[int, int]] = []  # (positions left, row), sorted
  for i in order:
    at = bisect.bisect_left(room, (lengths[i], -1))
    if at < len(room):
      left, row = room.pop(at)
    else:
      left, row = row_length, len(rows)
      rows.append([])
    rows[row].append(i)
    if left > lengths[i]:
      bisect.insort(room, (left - lengths[i], row))
  return rows


def shortest(lengths: Sequence[int], rows: int, step: int) -> int:
  """The shortest rows, a multiple of `step`, so many of which hold these examples."""
  row_length = max(-(-max(max(lengths, default=0), -(-sum(lengths) // rows)) // step), 1) * step
  while len(best_fit_decreasing(lengths, row_length)) > rows:
    row_length += step
  return row_length


def image_slots(counts: Sequence[int]) -> int:
  """Places for images that every row gets: a power of two, so that few shapes are compiled; 0 for text alone."""
  most = max(counts, default=0)
  return 1 << (most - 1).bit_length() if most else 0


class Segment(NamedTuple):
  """A stretch of a row: where it begins, which of an item's positions it holds, and its group (see `Batch`)."""

  begins: int
  item: Item
  first: int
  last: int
  group: int

  @property
  def here(self) -> slice:
    """Its places in the row."""
    return slice(self.begins, self.begins + self.last - self.first)


def segments(row: Sequence[Item | Group]) -> list[Segment]:
  """The segments of a row, in order; those of a group behind the prompt that they share."""
  found: list[Segment] = []
  at = groups = 0
  for given in row:
    group = given if isinstance(given, Group) else Group((Item(*given),))
    group.check()
    groups += isinstance(given, Group)
    number = groups if isinstance(given, Group) else 0
    parts = [(group.items[0], 0, group.trunk, number)] if group.trunk else []
    parts += [(item, group.trunk, len(item.ids) - 1, -number) for item in group.items]
    for item, first, last, own in parts:
      found.append(Segment(at, item, first, last, own))
      at += last - first
  return found


def fill(
  rows: Sequence[Sequence[Any]],
  row_length: int,
  image_shape: Any = None,
  columns: Sequence[columns_lib.Column] = (),
  grouped: bool = False,
  repeats: bool | None = None,
) -> "batch_lib.Batch":
  """A batch from rows of `Item`s (or tuples like them) and `Group`s; targets are shifted inside their segment.

  Args:
    image_shape: (I, H, W, 3) of the images of every row; what these rows need unless given. columns: those that the
      batch gets, whatever its items have. grouped: whether it gets `groups_BT`, even if no row has a group. repeats:
      whether its groups repeat their prompts; what these rows do unless given.

  Raises:
    InputError for a group whose items do not share what it says (`Group.check`), or a prompt once despite `repeats`.
  """
  shape = (len(rows), row_length)
  tokens, targets, numbers, positions, prefix, groups = (np.zeros(shape, np.int32) for _ in range(6))
  weights = np.zeros(shape, np.float32)
  more = {c.name: np.zeros((*shape, *c.shape), c.dtype) for c in columns}
  held = [segments(row) for row in rows]
  for b, row in enumerate(held):
    for number, segment in enumerate(row, 1):
      own, here = slice(segment.first, segment.last), (b, segment.here)
      behind = slice(segment.first + 1, segment.last + 1)
      is_trunk = segment.group > 0
      ids, w = segment.item.ids, segment.item.weights
      tokens[here], targets[here] = ids[own], 0 if is_trunk else ids[behind]
      weights[here] = 0 if is_trunk else w[behind]
      numbers[here], positions[here], groups[here] = number, np.arange(segment.first, segment.last), segment.group
      prefix[b, segment.begins : segment.begins + _prefix(segment)] = 1
      for column in columns:
        if not is_trunk and (value := segment.item.columns.get(column.name)) is not None:
          more[column.name][here] = value[behind] if np.ndim(value) > len(column.shape) else value
  by_row = [[item for given in row for item in (given.items if isinstance(given, Group) else (given,))] for row in rows]
  packed = batch_lib.Batch(tokens, targets, weights, numbers, positions, prefix, _images(by_row, image_shape))
  grouped, once = grouped or bool(groups.any()), bool((groups > 0).any())
  if once and repeats:
    raise errors.InputError("pack.fill(repeats=True): a prompt of these groups stands once: use Group.repeated()")
  repeats = grouped and (not once if repeats is None else repeats)
  return dataclasses.replace(packed, groups_BT=groups if grouped else None, columns=more, repeats=repeats)


def _prefix(segment: Segment) -> int:
  """Positions of a segment up to the first that predicts a token with weight: all of them where there is none."""
  if segment.group > 0:
    return segment.last - segment.first
  trained = np.flatnonzero(segment.item.weights[segment.first + 1 : segment.last + 1])
  return int(trained[0]) + 1 if len(trained) else segment.last - segment.first


def _images(rows, shape):
  """Pixels [B, I, H, W, 3], zeros behind each row's own; None where there are none."""
  found = [[image for item in row if len(item) > 2 and item[2] is not None for image in item[2]] for row in rows]
  if shape is None:
    each = next((image.shape for row in found for image in row), ())
    shape = (image_slots(list(map(len, found))), *each)
  if not shape[0]:
    return None
  pixels = np.zeros((len(rows), *shape), np.float32)
  for b, row in enumerate(found):
    for i, image in enumerate(row):
      pixels[b, i] = image
  return pixels
