"""Packing examples into rows: best-fit decreasing, by length only, so that it can be redone from lengths alone."""

import bisect
from collections.abc import Sequence

import numpy as np

from itune_jax.core import batch as batch_lib


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


def fill(rows: Sequence[Sequence[tuple[np.ndarray, np.ndarray]]], row_length: int) -> batch_lib.Batch:
  """A batch from rows of (ids [n+1], weights [n+1]): n positions each, targets shifted inside the segment."""
  shape = (len(rows), row_length)
  tokens, targets, segments, positions, prefix = (np.zeros(shape, np.int32) for _ in range(5))
  weights = np.zeros(shape, np.float32)
  for b, row in enumerate(rows):
    at = 0
    for segment, (ids, w) in enumerate(row, 1):
      n = len(ids) - 1
      span = slice(at, at + n)
      tokens[b, span], targets[b, span], weights[b, span] = ids[:-1], ids[1:], w[1:]
      segments[b, span], positions[b, span] = segment, np.arange(n)
      trained = np.flatnonzero(w[1:])
      prefix[b, at : at + (trained[0] + 1 if len(trained) else n)] = 1
      at += n
  return batch_lib.Batch(tokens, targets, weights, segments, positions, prefix)
