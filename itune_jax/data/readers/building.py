"""What all schemas share: how the fields of a row become messages, and the example that they are."""

from collections.abc import Mapping
from typing import Any

from itune_jax.core import jsontext
from itune_jax.data import example as example_lib
from itune_jax.data import fields

Raw = Mapping[str, Any]

SHARED = ("id", "source", "language", "domain", "scores", "check", "tools", "template_kwargs")
ANSWERS = ("output", "completion", "response", "targets", "targets_pretokenized", "answer", "solution")
SYSTEM = ("system", "system_prompt")
REASONING = ("reasoning_content", "reasoning", "thinking")


def holds(raw: Raw, key: str) -> bool:
  """Whether something stands under a key."""
  return not fields.is_null(raw.get(key))


def one_of(raw: Raw, keys: tuple[str, ...], what: str) -> str:
  """The text that stands under one of several names, "" where none does; several may stand there if they say the same.
  Raises BadRow."""
  said = {key: fields.text(raw[key], f"`{key}`") for key in keys if key in raw and holds(raw, key)}
  filled = {key: text for key, text in said.items() if text} or said
  if len(set(filled.values())) > 1:
    raise fields.BadRow(f"it has different {what} under {', '.join(filled)}")
  return next(iter(filled.values()), "")


def system(raw: Raw) -> list[dict[str, Any]]:
  """The system message of a row, if it has one."""
  text = one_of(raw, SYSTEM, "system prompts")
  return [{"role": "system", "content": text}] if text else []


def answer(raw: Raw, keys: tuple[str, ...]) -> str:
  """The text of an answer, under the names that it has. Raises BadRow where it has none, or several."""
  if not any(holds(raw, key) for key in keys):
    raise fields.BadRow("its answer is missing: it is null, or not text")
  return one_of(raw, keys, "answers")


def reasoned(raw: Raw, turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
  """The turns, the last of which has the reasoning that stands beside the answer in the row."""
  text = one_of(raw, REASONING, "reasoning")
  if not text or turns[-1]["role"] != "assistant":
    return turns
  return [*turns[:-1], {**turns[-1], "reasoning_content": text}]


def joined(instruction: str, given: str) -> str:
  """An instruction and what it is about, with an empty line between."""
  return "\n\n".join(part for part in (instruction, given) if part)


def pair(user: str, assistant: str) -> list[dict[str, Any]]:
  """A question and its answer."""
  return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


def list_of(value: Any, where: str) -> list[Any]:
  """A list. Raises BadRow for anything else."""
  if not isinstance(value, (list, tuple)):
    raise fields.BadRow(f"{where} is {jsontext.name(value)} ({jsontext.shown(value)}); it must be a list")
  return list(value)


def build(raw: Raw, messages: list[dict[str, Any]], *read: str, unread: Any = ()) -> example_lib.Example:
  """The example of these messages and the row's provenance. read: further keys of the row that are in the messages."""
  own = {key: raw[key] for key in SHARED if key in raw}
  more = [*unread, *example_lib.unread_keys(raw, (*SHARED, *read))]
  example = example_lib.from_json({**own, "messages": messages})
  object.__setattr__(example, "unread", (*example.unread, *more))
  return example
