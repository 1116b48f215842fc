"""Tool calls that are written into the text, in Hermes form: as they are in one schema, any template can render them.

`<tool_call>{"name": …, "arguments": …}</tool_call>` in a turn of the assistant becomes a call, `<tool_response>…` in a
turn of the tool its content. The tools stand in the row, or as `<tools>…</tools>` in the system message; that message
tells how calls are written, which is the template's own business, so it goes, and is counted as not read.
"""

import ast
import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from itune_jax.core import jsontext
from itune_jax.data import example as example_lib
from itune_jax.data import fields
from itune_jax.data import messages as messages_lib

_CALL = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)
_RESPONSE = re.compile(r"<tool_response>\s*(.*?)\s*</tool_response>", re.DOTALL)
_TOOLS = re.compile(r"<tools>\s*((?:(?!</?tools>)\S)(?:(?!</?tools>).)*?)\s*</tools>", re.DOTALL)

Message = dict[str, Any]


def decoded(example: example_lib.Example) -> example_lib.Example:
  """The example with its calls as calls, if it is in Hermes form. Raises BadRow for half a call, and for one that is
  no call."""
  written = any(m["role"] == "assistant" and "<tool_call>" in messages_lib.text_of(m["content"]) for m in _all(example))
  systems = [(m, messages_lib.text_of(m["content"])) for m in example.messages if m["role"] == "system"]
  listing = [m for m, text in systems if _TOOLS.search(text) and (written or "<tool_call>" in text)]
  if not listing and not (written and example.tools):
    return example
  tools = example.tools or _tools(messages_lib.text_of(listing[0]["content"]))
  unread = (*example.unread, *("system message: how tools are called" for _ in listing))
  messages = tuple(_read([m for m in example.messages if m not in listing]))
  rejected = tuple(_read([m for m in example.rejected if m not in listing]))
  found = dataclasses.replace(example, messages=messages, rejected=rejected, tools=tools)
  object.__setattr__(found, "unread", unread)
  return found


def _all(example: example_lib.Example) -> tuple[Message, ...]:
  return (*example.messages, *example.rejected)


def _tools(text: str) -> tuple[Message, ...]:
  """The tools that a system message lists: a list, or an object a line."""
  listed = _TOOLS.findall(text)[-1]
  try:
    found = _value(listed)
  except fields.BadRow:
    found = [_value(line) for line in listed.splitlines() if line.strip()]
  return messages_lib.tools([found] if isinstance(found, dict) else found)


def _read(messages: Sequence[Message]) -> list[Message]:
  found = []
  for i, message in enumerate(messages):
    text = messages_lib.text_of(message["content"])
    if message["role"] == "assistant" and "tool_call>" in text and not message.get("tool_calls"):
      found.append(_called(message, text, f"message {i} (assistant)"))
    elif message["role"] in ("tool", "user") and (responses := _RESPONSE.findall(text)):
      if _RESPONSE.sub("", text).strip():
        raise fields.BadRow(f"message {i} ({message['role']}) has text beside a <tool_response>")
      own = {key: value for key, value in message.items() if key != "content"}
      found += [{**own, "role": "tool", "content": response} for response in responses]
    else:
      found.append(message)
  return found


def _called(message: Message, text: str, where: str) -> Message:
  calls = _CALL.findall(text)
  before, _, behind = text.partition("<tool_call>")
  rest = _CALL.sub("", "<tool_call>" + behind).strip()
  if "tool_call>" in rest or not calls:
    raise fields.BadRow(f"{where} has half a <tool_call>")
  if rest:
    raise fields.BadRow(f"{where} has text behind a <tool_call>; calls stand at the end of a turn")
  made = messages_lib.called([_value(call) for call in calls], f"a <tool_call> of {where}")
  return {**message, "content": before.strip() or None, "tool_calls": made}


def _value(text: str) -> Any:
  """A value of JSON, or of Python, which these data sets were written with as well. Raises BadRow."""
  try:
    return jsontext.loads(text)
  except ValueError as e:
    said = str(e)
  try:
    found = ast.literal_eval(text) if len(text) < 100_000 else None
  except (ValueError, SyntaxError, MemoryError, RecursionError):
    found = None
  if not isinstance(found, (dict, list)):
    raise fields.BadRow(f"what stands in tags of tools is no JSON ({said}): {jsontext.shown(text)}")
  return found
