"""A pair of answers as a group of two examples, told apart by the column `side`, with their prompt once."""

import dataclasses

import numpy as np

from itune_jax.core import check, pack
from itune_jax.core import columns as columns_lib
from itune_jax.data import example as example_lib
from itune_jax.data.render import chat

SIDE, MARGIN = columns_lib.Column("side"), columns_lib.Column("margin")


def columns_of(first: example_lib.Example | None) -> tuple[columns_lib.Column, ...]:
  """The columns of a source whose first pair is this one: margins are stored where it has one."""
  return (SIDE, MARGIN) if first is not None and first.margin is not None else (SIDE,)


def render(renderer: chat.Renderer, example: example_lib.Example, with_margin: bool = False) -> tuple[pack.Group, bool]:
  """The group, and whether something of it was cut.

  Raises BadRow where a side does not render to one row, where cutting left the sides alike, and where a margin is
  missing, or there is one though others have none; InputError for a rendering that would cut prompts in two ways.
  """
  check.require(
    renderer.config.truncation != "keep_end",
    "Rendering.truncation = 'keep_end' would cut the prompt of a pair at two places: use 'keep_start' or 'drop'",
  )
  if not example.rejected:
    raise example_lib.BadRow("it is no preference: `chosen` and `rejected` are missing")
  if (example.margin is not None) != with_margin:
    raise example_lib.BadRow("it has no margin, and the first pair has one" if with_margin else _EXTRA_MARGIN)
  other = dataclasses.replace(example, messages=example.rejected, rejected=())
  sides = [_side(renderer, one, name) for one, name in ((example, "chosen"), (other, "rejected"))]
  items = [
    pack.Item(*_trimmed(row), columns={"side": side, **({"margin": example.margin} if with_margin else {})})
    for row, side in zip(sides, (1.0, -1.0), strict=True)
  ]
  if np.array_equal(items[0].ids, items[1].ids):
    cut = any(row.truncated for row in sides)
    raise example_lib.BadRow(
      f"truncation to {renderer.config.max_length} tokens removes what tells `chosen` from `rejected`"
      if cut
      else "`chosen` and `rejected` are the same tokens"
    )
  return pack.grouped(items), any(row.truncated for row in sides)


_EXTRA_MARGIN = "it has a margin, and the first pair has none"


def _side(renderer: chat.Renderer, example: example_lib.Example, name: str) -> chat.Rendered:
  rows = renderer.render(example)
  if len(rows) != 1:
    raise example_lib.BadRow(
      f"`{name}` needs {len(rows)} rows: its turns do not stand in one text as they are generated"
    )
  return rows[0]


def _trimmed(row: chat.Rendered) -> tuple[np.ndarray, np.ndarray]:
  """Without what follows the last trained token."""
  last = int(np.flatnonzero(row.weights)[-1])
  return row.ids[: last + 1].astype(np.int32), row.weights[: last + 1].astype(np.float32)
