"""A conversation beside what a teacher reads of it: tokens of another vocabulary, or a longer prompt.

Both stand in one row as a group of two: the student's item trains, the teacher's carries no weight. The column `ahead`
says of each trained id of the student how many places further the teacher predicts what stands at the same character of
the same answer; it is 0 where the teacher's tokens begin at other characters.
"""

import dataclasses

import numpy as np

from itune_jax.core import columns as columns_lib
from itune_jax.core import pack
from itune_jax.data import example as example_lib
from itune_jax.data.render import chat

AHEAD = columns_lib.Column("ahead", "int32")
Starts = dict[tuple[int, int], int]  # (answer, character of it) -> the id that begins there


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
  theirs, _, there = _rendered(teacher, told)
  ahead = np.zeros(len(own.ids), np.int32)
  for place, j in begins.items():
    if place in there:
      ahead[j] = len(own.ids) - 1 + there[place] - j
  if not ahead[own.weights != 0].any():
    raise example_lib.BadRow("no token of the teacher begins where one of the student does")
  weights = np.where(ahead != 0, own.weights, 0).astype(np.float32)
  item = pack.Item(own.ids, weights, None, {"ahead": ahead})
  other = pack.Item(theirs.ids, np.zeros(len(theirs.ids), np.float32), None, {"ahead": 0})
  return pack.Group((item, other)), cut


def _with_context(messages: tuple[dict, ...], context: str) -> tuple[dict, ...]:
  first, rest = messages[0], messages[1:]
  if first["role"] != "system":
    return ({"role": "system", "content": context}, *messages)
  return ({**first, "content": f"{context}\n\n{example_lib.text(first['content'])}"}, *rest)


def _rendered(renderer: chat.Renderer, example: example_lib.Example) -> tuple[pack.Item, bool, Starts]:
  """The row, whether it was cut, and which id begins at which character of which answer."""
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
  return item, row.truncated, _starts(item, tokens["offset_mapping"], spans)


def _starts(item: pack.Item, offsets, spans) -> Starts:
  found: Starts = {}
  for j in map(int, np.flatnonzero(item.weights)):
    start = offsets[j][0]
    for number, (begins, ends, _) in enumerate(spans):
      if begins <= start < ends:
        found.setdefault((number, start - begins), j)
  return found
