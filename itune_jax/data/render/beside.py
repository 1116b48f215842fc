"""A conversation beside what a teacher reads of it: tokens of another vocabulary, or a longer prompt.

Both stand in one row as a group of two: the student's item trains, the teacher's carries no weight. The column `ahead`
says of each trained id of the student how many places further the teacher predicts what stands at the same character of
the same answer; it is 0 where the teacher's tokens begin at other characters. The column `stretch` says of the same ids
how many tokens of the student, and how many of the teacher, stand for the text up to where both begin a token again.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from itune_jax.core import columns as columns_lib
from itune_jax.core import pack
from itune_jax.data import example as example_lib
from itune_jax.data.render import chat

AHEAD = columns_lib.Column("ahead", "int32")
STRETCH = columns_lib.Column("stretch", "int32", (2,))
VERSION = 2  # of what stands here; 1 had no stretches


class Places(NamedTuple):
  """Where the trained ids of a row stand in its answers.

  starts: (answer, character of it) -> the id that begins there. ends: answer -> the id behind its last one.
  """

  starts: dict[tuple[int, int], int]
  ends: dict[int, int]


def render(
  student: chat.Renderer, teacher: chat.Renderer, example: example_lib.Example, context: str
) -> tuple[pack.Group, bool]:
  """The group, and whether something of it was cut.

  Args:
    context: what the teacher is told in front (a system message), "" for nothing.

  Raises:
    BadRow where a side does not stand in one text, and where no token of both begins at the same character.
  """
  own, cut, begins = _rendered(student, example)
  told = dataclasses.replace(example, messages=_with_context(example.messages, context)) if context else example
  theirs, theirs_cut, there = _rendered(teacher, told)
  ahead, stretch = np.zeros(len(own.ids), np.int32), np.zeros((len(own.ids), 2), np.int32)
  common = [place for place in begins.starts if place in there.starts]
  for place, after in zip(common, [*common[1:], None], strict=True):
    j, i = begins.starts[place], there.starts[place]
    ahead[j] = len(own.ids) - 1 + i - j
    if after is not None and after[0] == place[0]:
      stretch[j] = begins.starts[after] - j, there.starts[after] - i
    else:  # up to the end of the answer; of one that was cut the texts end at other places
      stretch[j] = (1, 1) if cut or theirs_cut else (begins.ends[place[0]] - j, there.ends[place[0]] - i)
  if not ahead[own.weights != 0].any():
    raise example_lib.BadRow("no token of the teacher begins where one of the student does")
  weights = np.where(ahead != 0, own.weights, 0).astype(np.float32)
  item = pack.Item(own.ids, weights, None, {"ahead": ahead, "stretch": stretch})
  nothing = {"ahead": 0, "stretch": np.zeros(2, np.int32)}
  return pack.Group((item, pack.Item(theirs.ids, np.zeros(len(theirs.ids), np.float32), None, nothing))), cut


def _with_context(messages: tuple[dict, ...], context: str) -> tuple[dict, ...]:
  first, rest = messages[0], messages[1:]
  if first["role"] != "system":
    return ({"role": "system", "content": context}, *messages)
  return ({**first, "content": f"{context}\n\n{example_lib.text(first['content'])}"}, *rest)


def _rendered(renderer: chat.Renderer, example: example_lib.Example) -> tuple[pack.Item, bool, Places]:
  """The row, whether it was cut, and where its tokens stand in the answers."""
  rows = renderer.render(example)
  if len(rows) != 1:
    raise example_lib.BadRow(f"it needs {len(rows)} rows: its turns do not stand in one text as they are generated")
  (row,) = rows
  text, spans, _ = renderer.spans(example, example.messages)
  tokens = renderer.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
  if not np.array_equal(tokens["input_ids"][: len(row.ids)], row.ids):
    raise example_lib.BadRow("its tokens are not those of its text: an answer would be aligned at other places")
  last = int(np.flatnonzero(row.weights)[-1])
  item = pack.Item(row.ids[: last + 1].astype(np.int32), row.weights[: last + 1].astype(np.float32))
  return item, row.truncated, _places(item, tokens["offset_mapping"], spans)


def _places(item: pack.Item, offsets, spans) -> Places:
  found = Places({}, {})
  for j in map(int, np.flatnonzero(item.weights)):
    start = offsets[j][0]
    for number, (begins, ends, _) in enumerate(spans):
      if begins <= start < ends:
        found.starts.setdefault((number, start - begins), j)
        found.ends[number] = j + 1
  return found
