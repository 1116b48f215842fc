"""Answers that somebody has judged, as groups: each answer an item, with what is said of it in columns."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from itune_jax.core import columns as columns_lib
from itune_jax.core import pack
from itune_jax.data import example as example_lib
from itune_jax.data.render import chat
from itune_jax.data.render import pair_groups

_END = "end"  # of a step, in characters of its answer


def columns_of(first: example_lib.Example | None) -> tuple[columns_lib.Column, ...]:
  """The columns of a source whose first row of answers is this one."""
  if first is None or not first.values:
    return pair_groups.columns_of(first)
  return tuple(columns_lib.Column(name) for name in first.values[0] if name != _END)


def render(
  renderer: chat.Renderer, example: example_lib.Example, columns: Sequence[columns_lib.Column]
) -> tuple[pack.Group, bool]:
  """The group, and whether something of it was cut. Raises BadRow, and InputError as `pair_groups.render` does."""
  if example.rejected:
    return pair_groups.render(renderer, example, columns)
  pair_groups.check(renderer)
  if not example.values:
    raise example_lib.BadRow("nothing is said of its answers")
  if _END in example.values[0]:
    return _stepwise(renderer, example)
  each = [dataclasses.replace(example, messages=m, others=(), values=()) for m in (example.messages, *example.others)]
  sides = [pair_groups.side(renderer, one, f"answer {i}") for i, one in enumerate(each)]
  pairs = zip(sides, example.values, strict=True)
  items = [pack.Item(*pair_groups.trimmed(row), columns=values) for row, values in pairs]
  cut = any(row.truncated for row in sides)
  for i, one in enumerate(items):
    for j, other in enumerate(items[:i]):
      if example.values[i] != example.values[j] and np.array_equal(one.ids, other.ids):
        raise example_lib.BadRow(
          f"truncation to {renderer.config.max_length} tokens removes what tells its answers apart"
          if cut
          else "answers that are judged differently are the same tokens"
        )
  return (pack.grouped(items) if len(items) > 1 else pack.Group((items[0],))), cut


def _stepwise(renderer: chat.Renderer, example: example_lib.Example) -> tuple[pack.Group, bool]:
  """An answer whose tokens behind the end of each step carry weight and the step's label.

  What a column holds stands with the token that is predicted, so that the hidden state at the end of the step is what
  is judged; a last id is put behind the last step for that.
  """
  plain = dataclasses.replace(example, values=())
  row = pair_groups.side(renderer, plain, "the answer")
  ids, trained = pair_groups.trimmed(row)
  first, places = int(np.flatnonzero(trained)[0]), _places(renderer, plain, ids)
  ids = np.r_[ids, ids[-1]].astype(np.int32)
  weights, labels = np.zeros(len(ids), np.float32), np.zeros(len(ids), np.float32)
  for value in example.values:
    at = first + int(np.searchsorted(places[first:], int(value[_END])))
    if at >= len(places):
      break
    weights[at + 1], labels[at + 1] = 1.0, value["label"]
  found = int((weights != 0).sum())
  if not found or (found < len(example.values) and not row.truncated):
    raise example_lib.BadRow(
      "truncation leaves no whole step" if row.truncated else "steps do not end at different tokens of the answer"
    )
  return pack.Group((pack.Item(ids, weights, None, {"label": labels}),)), row.truncated


def _places(renderer: chat.Renderer, example: example_lib.Example, ids: np.ndarray) -> np.ndarray:
  """How many characters of the answer are read behind each id. Raises BadRow where the row is not one text."""
  text, spans, _ = renderer.spans(example, example.messages)
  begins = text.find(example.answer, spans[-1][0])
  tokens = renderer.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
  if begins < 0 or not np.array_equal(tokens["input_ids"][: len(ids)], ids):
    raise example_lib.BadRow("the chat template does not show the steps of the answer as they are")
  return np.asarray([end for _, end in tokens["offset_mapping"]][: len(ids)], np.int64) - begins
