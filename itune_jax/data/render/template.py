"""A chat template: conversations as text, exactly as transformers' `apply_chat_template` writes them.

Nothing that a row says may be lost on the way: the texts of users, systems and tools, the names of the tools that are
offered, and the arguments of calls must stand in what the template writes, or the row is refused.
"""

import datetime
import functools
import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import transformers
from transformers.utils import chat_template_utils

from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.data import fields
from itune_jax.data import messages as messages_lib
from itune_jax.data.render import marks as marks_lib

Messages = Sequence[Mapping[str, Any]]

_TAKEN = ("conversation", "messages", "tools", "add_generation_prompt", "chat_template", "tokenize", "return_dict")
_TAKEN += ("continue_final_message", "strftime_now", "sanitize_control_tokens", "return_assistant_tokens_mask")
_APPLY = transformers.PreTrainedTokenizerBase.apply_chat_template
_OF_APPLY = frozenset(inspect.signature(_APPLY).parameters)  # names that do not reach the template
_DIRECTIVES = [f"%{flag}{letter}" for flag in ("", "-") for letter in "aAwdbBmyYHIpMSfzZjUWcxXGuV"]


def of(tokenizer: Any, kwargs: Mapping[str, Any], date: datetime.date) -> "dict[str, Template]":
  """The templates of a tokenizer by name: "default", and others where it has several (`tool_use` is for conversations
  with tools). Raises InputError where there is none, or none that is the default."""
  given = tokenizer.chat_template
  if isinstance(given, Mapping):
    if "default" not in given:
      names = ", ".join(map(jsontext.shown, given)) or "(none)"
      raise errors.InputError(
        f"this tokenizer has the chat templates {names} and none named default; name a file of one: "
        "--gin.specs.Model.chat_template=FILE.jinja"
      )
    return {name: Template(tokenizer, given[name], kwargs, date) for name in given if name in ("default", "tool_use")}
  return {"default": Template(tokenizer, given, kwargs, date)}


class Template:
  """One template. header: what it writes to have an answer written; terminator: what stands behind an answer, which a
  self-test finds. Raises InputError where it cannot render one user turn."""

  def __init__(self, tokenizer: Any, source: str, kwargs: Mapping[str, Any], date: datetime.date):
    self._tokenizer, self._kwargs = tokenizer, dict(kwargs)
    # Templates that print today's date would make every cache stale tomorrow: the call gives the pinned date.
    self.source = (_pinned(date) if "strftime_now" in source else "") + source
    is_own = isinstance(tokenizer, transformers.PreTrainedTokenizerBase)
    self._is_direct = is_own and type(tokenizer).apply_chat_template is _APPLY and not _OF_APPLY & set(kwargs)
    self.parts = False  # whether it wants content as a list of parts, even for text
    self.header = self.terminator = ""
    self._opening = ""  # what an answer stands behind, where the template has no generation prompt

  def probe(self) -> None:
    """Finds out what stands in front of an answer. Raises InputError."""
    user: list[dict[str, Any]] = [{"role": "user", "content": "Hi."}]
    try:
      without, given = self.text(user), self.text(user, add_generation_prompt=True)
      shown = self.text([*user, {"role": "assistant", "content": f"{marks_lib.END}Yes"}]) if given == without else ""
    except fields.BadRow as e:
      raise errors.InputError(f"the chat template cannot render one user turn: {e}; name another template") from None
    at = shown.find(marks_lib.END)
    self._opening = shown[len(without) : at] if shown.startswith(without) and at > len(without) else ""
    self.header = (given[len(without) :] if given.startswith(without) else "") or self._opening

  def text(
    self, messages: Messages, *, tools: Sequence[Any] = (), add_generation_prompt: bool = False, **kwargs: Any
  ) -> str:
    """The plain rendering. Raises BadRow with the template's own words when it refuses."""
    calls = any(message.get("tool_calls") for message in messages)
    taken = next((name for name in (*kwargs, *self._kwargs) if name in _TAKEN), None)
    if taken is not None:
      raise fields.BadRow(f"`template_kwargs` has {taken!r}, which the renderer itself gives to the template")
    try:
      return self._written(self._plain(messages, calls and self._calls_as_text), tools, add_generation_prompt, kwargs)
    except Exception as e:  # a template is a program of somebody else's: it may raise anything
      more = "; it may know no tool calls: name a template that does, as chatml does" if calls else ""
      raise fields.BadRow(f"the chat template refuses it: {jsontext.said(e)}{more}") from None

  def prompt(self, messages: Messages, **how: Any) -> str:
    """The rendering up to where an answer begins. Raises BadRow."""
    return self.text(messages, add_generation_prompt=True, **how) + self._opening

  def _written(self, messages, tools, add_generation_prompt, kwargs) -> str:
    if self._is_direct and messages and not tools and not kwargs and all(map(_is_plain, messages)):
      names, compiled = self._compiled
      own = {**names, "messages": messages, "add_generation_prompt": add_generation_prompt}
      return "".join(compiled.root_render_func(compiled.new_context(own, shared=True)))
    how = {**self._kwargs, **kwargs, "chat_template": self.source, "tokenize": False}
    return self._tokenizer.apply_chat_template(
      messages, tools=list(tools) or None, add_generation_prompt=add_generation_prompt, **how
    )

  @functools.cached_property
  def _compiled(self) -> tuple[dict[str, Any], Any]:
    """What every rendering sees, and the template as transformers compiles it. For messages of role and text alone
    this is all that `apply_chat_template` does, at a third of its price; a test compares both."""
    names = {"tools": None, "documents": None, **self._tokenizer.special_tokens_map, **self._kwargs}
    utils: Any = chat_template_utils
    compiled = utils._compile_jinja_template(self.source)
    return {**compiled.globals, **utils._plain_template_data(names)}, compiled

  def _plain(self, messages: Messages, calls_as_text: bool = False) -> list[dict[str, Any]]:
    """Messages as this template wants them."""
    plain = [{k: v for k, v in message.items() if k != "weight"} for message in messages]
    if self.parts:
      text = lambda m: [{"type": "text", "text": m["content"]}]
      plain = [{**m, "content": text(m)} if isinstance(m.get("content"), str) else m for m in plain]
    if calls_as_text:
      plain = [{**m, "tool_calls": list(map(_as_text, m["tool_calls"]))} if m.get("tool_calls") else m for m in plain]
    return plain

  @functools.cached_property
  def _calls_as_text(self) -> bool:
    """Whether the arguments of calls must be JSON text: the template joins them to strings, or writes an object as
    Python does."""
    call = {"type": "function", "function": {"name": "look", "arguments": {"probed": "value"}}}
    asked = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    written = []
    for as_text in (False, True):
      try:
        written.append(self._written(self._plain(asked, as_text), (), False, {}))
      except Exception:  # as above
        written.append("")
    return (not written[0] or "{'probed'" in written[0]) and '"probed"' in written[1]


def require_shown(text: str, messages: Messages, tools: Sequence[Mapping[str, Any]]) -> None:
  """Raises BadRow where a rendering lacks a text that is no assistant's, or the name of a tool."""
  for i, message in enumerate(messages):
    pieces = marks_lib.texts(message) if message["role"] != "assistant" else []
    if any(not shows(text, piece.strip()) for piece in pieces):
      raise fields.BadRow(
        f"the chat template drops the text of message {i} ({message['role']}); name one that shows it"
      )
  for tool in tools:
    if not shows(text, messages_lib.tool_name(tool)):
      raise fields.BadRow("the chat template does not show the `tools`; name one that does, as chatml does")


def require_arguments(text: str, message: Mapping[str, Any]) -> None:
  """Raises BadRow where the rendering of a turn lacks a key or a text of the arguments of its calls."""
  for call in message.get("tool_calls") or ():
    for piece in _leaves(call["function"]["arguments"]):
      if not shows(text, piece.strip()):
        raise fields.BadRow(f"the chat template drops an argument of the call of {call['function']['name']!r}")


def shows(text: str, piece: str) -> bool:
  """Whether a text stands in another, as it is or as JSON writes it."""
  return piece in text or any(json.dumps(piece, ensure_ascii=ascii)[1:-1] in text for ascii in (False, True))


def _is_plain(message: Mapping[str, Any]) -> bool:
  """Whether a message is a role and a text, and nothing else."""
  return len(message) == 2 and type(message.get("content")) is str and type(message.get("role")) is str


def _leaves(value: Any) -> Iterator[str]:
  if isinstance(value, Mapping):
    for key, one in value.items():
      yield key
      yield from _leaves(one)
  elif isinstance(value, (list, tuple)):
    for one in value:
      yield from _leaves(one)
  elif isinstance(value, str):
    yield value


def _as_text(call: Mapping[str, Any]) -> dict[str, Any]:
  arguments = json.dumps(call["function"]["arguments"], ensure_ascii=False)
  return {**call, "function": {**call["function"], "arguments": arguments}}


def _pinned(date: datetime.date) -> str:
  """A macro that stands in front of a template in place of its function `strftime_now`. The newline behind it is none
  of the output, and what follows begins a line as it did."""
  at = datetime.datetime(date.year, date.month, date.day)
  chain = "".join(f" | replace({json.dumps(one)}, {json.dumps(at.strftime(one))})" for one in _DIRECTIVES)
  percent = "\\u0000"
  body = f'{{{{- format | replace("%%", "{percent}"){chain} | replace("{percent}", "%") -}}}}'
  return "{%- macro strftime_now(format) -%}" + body + "{%- endmacro %}\n"
