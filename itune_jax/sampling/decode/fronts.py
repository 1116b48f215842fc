"""Which samples run by themselves: those whose prompts begin with the same long text, as few-shot questions do.

What all prompts of a run begin with is made once and read once for all rows (`admission.Given.lead`). Among others that
begin differently it would be made for each of them, and kept and read in every row.
"""

from collections.abc import Sequence
from typing import Any

FRONT = 256  # tokens; what is shorter is not worth a run of its own, whose last rows are fewer


def apart(prompts: Sequence[Sequence[int]], adapters: Sequence[int], batch: int, front: int = FRONT) -> list[list[int]]:
  """Numbers of samples by run, in order. prompts: of each sample, the same object for samples of one request. adapters:
  of each sample, since another one makes other keys of the same text. batch: rows that run together; fewer samples than
  that do not fill a run of their own."""
  begun: dict[Any, list[int]] = {}
  for i, prompt in enumerate(prompts):
    begun.setdefault((adapters[i], *prompt[:front]) if len(prompt) > front else None, []).append(i)
  own = [members for key, members in begun.items() if key is not None and _fills(members, prompts, batch)]
  taken = {i for members in own for i in members}
  rest = [i for i in range(len(prompts)) if i not in taken]
  return [*([rest] if rest else []), *own]


def _fills(members: Sequence[int], prompts: Sequence[Sequence[int]], batch: int) -> bool:
  return len(members) >= batch and len({id(prompts[i]) for i in members}) > 1
