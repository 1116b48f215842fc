"""The one schema of instruction data: a conversation with provenance."""

import dataclasses
import hashlib
import json
from typing import Any

from itune_jax.core import conversation

ROLES = ("system", "developer", "user", "assistant", "tool")
KINDS = ("annotated", "distilled", "self_generated")


class BadRow(ValueError):
  """A row that is no example. The message says why, in the user's words."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
  """A conversation to learn from, or to be tested on.

  messages: dicts with `role`, `content` (text, or a list of parts), and optionally `weight` (assistant turns
  only; default 1), `tool_calls`, `reasoning_content`. source: kind (annotated, distilled, self_generated),
  dataset, teacher, licence, parents. check: how an answer to it is judged, `{"name": …, …}`.
  """

  messages: tuple[dict[str, Any], ...]
  tools: tuple[dict[str, Any], ...] = ()
  template_kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)
  source: dict[str, Any] = dataclasses.field(default_factory=dict)
  language: str = ""
  domain: str = ""
  scores: dict[str, float] = dataclasses.field(default_factory=dict)
  check: dict[str, Any] = dataclasses.field(default_factory=dict)
  id: str = ""

  def __post_init__(self):
    if not self.messages:
      raise BadRow("no messages")
    for i, message in enumerate(self.messages):
      _check_message(i, message)
    if not any(m["role"] != "system" for m in self.messages):
      raise BadRow("only system messages")
    if self.source.get("kind", "annotated") not in KINDS:
      raise BadRow(f"source.kind is {self.source['kind']!r}; it is one of {', '.join(KINDS)}")
    if not self.id:
      content = json.dumps([self.messages, self.tools], sort_keys=True, ensure_ascii=False)
      object.__setattr__(self, "id", hashlib.sha256(content.encode()).hexdigest()[:16])

  @property
  def prompt(self) -> list[dict[str, Any]]:
    """The conversation up to the last assistant turn, which is the answer."""
    last = max((i for i, m in enumerate(self.messages) if m["role"] == "assistant"), default=len(self.messages))
    return [dict(m) for m in self.messages[:last]]

  @property
  def question(self) -> conversation.Conversation:
    """The same, with the tools and what the template is given."""
    return conversation.Conversation(tuple(self.prompt), self.tools, self.template_kwargs)

  @property
  def answer(self) -> str:
    """The text of the last assistant turn, or ""."""
    return next((text(m["content"]) for m in reversed(self.messages) if m["role"] == "assistant"), "")

  def to_json(self) -> dict[str, Any]:
    """The row, without empty fields."""
    return {k: v for k, v in dataclasses.asdict(self).items() if v}


def from_json(row: dict[str, Any]) -> Example:
  """An example from a row of the messages format. Raises BadRow."""
  known = {f.name for f in dataclasses.fields(Example)}
  fields = {k: v for k, v in row.items() if k in known and v is not None}
  if not isinstance(fields.get("messages"), (list, tuple)):
    raise BadRow("no list `messages`")
  for name in ("source", "template_kwargs", "scores", "check"):
    if not isinstance(fields.get(name, {}), dict):
      fields[name] = {"dataset": str(fields[name])} if name == "source" else {}
  return Example(
    **fields
    | {
      "messages": tuple(fields["messages"]),
      "tools": tuple(fields.get("tools") or ()),
      "id": str(fields.get("id", "")),
    }
  )


def text(content: Any) -> str:
  """The text of a content: itself, or its text parts joined."""
  if isinstance(content, str):
    return content
  return "".join(part.get("text", "") for part in content or ())


def _check_message(i: int, message: Any) -> None:
  if not isinstance(message, dict) or "role" not in message:
    raise BadRow(f"message {i} has no role")
  role, content = message["role"], message.get("content")
  if role not in ROLES:
    raise BadRow(f"message {i} has the unknown role {role!r}; roles are {', '.join(ROLES)}")
  parts = isinstance(content, list) and all(isinstance(p, dict) and "type" in p for p in content)
  if not (isinstance(content, str) or parts or (content is None and message.get("tool_calls"))):
    raise BadRow(f"message {i} ({role}) has no text and no tool call")
  if "weight" in message:
    weight = message["weight"]
    if role != "assistant" or isinstance(weight, bool) or not isinstance(weight, (int, float)) or weight < 0:
      raise BadRow(f"message {i} ({role}) has weight {weight!r}; only assistant turns carry one, and it is >= 0")
