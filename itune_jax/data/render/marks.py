"""Marks around what an assistant says: private-use characters, whose places in the rendered text tell where it went."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_FIRST, _COUNT = 0xF0000, 0xFFFD  # supplementary private-use area: two code points a piece, the last is not used
END = "\U000ffffd"  # behind a text that goes on
MARKS = re.compile("[\U000f0000-\U000ffffd]")
_THINK = re.compile(r"(</?think>)")


class Marked(NamedTuple):
  """Messages with every piece of assistant text between two marks; the marks of each turn in order, the text between
  two by the first of them, and how many marks there are."""

  messages: list[dict[str, Any]]
  pieces: dict[int, list[str]]
  bodies: dict[str, str]
  count: int


def marked(messages: Sequence[dict[str, Any]]) -> Marked:
  """The same messages with marks."""
  counter = iter(range(_FIRST, _FIRST + _COUNT))
  pieces: dict[int, list[str]] = {}
  bodies: dict[str, str] = {}

  def wrap(text, turn):
    """Marks go inside the white space at the ends, which templates strip."""
    body = text.strip()
    if not body:
      return text
    lead = text[: len(text) - len(text.lstrip())]
    tail = text[len(text.rstrip()) :]
    pieces[turn] += [chr(next(counter)), chr(next(counter))]
    bodies[pieces[turn][-2]] = body
    return f"{lead}{pieces[turn][-2]}{body}{pieces[turn][-1]}{tail}"

  def wrap_thinking(text, turn):
    """Thinking and answer apart: templates take them apart as well."""
    return "".join(part if _THINK.fullmatch(part) else wrap(part, turn) for part in _THINK.split(text))

  found = []
  for turn, message in enumerate(messages):
    message = dict(message)
    if message["role"] == "assistant":
      pieces[turn] = []
      if isinstance(message.get("reasoning_content"), str):
        message["reasoning_content"] = wrap(message["reasoning_content"], turn)
      content = message.get("content")
      if isinstance(content, str):
        message["content"] = wrap_thinking(content, turn)
      elif isinstance(content, list):
        message["content"] = [{**p, "text": wrap(p["text"], turn)} if p.get("type") == "text" else p for p in content]
      if message.get("tool_calls"):
        message["tool_calls"] = [_mark_call(call, turn, wrap) for call in message["tool_calls"]]
      if not pieces[turn]:
        del pieces[turn]
    elif message["role"] == "tool" and isinstance(message.get("content"), str):
      fence = chr(next(counter))  # no turn may be trained beyond it
      message["content"] = message["content"].rstrip() and fence + message["content"]
    found.append(message)
  return Marked(found, pieces, bodies, next(counter) - _FIRST)


def _mark_call(call, turn, wrap):
  return {**call, "function": {**call["function"], "name": wrap(call["function"]["name"], turn)}}


def taken_out(text: str, count: int) -> tuple[str | None, dict[str, int]]:
  """A text without the first so many marks, and where each stood in it, where each stands there once and in order: in
  another text some are left, or it is None."""
  parts, where, at = [], {}, 0
  for n in range(count):
    mark = chr(_FIRST + n)
    found = text.find(mark, at)
    if found < 0:
      return None, {}
    parts.append(text[at:found])
    where[mark], at = found - n, found + 1
  parts.append(text[at:])
  return "".join(parts), where


def positions(text: str) -> dict[str, int]:
  """Where each mark stands in the text without marks."""
  where: dict[str, int] = {}
  for n, match in enumerate(MARKS.finditer(text)):
    where[match.group()] = match.start() - n
  return where


def begun(messages: Sequence[Mapping[str, Any]]) -> bool:
  """Whether the last message is the assistant's and has text, which an answer goes on from."""
  return bool(messages) and messages[-1]["role"] == "assistant" and any(text.strip() for text in texts(messages[-1]))


def is_empty(messages: Sequence[Mapping[str, Any]]) -> bool:
  """Whether the last message is the assistant's and says nothing yet."""
  last = messages[-1] if messages else {"role": ""}
  says = last.get("tool_calls") or last.get("reasoning_content") or any(text.strip() for text in texts(last))
  return last["role"] == "assistant" and not says


def end_marked(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
  """Messages with `END` and a space behind the last text."""
  *before, last = messages
  content, more = last["content"], END + " "
  if isinstance(content, str):
    return [*before, {**last, "content": content + more}]
  at = max(i for i, part in enumerate(content) if part.get("type") == "text")
  parts = [{**part, "text": part["text"] + more} if i == at else part for i, part in enumerate(content)]
  return [*before, {**last, "content": parts}]


def texts(message: Mapping[str, Any]) -> list[str]:
  """The texts of a message's content."""
  content = message.get("content") or ""
  return [content] if isinstance(content, str) else [p["text"] for p in content if p.get("type") == "text"]
