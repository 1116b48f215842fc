"""A conversation as everybody hands it on, and a model's side of it: its prompt in ids, and how its turn ends."""

import abc
from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, NamedTuple


@dataclasses.dataclass(frozen=True)
class Conversation:
  """Messages (dicts with `role`, `content` and what else a template reads), tools, and arguments of the template.

  If the last message is the assistant's, an answer goes on from its text.
  """

  messages: tuple[Mapping[str, Any], ...]
  tools: tuple[Mapping[str, Any], ...] = ()
  template_kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def of(text: str | Sequence[Mapping[str, Any]] | Conversation) -> Conversation:
  """A conversation from what people write: the text of one user turn, or a list of messages."""
  if isinstance(text, Conversation):
    return text
  return Conversation(({"role": "user", "content": text},) if isinstance(text, str) else tuple(text))


class Prompt(NamedTuple):
  """Ids up to where the answer begins, and pixels [I, H, W, 3] of the images, None without any."""

  ids: list[int]
  images: Any = None


@dataclasses.dataclass(frozen=True)
class TurnEnd:
  """How a turn ends with one tokenizer and template: mask, decoder, evaluator and export read it here.

  text: what the template writes behind an answer. ids: tokens of which each ends a turn. strings: what ends one where
  that is no single token. silent: ids that a reader of answers does not see (those that end or pad).
  """

  text: str
  ids: tuple[int, ...]
  strings: tuple[str, ...] = ()
  silent: frozenset[int] = frozenset()


class Renderer(abc.ABC):
  """Turns conversations into ids and ids into text, for one tokenizer and template."""

  @property
  @abc.abstractmethod
  def turn_end(self) -> TurnEnd:
    """How a turn ends."""

  @abc.abstractmethod
  def prompt(self, conversation: Conversation) -> Prompt:
    """What a model reads before it answers. Raises InputError where the template refuses it."""

  @abc.abstractmethod
  def decode(self, ids: Sequence[int]) -> str:
    """The text of generated ids, without what ends the turn or pads."""

  @abc.abstractmethod
  def continued(self, context: Conversation | str, continuation: str) -> tuple[list[int], list[int]]:
    """Ids of a context and of what continues it: a conversation's prompt and an answer, or plain text cut in two."""

  @abc.abstractmethod
  def encode(self, text: str) -> list[int]:
    """Ids of plain text."""

  def text_prompt(self, text: str) -> Prompt:
    """What a model reads before it continues plain text, as it stands; the start token where there is none."""
    return Prompt(self.encode(text) or self.continued("", " ")[0])
