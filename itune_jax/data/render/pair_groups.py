"""A pair of answers as a group of two examples, told apart by the column `side`, with their prompt once."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from itune_jax.core import check as check_lib
from itune_jax.core import pack
from itune_jax.core import columns as columns_lib
from itune_jax.data import example as example_lib
from itune_jax.data.render import chat

SIDE, MARGIN = columns_lib.Column("side"), columns_lib.Column("margin")
GOLD = columns_lib.Column("gold")  # 1 on the third answer of a triple, which is better than both sides


def columns_of(first: example_lib.Example | None) -> tuple[columns_lib.Column, ...]:
  """The columns of a source whose first pair is this one: margins and third answers are stored where it has one."""
  margin = (MARGIN,) if first is not None and first.margin is not None else ()
  return (SIDE, *margin, *((GOLD,) if first is not None and first.others else ()))


def check(renderer: chat.Renderer) -> None:
  """Raises InputError for a rendering that would cut prompts in two ways."""
  check_lib.require(
    renderer.config.truncation != "keep_end",
    "Rendering.truncation = 'keep_end' would cut the prompt of a pair at two places: use 'keep_start' or 'drop'",
  )


def render(
  renderer: chat.Renderer, example: example_lib.Example, columns: Sequence[columns_lib.Column] = (SIDE,)
) -> tuple[pack.Group, bool]:
  """The group, and whether something of it was cut.

  Raises BadRow where a side does not render to one row, where cutting left the sides alike, and where a margin or a
  third answer is missing, or there is one though others have none; InputError as `check` does.
  """
  check(renderer)
  if not example.rejected:
    raise example_lib.BadRow("it is no preference: `chosen` and `rejected` are missing")
  with_margin, with_gold = MARGIN in columns, GOLD in columns
  if (example.margin is not None) != with_margin:
    raise example_lib.BadRow("it has no margin, and the first pair has one" if with_margin else _EXTRA_MARGIN)
  if bool(example.others) != with_gold:
    raise example_lib.BadRow("it has no `reference`, and the first pair has one" if with_gold else _EXTRA_GOLD)
  plain = dataclasses.replace(example, rejected=(), others=())
  whole = [("chosen", 1.0, example.messages), ("rejected", -1.0, example.rejected)]
  whole += [("reference", 0.0, messages) for messages in example.others]
  sides = [side(renderer, dataclasses.replace(plain, messages=messages), name) for name, _, messages in whole]
  more = {"margin": example.margin} if with_margin else {}
  gold = lambda value: {"gold": float(value == 0)} if with_gold else {}
  items = [
    pack.Item(*trimmed(row), columns={"side": value, **more, **gold(value)})
    for row, (_, value, _) in zip(sides, whole, strict=True)
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
_EXTRA_GOLD = "it has a `reference`, and the first pair has none"


def side(renderer: chat.Renderer, example: example_lib.Example, name: str) -> chat.Rendered:
  """One conversation as one row. Raises BadRow where it needs several."""
  rows = renderer.render(example)
  if len(rows) != 1:
    raise example_lib.BadRow(
      f"`{name}` needs {len(rows)} rows: its turns do not stand in one text as they are generated"
    )
  return rows[0]


def trimmed(row: chat.Rendered) -> tuple[np.ndarray, np.ndarray]:
  """Without what follows the last trained token."""
  last = int(np.flatnonzero(row.weights)[-1])
  return row.ids[: last + 1].astype(np.int32), row.weights[: last + 1].astype(np.float32)
