"""The texts of a row, in whatever format it is: one of them, or all of them changed."""

from collections.abc import Callable, Iterator, Mapping
import json
import re
from typing import Any

from itune_jax.core import check
from itune_jax.data import example as example_lib
from itune_jax.data import fields as fields_lib
from itune_jax.data.readers import building
from itune_jax.data.readers import formats
from itune_jax.select import select_protocol

Row = select_protocol.Row
PROMPT, ANSWER, ALL = "@prompt", "@answer", "@all"
# Keys that hold text somewhere in a schema (`formats.KEYS`; a test goes through all of them), and those that hold
# turns, answers or instances: lists, or objects.
_OF_TASKS = (
  *("instruction", "input", "output", "response", "prompt", "completion", "question", "answer", "query", "context"),
  *("problem", "solution", "inputs", "targets", "inputs_pretokenized", "targets_pretokenized", "Definition"),
)
_OF_TURNS = (
  *("text", "system", "system_prompt", "content", "value", "human", "assistant", "chosen", "rejected", "reference"),
  *building.REASONING,
)
_HOLDS = frozenset((*_OF_TASKS, *_OF_TURNS))
_CONVERSATIONS = ("messages", "conversations", "conversation")  # which may also be JSON text
_LISTS = frozenset(
  (
    *(*_CONVERSATIONS, "history", "chosen", "rejected", "reference", "content", "value", "prompt", "completion"),
    *("output", "Definition", "instances", "completions", "responses", "replies"),
  )
)
_CALLS = ("tool_calls", "function_call", "answers")  # the last are those of a `query`
_WORDS = re.compile(r"\w+")


def example(row: Row) -> example_lib.Example | None:
  """What the row is by its format; None where no format has its keys, or a field is not what its format says."""
  try:
    return formats.parse(row)
  except example_lib.BadRow:
    return None


def get(row: Row, field: str) -> str:
  """A text of a row: of a key of its own ("instruction"), or by its format, "@prompt" (the turns up to the last
  answer), "@answer" (the last one), "@all" (every text). "" where there is none."""
  if field == ALL:
    return "\n".join(each(row))
  if field in (PROMPT, ANSWER):
    read = example(row)
    if read is None:
      return ""
    if field == ANSWER:
      return read.answer
    return "\n".join(map(plain, read.prompt))
  value = row.get(field)
  return value if isinstance(value, str) else ""


class Present:
  """Passes texts that are compared on, and says at their end where none of them was there: a step that compares nothing
  keeps all. Behind every text of a row stand the calls that it makes."""

  def __init__(self, step: str, field: str):
    self._step, self._field, self._rows, self._found = step, field, 0, False

  def text(self, row: Row) -> str:
    """The text of a row."""
    found = get(row, self._field)
    found = "\n".join((found, *_calls(row))) if self._field == ALL else found
    self._rows, self._found = self._rows + 1, self._found or bool(found)
    return found

  def take(self, other: "Present") -> None:
    """Adds the rows that another one saw."""
    self._rows, self._found = self._rows + other._rows, self._found or other._found

  def require(self) -> None:
    """Raises InputError where rows came and none had the text."""
    check.require(
      self._found or not self._rows,
      f"{self._step}.field = {self._field!r}: none of {self._rows} rows has text there; name a column of the rows, or "
      f"{PROMPT}, {ANSWER}, {ALL}, which are read by their format",
    )


def plain(message: Mapping[str, Any]) -> str:
  """The text of a message, without its images; "" where it only calls tools."""
  content = message.get("content")
  return example_lib.text(content) if content else ""


def each(row: Row, fields: tuple[str, ...] = ()) -> Iterator[str]:
  """Every text of a row that somebody reads: instructions, answers, messages; or of the keys that are named."""
  found: list[str] = []

  def look(text: str) -> str:
    found.append(text)
    return text

  mapped(row, look, fields)
  return iter(found)


def mapped(row: Row, change: Callable[[str], str], fields: tuple[str, ...] = ()) -> Row:
  """The row with every text changed; ids, scores, provenance and whatever else is no text of a conversation stay.

  fields: keys of the row, all of them without any.
  """
  if fields:
    named = lambda value: change(value) if isinstance(value, str) else _element(value, change)
    return {key: named(value) if key in fields else value for key, value in row.items()}
  return {key: _value(value, key, change) for key, value in row.items()}


def lacks(row: Row, fields: tuple[str, ...]) -> tuple[str, ...]:
  """The mark of a row that has none of the keys that a step names, of which it looks at nothing; none otherwise."""
  return () if not fields or any(row.get(key) is not None for key in fields) else ("none of the step's fields",)


def words(text: str) -> list[str]:
  """The words of a text in lower case, in any script; punctuation is none."""
  return _WORDS.findall(text.lower())


def _calls(value: Any) -> Iterator[str]:
  """The calls that turns make, as JSON without their ids: two rows that call otherwise do not say the same."""
  if isinstance(value, list):
    for one in value:
      yield from _calls(one)
  if not isinstance(value, Mapping):
    return
  for key, one in value.items():
    if key in _CALLS and one:
      plain = [{k: v for k, v in call.items() if k != "id"} if isinstance(call, Mapping) else call for call in one]
      yield json.dumps(plain if isinstance(one, list) else one, sort_keys=True, ensure_ascii=False)
    elif key in _LISTS:
      yield from _calls(one)


def _value(value: Any, key: str, change: Callable[[str], str]) -> Any:
  if isinstance(value, str):
    if key in _CONVERSATIONS:
      return _written(value, change)
    return change(value) if key in _HOLDS else value
  return _element(value, change) if key in _LISTS else value


def _written(value: str, change: Callable[[str], str]) -> Any:
  """A conversation that stands there as JSON text: itself where nothing of it is changed."""
  try:
    turns = fields_lib.listed(value, "")
  except fields_lib.BadRow:
    return value
  found = _element(turns, change)
  return value if found == turns else found


def _element(value: Any, change: Callable[[str], str]) -> Any:
  """What stands in a list of turns: a text, a pair of texts, or a message; or one of them alone."""
  if isinstance(value, str):
    return change(value)
  if isinstance(value, list):
    return [_element(one, change) for one in value]
  if isinstance(value, Mapping):
    return {key: _value(one, key, change) for key, one in value.items()}
  return value
