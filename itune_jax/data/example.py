"""The one schema of instruction data: a conversation with provenance."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from itune_jax.core import conversation
from itune_jax.core import jsontext
from itune_jax.data import fields
from itune_jax.data import messages as messages_lib

KINDS = ("annotated", "distilled", "self_generated")
BadRow = fields.BadRow


class Given(NamedTuple):
  """Ids that stand in place of a conversation, as a task of SeqIO made them. weights: of each id. text: what its own
  vocabulary reads the trained ones as, "" where nobody said."""

  ids: tuple[int, ...]
  weights: tuple[float, ...]
  text: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
  """A conversation to learn from, or to be tested on.

  messages: dicts with `role`, `content` (text, or a list of parts), and optionally `weight` (assistant turns
  only; default 1), `tool_calls`, `reasoning_content`; see `messages`. source: kind (annotated, distilled,
  self_generated), dataset, teacher, licence, parents. check: how an answer to it is judged, `{"name": …, …}`.
  rejected: of a preference, the conversation with the answer that is not preferred; `messages` has the one that is.
  margin: by how much that one is better, where its row says so. others: further conversations that answers are compared
  in. values: what a label or score says of `messages` and then of each of these, by column. plain: its one message is
  text that no template is put around. given: ids in place of messages. unread: keys of its row that nothing reads, to
  be counted.
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
  rejected: tuple[dict[str, Any], ...] = ()
  margin: float | None = None
  others: tuple[tuple[dict[str, Any], ...], ...] = ()
  values: tuple[dict[str, float], ...] = ()
  plain: bool = False
  given: Given | None = None
  unread: tuple[str, ...] = dataclasses.field(default=(), compare=False)

  def __post_init__(self):
    if self.given is not None:
      content = json.dumps(self.given)
      object.__setattr__(self, "id", self.id or hashlib.sha256(content.encode()).hexdigest()[:16])
      return
    if not self.messages:
      raise BadRow("no messages")
    if not isinstance(self.messages, messages_lib.Messages):
      read, _ = messages_lib.conversation(self.messages)
      object.__setattr__(self, "messages", messages_lib.Messages(read))
    if not any(m["role"] not in ("system", "developer") for m in self.messages):
      raise BadRow("only system messages")
    if self.source.get("kind", "annotated") not in KINDS:
      raise BadRow(f"source.kind must be one of {', '.join(KINDS)}, not {self.source['kind']!r}")
    if not self.id:
      content = json.dumps([self.messages, self.tools], sort_keys=True, ensure_ascii=False)
      object.__setattr__(self, "id", hashlib.sha256(content.encode()).hexdigest()[:16])

  @property
  def prompt(self) -> list[dict[str, Any]]:
    """The conversation up to its answer, which is its last message if that is the assistant's; else all of it."""
    answered = bool(self.messages) and self.messages[-1]["role"] == "assistant"
    return [dict(m) for m in (self.messages[:-1] if answered else self.messages)]

  @property
  def question(self) -> conversation.Conversation:
    """The same, with the tools and what the template is given."""
    return conversation.Conversation(tuple(self.prompt), self.tools, self.template_kwargs)

  @property
  def answer(self) -> str:
    """The text of the last message if that is the assistant's, else ""."""
    answered = bool(self.messages) and self.messages[-1]["role"] == "assistant"
    return text(self.messages[-1]["content"]) if answered else ""

  def to_json(self) -> dict[str, Any]:
    """The row, without empty fields."""
    return {k: v for k, v in dataclasses.asdict(self).items() if v and k != "unread"}


# Of formats that are told by name alone.
_BY_NAME = ("rejected", "margin", "others", "values", "plain", "given")
ROW_KEYS = tuple(field.name for field in dataclasses.fields(Example) if field.name not in ("unread", *_BY_NAME))
IMAGE_KEYS = ("images", "image")  # columns that `readers` places in the text


def from_json(row: Mapping[str, Any]) -> Example:
  """An example from a row of the messages format. Raises BadRow; keys that nothing reads are its `unread`."""
  given = fields.listed(row.get("messages"), "`messages`")
  if not isinstance(given, (list, tuple)):
    raise BadRow(f"no list `messages`: it is {jsontext.name(given)}")
  read, unread = messages_lib.conversation(given)
  scores = fields.mapping(row.get("scores"), "`scores`")
  return Example(
    messages=messages_lib.Messages(read),
    tools=messages_lib.tools(row.get("tools")),
    template_kwargs=fields.filled(row.get("template_kwargs"), "`template_kwargs`"),
    source=_source(row.get("source")),
    language=fields.optional_text(row, "language"),
    domain=fields.optional_text(row, "domain"),
    scores={k: fields.number(v, f"`scores` {k}") for k, v in scores.items() if v is not None},
    check=fields.filled(row.get("check"), "`check`"),
    id=_id(row.get("id")),
    unread=(*unread, *unread_keys(row, ROW_KEYS)),
  )


def of_ids(ids: Any, weights: Any, text: Any = "") -> Example:
  """An example of ids that are given as they are. Raises BadRow for what are no ids, or weights of another number."""
  if not isinstance(ids, (list, tuple)) or not all(type(one) is int and 0 <= one < 2**31 for one in ids):
    raise BadRow("`ids` must be a list of whole numbers, 0 or more")
  if len(ids) < 2:
    raise BadRow(f"it has {len(ids)} ids: nothing is predicted")
  if not isinstance(weights, (list, tuple)) or len(weights) != len(ids):
    raise BadRow(f"`weights` must be a list of {len(ids)} numbers, one for each id")
  read = tuple(fields.number(one, "`weights`") for one in weights)
  if min(read) < 0:
    raise BadRow("`weights` must be 0 or more")
  return Example(messages=(), given=Given(tuple(ids), read, fields.text(text, "`text`")))


def stamped(example: Example, provenance: Mapping[str, Any]) -> Example:
  """The example with this provenance where it says none of its own."""
  found = dataclasses.replace(example, source={**provenance, **example.source})
  object.__setattr__(found, "unread", example.unread)
  return found


def with_rejected(
  example: Example, rejected: tuple[dict[str, Any], ...], margin: float | None, unread: tuple[str, ...]
) -> Example:
  """The pair of an example and of a conversation with another answer to its prompt."""
  content = json.dumps([example.id, rejected], sort_keys=True, ensure_ascii=False)
  own = {"id": hashlib.sha256(content.encode()).hexdigest()[:16]}
  found = dataclasses.replace(example, rejected=rejected, margin=margin, **own)
  object.__setattr__(found, "unread", unread)
  return found


def with_others(
  example: Example,
  others: tuple[tuple[dict[str, Any], ...], ...],
  values: tuple[dict[str, float], ...],
  unread: tuple[str, ...] | None = None,
) -> Example:
  """The example beside further answers, with what is said of each."""
  content = json.dumps([example.id, others, values], sort_keys=True, ensure_ascii=False)
  own = {"id": hashlib.sha256(content.encode()).hexdigest()[:16]}
  found = dataclasses.replace(example, others=others, values=values, **own)
  object.__setattr__(found, "unread", example.unread if unread is None else unread)
  return found


def unread_keys(row: Mapping[str, Any], known: tuple[str, ...]) -> list[str]:
  """The keys of a row that are not known and hold something."""
  return [
    str(k) for k, v in row.items() if k not in (*known, *IMAGE_KEYS) and not fields.is_null(v) and v not in ("", [])
  ]


def text(content: Any) -> str:
  """The text of a content: itself, or its text parts joined."""
  return messages_lib.text_of(content)


def _source(given) -> dict[str, Any]:
  """Provenance: an object, or the name of the data set."""
  return {"dataset": fields.text(given, "`source`")} if isinstance(given, str) else fields.filled(given, "`source`")


def _id(given) -> str:
  if fields.is_null(given):
    return ""
  if isinstance(given, int) and not isinstance(given, bool):
    return str(given)
  if isinstance(given, float) and given.is_integer():  # a table has whole numbers as these where one of them is missing
    return str(int(given))
  return fields.text(given, "`id`")
