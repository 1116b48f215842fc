"""Messages of a conversation: what the field writes in several ways becomes one, or is refused by name.

An assistant turn has `content` (text, a list of parts, or None beside tool calls) and may have `weight`, `tool_calls`
and `reasoning_content`. Read as these are also: `train`, `training`, `trainable` and `loss` (true or false, as the
weight), `reasoning` and `thinking`, the older `function_call`, roles by any name in use (`SPEAKERS`), and calls or
their arguments as JSON text, which is decoded once. Parts that are all of text are one text. Keys that nothing reads
are told to the caller, which counts them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from itune_jax.core import jsontext
from itune_jax.data import fields

ROLES = ("system", "developer", "user", "assistant", "tool")
SPEAKERS = {  # the role of each name in use, whatever its case
  **{role: role for role in ROLES},
  **dict.fromkeys(("human", "prompter", "customer"), "user"),
  **dict.fromkeys(("gpt", "chatgpt", "bot", "model", "ai", "agent", "bing", "bard", "claude"), "assistant"),
  **dict.fromkeys(("observation", "function", "tool_response", "ipython"), "tool"),
  **dict.fromkeys(("function_response", "function-response"), "tool"),
}
_FLAGS = ("train", "training", "trainable", "loss")  # whether a turn is trained, as other tools name it
_REASONING = ("reasoning_content", "reasoning", "thinking")
_IMAGE_KEYS = ("image", "image_url", "url", "path")
_CALL_KEYS = ("id", "type", "function", "name", "arguments", "index")
_DETAIL = ("train_detail", "training_detail", "loss_detail")


class Messages(tuple):
  """Messages that were read: whoever gets them need not read them again."""


def read(raw: Any, where: str) -> tuple[dict[str, Any], list[str]]:
  """A message in the one schema, and the keys of it that nothing reads. Raises BadRow.

  where: what the message is called in what is said of it, like "message 0".
  """
  if type(raw) is dict and len(raw) == 2:  # nearly all messages: a role and a text, with nothing to be told
    role, content = raw.get("role"), raw.get("content")
    if role in ROLES and type(content) is str:
      return {"role": role, "content": fields.text(content, f"the content of {where} ({role})")}, []
  if not isinstance(raw, Mapping):
    raise fields.BadRow(f"{where} is {jsontext.name(raw)} ({jsontext.shown(raw)}); it must be an object with a role")
  if fields.is_null(raw.get("role")):
    raise fields.BadRow(f"{where} has no role")
  role = fields.text(raw["role"], f"the role of {where}")
  role = SPEAKERS.get(role.strip().lower(), role)
  if role not in ROLES:
    raise fields.BadRow(f"{where} has the unknown role {role!r}; roles are {', '.join(ROLES)}")
  where = f"{where} ({role})"
  given = {key: value for key, value in raw.items() if not fields.is_null(value)}
  for key in _DETAIL:
    if key in given:
      raise fields.BadRow(
        f"{where} has `{key}`: parts of a turn are not weighed; use `weight`, or one message for each"
      )
  message: dict[str, Any] = {"role": role}
  calls = _calls(given, where) if role == "assistant" else []
  message["content"], unread = _content(given.get("content"), bool(calls), where)
  known = {"role", "content", "name", "weight", *_FLAGS}
  weight = _weight(given, role, where)
  if weight is not None:
    message["weight"] = weight
  if role == "assistant":
    known |= {"tool_calls", "function_call", *_REASONING}
    reasoning = _reasoning(given, where)
    message |= ({"reasoning_content": reasoning} if reasoning else {}) | ({"tool_calls": calls} if calls else {})
  if role == "tool":
    known.add("tool_call_id")
  for key in ("name", "tool_call_id"):
    if key in given and key in known:
      message[key] = fields.text(given[key], f"`{key}` of {where}")
  return message, [*unread, *(f"{role} message: {key}" for key in given if key not in known and given[key] != [])]


def conversation(raw: Any, where: str = "message") -> tuple[list[dict[str, Any]], list[str]]:
  """All messages of a list, and the keys of them that nothing reads. Raises BadRow."""
  raw = fields.transposed(raw)
  if not isinstance(raw, Sequence) or isinstance(raw, (str, bytes)):
    raise fields.BadRow(f"no list `messages`: it is {jsontext.name(raw)}")
  found, unread = [], []
  for i, one in enumerate(raw):
    message, more = read(one, f"{where} {i}")
    found.append(message)
    unread += more
  return found, unread


def tools(raw: Any) -> tuple[dict[str, Any], ...]:
  """The tools that a row offers: a list of objects with names, or JSON text of one. Raises BadRow."""
  if fields.is_null(raw) or (isinstance(raw, str) and not raw.strip()):
    return ()
  found = fields.decoded(raw, "`tools`", list)
  for i, tool in enumerate(found):
    if not isinstance(tool, dict):
      raise fields.BadRow(f"`tools` {i} is {jsontext.name(tool)} ({jsontext.shown(tool)}); it must be an object")
  return tuple(found)


def tool_name(tool: Mapping[str, Any]) -> str:
  """The name of a tool, "" where it has none."""
  function = tool.get("function")
  name = function.get("name") if isinstance(function, Mapping) else tool.get("name")
  return name if isinstance(name, str) else ""


def text_of(content: Any) -> str:
  """The text of a content: itself, or its text parts joined."""
  if isinstance(content, str):
    return content
  return "".join(part.get("text", "") for part in content or () if part.get("type") == "text")


def called(raw: Any, where: str) -> list[dict[str, Any]]:
  """Tool calls from a list, one object, or JSON text of either. Raises BadRow."""
  if isinstance(raw, str):
    try:
      raw = jsontext.loads(fields.text(raw, where))
    except ValueError as e:
      raise fields.BadRow(f"{where} is text that is not JSON ({e}): {jsontext.shown(raw)}") from None
  given = [raw] if isinstance(raw, Mapping) else fields.decoded(raw, where, list)
  return [_call(call, where) for call in given]


def _content(content, calls, where):
  if isinstance(content, str):
    return fields.text(content, f"the content of {where}"), []
  if content is None and calls:
    return None, []
  if content is None:
    raise fields.BadRow(f"{where} has no text and no tool call")
  if not isinstance(content, (list, tuple)):
    raise fields.BadRow(
      f"the content of {where} is {jsontext.name(content)} ({jsontext.shown(content)}); it must be text"
    )
  read = [_part(part, f"part {i} of {where}") for i, part in enumerate(content)]
  parts, unread = [part for part, _ in read], [key for _, unread in read for key in unread]
  if parts and all(part["type"] == "text" for part in parts):  # most templates know no parts
    return "".join(part["text"] for part in parts), unread
  return parts, unread


def _part(part, where):
  if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
    raise fields.BadRow(f"{where} is {jsontext.shown(part)}; it must be an object with a type")
  kind = part["type"]
  if kind == "text":
    if fields.is_null(part.get("text")):
      raise fields.BadRow(f"{where} is of type text and has no `text`")
    return {"type": "text", "text": fields.text(part["text"], f"the text of {where}")}, _unread(part, "text")
  if kind in ("image", "image_url"):
    kept = {key: part[key] for key in _IMAGE_KEYS if not fields.is_null(part.get(key))}
    return {"type": kind, **kept}, _unread(part, *_IMAGE_KEYS)
  raise fields.BadRow(f"{where} is of type {jsontext.shown(kind)}, which is not read; parts are of type text or image")


def _unread(part, *known):
  return [
    f"{part['type']} part: {key}" for key, value in part.items() if key not in ("type", *known) and value is not None
  ]


def _weight(given, role, where):
  """The weight of a turn, None where it has none; other turns than the assistant's may only say that they have none."""
  said = {}
  if "weight" in given:
    said["weight"] = fields.number(given["weight"], f"`weight` of {where}")
  for key in _FLAGS:
    if key in given:
      if given[key] not in (True, False) or isinstance(given[key], float):
        raise fields.BadRow(f"`{key}` of {where} is {jsontext.shown(given[key])}; it must be true or false")
      said[key] = float(given[key])
  if not said:
    return None
  trained = {key: value != 0 for key, value in said.items()}
  if len(set(trained.values())) > 1:
    raise fields.BadRow(f"{where} is trained by one of {', '.join(f'`{key}`' for key in said)} and not by another")
  weight = said.get("weight", next(iter(said.values())))
  if weight < 0:
    raise fields.BadRow(f"{where} has weight {jsontext.shown(given['weight'])}; it must be 0 or more")
  if role == "assistant":
    return given["weight"] if "weight" in given else int(weight)
  if weight:
    raise fields.BadRow(f"{where} has weight {weight:g}; only assistant turns carry one")
  return None


def _reasoning(given, where):
  said = {key: fields.text(given[key], f"`{key}` of {where}") for key in _REASONING if key in given}
  if len(set(said.values())) > 1:
    raise fields.BadRow(f"{where} has different reasoning under {', '.join(f'`{key}`' for key in said)}")
  return next(iter(said.values()), "")


def _calls(given, where):
  if "tool_calls" in given and "function_call" in given:
    raise fields.BadRow(f"{where} has both `tool_calls` and `function_call`")
  if "tool_calls" in given:
    return called(given["tool_calls"], f"`tool_calls` of {where}") if given["tool_calls"] != "" else []
  return called(given["function_call"], f"`function_call` of {where}") if "function_call" in given else []


def _call(call, where):
  if not isinstance(call, Mapping):
    raise fields.BadRow(f"{where} holds {jsontext.shown(call)}; a call is an object with `name` and `arguments`")
  function = call.get("function", call)
  if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"].strip():
    raise fields.BadRow(f"{where} holds a call without a name: {jsontext.shown(call)}")
  arguments = function.get("arguments")
  if fields.is_null(arguments) or (isinstance(arguments, str) and not arguments.strip()):
    arguments = {}
  made = {
    "name": fields.text(function["name"], f"the name of a call in {where}"),
    "arguments": fields.decoded(arguments, f"the arguments of {function['name']!r} in {where}", dict),
  }
  extra = [key for key in (*call, *function) if key not in _CALL_KEYS]
  if extra:
    raise fields.BadRow(f"a call in {where} has the key {jsontext.shown(extra[0])}; a call has `name` and `arguments`")
  ids = {"id": fields.text(call["id"], f"the id of a call in {where}")} if not fields.is_null(call.get("id")) else {}
  return {"type": "function", **ids, "function": made}
