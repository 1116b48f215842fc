"""A row as its answers in ids: behind the prompts that are rendered for them, and behind the assistant's header alone.

The mask is that of training: the tokens of the assistant's turns and of what ends them, wherever they stand in the ids
(`data.render`). No text is looked for again, and nothing is tokenised twice, so both passes score the same tokens.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from itune_jax.core import pack
from itune_jax.data import example as example_lib
from itune_jax.data.readers import formats
from itune_jax.data.render import chat
from itune_jax.data.render import tokenizer as tokenizer_lib
from itune_jax.select import select_protocol


class Answers(NamedTuple):
  """The answers of one row. given: behind their prompts, one item for each rendered row. alone: each answer behind the
  header that has one written, without any system or user turn. Answers have the weight 1, all else 0."""

  given: tuple[pack.Item, ...]
  alone: tuple[pack.Item, ...]

  @property
  def tokens(self) -> int:
    """Of all answers."""
    return sum(int((item.weights[1:] != 0).sum()) for item in self.given)


def example(row: select_protocol.Row) -> example_lib.Example | None:
  """The example of a row, None for a row that is none."""
  try:
    return formats.parse({key: value for key, value in row.items() if key != "scores"})
  except example_lib.BadRow:
    return None


def of(renderer: chat.Renderer, row: select_protocol.Row) -> Answers | None:
  """The answers of a row; None where it is no example, or renders to nothing that trains."""
  found = example(row)
  try:
    rendered = renderer.render(found) if found is not None else []
  except example_lib.BadRow:
    return None
  given, alone = [], []
  for one in rendered:
    item = renderer.item(one)
    marked = (np.asarray(item.weights) != 0).astype(np.float32)
    marked[0] = 0  # nothing stands before the first id to predict it
    given.append(item._replace(weights=marked))
    start = header(renderer, int(item.ids[0]))
    alone += [_behind(start, item.ids[first:last]) for first, last in _stretches(marked)]
  return Answers(tuple(given), tuple(alone)) if alone else None


def header(renderer: chat.Renderer, first: int) -> list[int]:
  """The ids that an answer alone stands behind: the start token where renderings begin with it, and the header."""
  tokenizer = renderer.tokenizer
  start = [first] if first == tokenizer.bos_token_id and renderer.encode(renderer.header)[:1] != [first] else []
  return [*start, *renderer.encode(renderer.header)] or [tokenizer_lib.start_id(tokenizer)]


def all_of(renderer: chat.Renderer, rows: Sequence[select_protocol.Row]) -> list[Answers | None]:
  """The answers of each row."""
  return [of(renderer, row) for row in rows]


def sums(nats: Sequence[np.ndarray], counts: Sequence[int]) -> np.ndarray:
  """Σ nats of each row [N] in float64, of the nats of its items: the first `counts[0]` items are the first row's."""
  found, at = np.zeros(len(counts)), 0
  for i, count in enumerate(counts):
    found[i] = sum(float(one.sum(dtype=np.float64)) for one in nats[at : at + count])
    at += count
  return found


def _behind(start: Sequence[int], answer: np.ndarray) -> pack.Item:
  ids = np.asarray([*start, *answer], np.int32)
  return pack.Item(ids, (np.arange(len(ids)) >= len(start)).astype(np.float32))


def _stretches(marked: np.ndarray) -> list[tuple[int, int]]:
  """(first, last + 1) of each run of weights."""
  edges = np.flatnonzero(np.diff(np.r_[0, marked != 0, 0]))
  return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
