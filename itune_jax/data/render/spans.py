"""Where the answers of a conversation stand in its rendered text, by marking.

Every assistant text is wrapped in private-use characters and rendered a second time by the model's own template.
Where the marks land in the output is where the text landed, whatever the template did around it; and if the
marked rendering without its marks is not the plain one to the letter, the row is refused. No prefix differences
(13 of 40 published templates break them), no searching for the answer's text.

A span begins where the prompt ends that the turn would be generated behind, and runs through the turn's terminator.
"""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from itune_jax.data import example as example_lib
from itune_jax.data.render import marks as marks_lib
from itune_jax.data.render import template as template_lib

_END_LIKE = re.compile(r"\s*(<[|/]?[^<>\s]{1,40}>|\[/?[A-Z_]+\])")


@dataclasses.dataclass(frozen=True)
class Span:
  """A trained turn: from where to where in the text, with which weight. fits: whether the prompt that it would be
  generated behind is what stands in front of it."""

  turn: int
  start: int
  end: int
  weight: float
  fits: bool


@dataclasses.dataclass(frozen=True)
class Found:
  """A rendering, the spans of its turns in order, and the turns of which the template drops text."""

  text: str
  spans: tuple[Span, ...]
  dropped: tuple[int, ...]


class Finder:
  """Finds spans with one template. specials: the texts of the tokenizer's special tokens."""

  def __init__(self, template: template_lib.Template, specials: Sequence[str]):
    self._template = template
    ordered = sorted(specials, key=len, reverse=True)
    self._special = re.compile(r"\s*(" + "|".join(map(re.escape, ordered)) + ")") if ordered else None

  def find(self, example: example_lib.Example, messages: Sequence[dict[str, Any]], only: int | None = None) -> Found:
    """The spans of these messages of an example, or of one turn. Raises BadRow where they cannot be told safely."""
    how: dict[str, Any] = dict(tools=example.tools, **example.template_kwargs)
    plain = self._template.text(messages, **how)
    if not plain.isascii() and marks_lib.MARKS.search(plain):
      raise example_lib.BadRow("the text holds characters of the supplementary private-use area")
    template_lib.require_shown(plain, messages, example.tools)
    given = marks_lib.marked(messages)
    marked = self._template.text(given.messages, **how)
    without, where = marks_lib.taken_out(marked, given.count)  # what remains has none where it is the plain text
    if without != plain:
      without, where = marks_lib.MARKS.sub("", marked), marks_lib.positions(marked)
    if without != plain:
      raise example_lib.BadRow(
        "the chat template changes its rendering when the answers are marked; it cannot be masked safely"
      )
    spans, dropped, previous = [], [], 0
    for turn, marks in given.pieces.items():
      present = [mark for mark in marks if mark in where]
      if len(present) < len(marks):
        if turn == len(messages) - 1:
          raise example_lib.BadRow(_dropped(turn, messages[turn]))
        dropped.append(turn)
      elif only in (None, turn):
        _require_as_it_is(turn, marks, given.bodies, marked, where, plain)
        first, last = where[marks[0]], where[marks[-1]]
        following = min((at for mark, at in where.items() if at >= last and mark not in marks), default=len(plain))
        calls = bool(messages[turn].get("tool_calls"))
        start, fits = self._begin(plain, messages[:turn], how, previous, first, calls)
        end = self._end(plain, last, following, calls)
        if calls:
          template_lib.require_arguments(plain[start:end], messages[turn])
        spans.append(Span(turn, start, end, float(messages[turn].get("weight", 1.0)), fits))
      previous = max([previous, *(where[m] for m in present)])
    return Found(plain, tuple(spans), tuple(dropped))

  def _begin(self, text, before, how, previous, first, calls) -> tuple[int, bool]:
    """Where the prompt of a turn ends, and whether it is the one that generation would have."""
    try:
      prompt = self._template.prompt(before, **how)
    except example_lib.BadRow:
      return self._behind_header(text, previous, first, calls), True  # nobody can ask for this turn: none differs
    if previous <= len(prompt) <= first and text.startswith(prompt):
      return len(prompt), True
    return self._behind_header(text, previous, first, calls), False

  def _behind_header(self, text, previous, first, calls) -> int:
    """Where the generation prompt ends, if it stands between the turn before and this turn's text."""
    header = self._template.header
    at = text.rfind(header, previous, first) if header else -1
    if at >= 0:
      return at + len(header)
    if calls:  # what opens a tool call is the template's, and must be learned: it starts behind the header
      header = header.split("<think>")[0]
      at = text.rfind(header, previous, first) if header else -1
      if at < 0:
        raise example_lib.BadRow("where the tool call starts cannot be told from the chat template's generation prompt")
      return at + len(header)
    return first

  def _end(self, text, last, following, calls) -> int:
    """The end of the terminator behind a turn; for tool calls the template's own closing comes first."""
    if calls and self._template.terminator:
      at = text.find(self._template.terminator, last, following)
      if at < 0:
        raise example_lib.BadRow("the chat template does not end a turn that calls a tool")
      return at + len(self._template.terminator)
    tail = text[last:]
    found = (self._special.match(tail) if self._special else None) or _END_LIKE.match(tail)
    return last + found.end() if found else last


def _require_as_it_is(turn: int, marks, bodies, marked: str, where, plain: str) -> None:
  """Raises BadRow where what a turn says is not shown to the letter, and once: something else would be learned."""
  for begin, end in zip(marks[::2], marks[1::2], strict=True):
    if plain[where[begin] : where[end]] != bodies[begin]:
      raise example_lib.BadRow(f"the chat template changes what message {turn} (assistant) says")
    if marked.count(begin) > 1:
      raise example_lib.BadRow(f"the chat template shows what message {turn} (assistant) says twice")


def _dropped(turn: int, message: dict[str, Any]) -> str:
  """What is said of a last turn that is not shown."""
  what = f"the chat template drops text of the last turn ({turn})"
  for key, said in (("tool_calls", "tool calls"), ("reasoning_content", "reasoning")):
    if message.get(key):
      return f"{what}, which has {said}: name a template that renders it, as chatml does"
  return what
