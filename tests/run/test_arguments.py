"""What a notebook hands over is understood, or refused in one line."""

import json

import numpy as np
import pytest

from itune_jax.core import conversation
from itune_jax.core import errors
from itune_jax.run import arguments

TURN = {"role": "user", "content": "ab"}


def test_ids():
  assert arguments.tokens([[1, 2], [3, 95]], 96).dtype == np.int32
  for given, words in (
    ([[500] * 4], "ids of tokens are 0 to 95; 500 to 500 were given"),
    ([[-1]], "-1 to -1 were given"),
    (np.ones((1, 0), np.int32), r"a rectangle \[B, T\] of whole numbers"),
    ([1, 2], "a rectangle"),
    ([[1.5]], "of whole numbers"),
    ([["a"]], "of whole numbers"),
    ([[1, 2], [3]], "differ in length"),
    ([[None]], "of whole numbers"),
  ):
    with pytest.raises(errors.InputError, match=words):
      arguments.tokens(given, 96)


def test_prompts():
  one = conversation.of("ab")
  for given, alone, count in (
    ("ab", True, 1),
    ([TURN], True, 1),
    (one, True, 1),
    (["ab", [TURN]], False, 2),
    ([[TURN], [TURN, TURN]], False, 2),
    ([], False, 0),
  ):
    found, is_alone = arguments.prompts(given)
    assert is_alone is alone and len(found) == count and all(c.messages[0] == TURN for c in found)
  for given, words in (
    (3, "prompts are texts or conversations, this is int"),
    ({"role": "user"}, "this is dict"),
    ([3], "prompt 0 is neither a text nor a list of messages"),
    (["ab", TURN], "prompt 1 is neither"),
    ([["ab"]], "prompt 0 is neither"),
    ([[]], "prompt 0 is neither"),
  ):
    with pytest.raises(errors.InputError, match=words):
      arguments.prompts(given)


def test_pairs():
  assert arguments.pairs([["a", "b"], ("c", "d")]) == [("a", "b"), ("c", "d")]
  for given in ("ab", ["ab"], [("a",)], [("a", 1)], 3):
    with pytest.raises(errors.InputError, match="continuation"):
      arguments.pairs(given)


def test_rows_are_a_file_by_their_content(tmp_path):
  rows = [{"instruction": "Äb", "output": "c"}, {"messages": [TURN]}]
  path = arguments.rows_file(rows, str(tmp_path))
  with open(path, encoding="utf-8") as f:
    assert [json.loads(line) for line in f] == rows
  assert arguments.rows_file(rows, str(tmp_path)) == path != arguments.rows_file(rows[:1], str(tmp_path))
  for given, words in (
    ([], "rows are a list of dicts"),
    ("ab", "rows are a list"),
    ([3], "row 0 is no dict"),
    ([{"a": {1}}], "row 0 holds what JSON cannot"),
  ):
    with pytest.raises(errors.InputError, match=words):
      arguments.rows_file(given, str(tmp_path))
