"""Texts longer than a model's context, cut into windows in which every token is predicted once (lm-eval's rolling)."""

from collections.abc import Sequence


def windows(ids: Sequence[int], prefix: int, length: int) -> list[tuple[list[int], list[int]]]:
  """(context, continuation) pairs whose continuations are all of `ids`, in order, each behind one token at least.

  The first window stands behind the token `prefix`. The others are whole: the last one's context reaches back as far as
  it fits, so its tokens see as much as can be seen.

  Args:
    length: the most tokens of a window and of the one that it stands behind, together.
  """
  room = length - 1  # the first token of what the model reads predicts, and is not predicted
  found = [([prefix], list(ids[:room]))] if len(ids) else []
  for start in range(room, len(ids), room):
    end = min(start + room, len(ids))
    found.append((list(ids[end - room - 1 : start]), list(ids[start:end])))
  return found
