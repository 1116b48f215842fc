"""What a notebook hands over: token ids, prompts, pairs and rows, understood or refused in one line."""

from collections.abc import Mapping, Sequence
import hashlib
import json
import os
from typing import Any

import numpy as np

from itune_jax.core import check
from itune_jax.core import conversation
from itune_jax.core import errors
from itune_jax.core import files


def tokens(tokens_BT: Any, vocab: int) -> np.ndarray:
  """Rows of ids as int32 [B, T]. Raises InputError unless they are a rectangle of ids of the vocabulary."""
  try:
    found = np.asarray(tokens_BT)
  except ValueError:
    raise errors.InputError("rows of ids differ in length: give a rectangle [B, T]") from None
  integers = found.dtype.kind in "iu" or (found.dtype.kind == "f" and found.size and bool((found == found // 1).all()))
  if found.ndim != 2 or not found.size or not integers:
    raise errors.InputError(
      f"ids of tokens are a rectangle [B, T] of whole numbers, this is {found.dtype}{found.shape}"
    )
  if found.min() < 0 or found.max() >= vocab:
    raise errors.InputError(f"ids of tokens are 0 to {vocab - 1}; {int(found.min())} to {int(found.max())} were given")
  return found.astype(np.int32)


def prompts(given: Any) -> tuple[list[conversation.Conversation], bool]:
  """Conversations, and whether it was one that was given by itself: a text, a conversation, or its list of messages.

  Raises InputError, by its number, for what is neither text nor messages.
  """
  alone = isinstance(given, (str, conversation.Conversation)) or _is_messages(given)
  many: Any = [given] if alone else given
  check.require(isinstance(many, Sequence), f"prompts are texts or conversations, this is {type(given).__name__}")
  for i, prompt in enumerate(many):
    known = isinstance(prompt, (str, conversation.Conversation)) or _is_messages(prompt)
    check.require(known, f"prompt {i} is neither a text nor a list of messages with role and content: {prompt!r:.80}")
  return [conversation.of(prompt) for prompt in many], alone


def _is_messages(given: Any) -> bool:
  if not isinstance(given, Sequence) or isinstance(given, (str, bytes)) or not given:
    return False
  return all(isinstance(one, Mapping) and isinstance(one.get("role"), str) for one in given)


def pairs(given: Any) -> list[tuple[str, str]]:
  """(context, continuation) texts. Raises InputError, by its number, for what is none."""
  check.require(
    isinstance(given, Sequence) and not isinstance(given, str), "pairs are a list of (context, continuation)"
  )
  for i, pair in enumerate(given):
    two = isinstance(pair, Sequence) and not isinstance(pair, str) and len(pair) == 2
    check.require(
      two and all(isinstance(text, str) for text in pair), f"pair {i} is no (context, continuation): {pair!r:.80}"
    )
  return [(pair[0], pair[1]) for pair in given]


def rows_file(rows: Any, folder: str) -> str:
  """A file of these rows, under the digest of its content. Raises InputError, by its number, for what is no row."""
  check.require(isinstance(rows, Sequence) and not isinstance(rows, str) and len(rows) > 0, "rows are a list of dicts")
  lines: list[str] = []
  for i, row in enumerate(rows):
    if not isinstance(row, Mapping):
      raise errors.InputError(f"row {i} is no dict: {row!r:.80}")
    try:
      lines.append(json.dumps({**row}) + "\n")
    except (TypeError, ValueError, RecursionError) as e:
      raise errors.InputError(f"row {i} holds what JSON cannot ({e})") from None
  text = "".join(lines)
  path = os.path.join(folder, hashlib.sha256(text.encode()).hexdigest()[:32] + ".jsonl")
  if not os.path.exists(path):
    files.write_text(path, text)
  return path
