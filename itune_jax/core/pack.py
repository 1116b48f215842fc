"""Packing examples into rows: best-fit decreasing, by length only, so that it can be redone from lengths alone."""

import bisect
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from itune_jax.core import batch as batch_lib


class Item(NamedTuple):
  """One example: ids [n+1], the weight of each [n+1], and pixels [I, H, W, 3] of its images, if it has any."""

  ids: np.ndarray
  weights: np.ndarray
  images: Any = None


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


def fill(rows: Sequence[Sequence[Any]], row_length: int, image_shape: Any = None) -> batch_lib.Batch:
  """A batch from rows of `Item`s or tuples like them: n positions each, targets shifted inside the segment.

  image_shape: (I, H, W, 3) of the images of every row; what these rows need unless given.
  """
  shape = (len(rows), row_length)
  tokens, targets, segments, positions, prefix = (np.zeros(shape, np.int32) for _ in range(5))
  weights = np.zeros(shape, np.float32)
  for b, row in enumerate(rows):
    at = 0
    for segment, (ids, w, *_) in enumerate(row, 1):
      n = len(ids) - 1
      span = slice(at, at + n)
      tokens[b, span], targets[b, span], weights[b, span] = ids[:-1], ids[1:], w[1:]
      segments[b, span], positions[b, span] = segment, np.arange(n)
      trained = np.flatnonzero(w[1:])
      prefix[b, at : at + (trained[0] + 1 if len(trained) else n)] = 1
      at += n
  return batch_lib.Batch(tokens, targets, weights, segments, positions, prefix, _images(rows, image_shape))


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
