"""Which ids of a rendered text are those of a span: a search in the places of its ids."""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from itune_jax.data.render import spans as spans_lib
from itune_jax.data.render import text as text_lib

_SHORT, _KEPT = 256, 4096  # characters of a text whose ids are kept, and how many are


class Begun(NamedTuple):
  """What the rendering of a conversation begins with: its text and spans, and the ids of the text."""

  found: spans_lib.Found
  encoded: text_lib.Encoded


class Stretches:
  """encode: ids of a text. added: ids of the tokens that are no part of the vocabulary proper."""

  def __init__(self, encode: Callable[[str], list[int]], added: Collection[int]):
    self._encode, self._added = encode, frozenset(added)
    self._begins: dict[str, list[int]] = {}

  def find(self, text: str, encoded: text_lib.Encoded, span: spans_lib.Span) -> tuple[int, int] | None:
    """(first, last + 1) of the ids of a span; None where a token straddles its begin, or its end and more than white
    space. In front of the span must stand the ids of its prompt: an added token cuts the text for any tokenizer, so the
    ids from the last one on are compared, and all where these differ."""
    ids, before = encoded.ids, encoded.before(span.start)
    ends = lambda i: encoded.span(i)[1]
    added = next((i for i in range(before - 1, -1, -1) if ids[i] in self._added and ends(i) <= span.start), 0)
    first = None
    for anchor in dict.fromkeys((added, 0)):
      prompt = self._of_begin(text[encoded.span(anchor)[0] if anchor else 0 : span.start])
      if ids[anchor : anchor + len(prompt)] == prompt:
        first = anchor + len(prompt)
        break
    if first is None:
      return None
    last = max(first, encoded.before(span.end))
    straddled = text[span.end : ends(last - 1)] if last > first else ""
    return None if straddled.strip() else (first, last)

  def _of_begin(self, text: str) -> Sequence[int]:
    """Ids of what stands between an added token and an answer, which is the same in nearly every row."""
    if len(text) > _SHORT:
      return self._encode(text)
    if text not in self._begins:
      if len(self._begins) >= _KEPT:
        self._begins.clear()
      self._begins[text] = self._encode(text)
    return self._begins[text]
