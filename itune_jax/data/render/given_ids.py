"""Ids that a row brings along, against the tokenizer that the model has."""

from collections.abc import Sequence
from typing import Any

from itune_jax.data import fields


def require(tokenizer: Any, ids: Sequence[int], trained: Sequence[int], text: str) -> None:
  """Raises BadRow for ids that are beyond the tokenizer's, or that it reads as another text than it was said.

  text: of the trained ids, as their own vocabulary reads them; "" where nobody said.
  """
  if max(ids) >= len(tokenizer):
    raise fields.BadRow(f"it has the id {max(ids)}, and the model's tokenizer has {len(tokenizer)}")
  read = tokenizer.decode(list(trained), skip_special_tokens=True)
  if text and read.split() != text.split():
    raise fields.BadRow(
      f"the model's tokenizer reads its ids as {read[:40]!r}, the task's vocabulary as {text[:40]!r}: only "
      "chat = 'inputs_targets' can train on this task"
    )
