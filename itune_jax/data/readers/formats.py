"""The schemas of instruction data: what a row's keys tell, and the examples that it is.

`SCHEMAS` is the documented order: a row that fits two of them is read as the first. A field of another type than its
schema says is refused by name; keys that nothing reads are named on the example.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from itune_jax.core import jsontext
from itune_jax.data import example as example_lib
from itune_jax.data import fields
from itune_jax.data import messages as messages_lib
from itune_jax.data.readers import building
from itune_jax.data.readers import single_turn
from itune_jax.data.readers import tool_text
from itune_jax.data.readers import trees

Raw = building.Raw
Example = example_lib.Example

PREFERENCES = ("chosen", "rejected")
_OTHER_MEDIA = ("videos", "video", "audios", "audio")
_CALLERS = ("function_call", "function-call", "tool_call", "tool_calls")
_SPEAKERS = {**messages_lib.SPEAKERS, **dict.fromkeys(_CALLERS, "assistant")}
_ROUNDS = (("human", "assistant"), ("input", "output"))  # lists of rounds, as some sets have conversations


def parse(raw: Raw, format: str = "auto") -> Example:
  """The example of a row; of one that holds several, the first. Raises BadRow naming the field that is wrong, or the
  keys of a row of no known schema."""
  return next(parse_all(raw, format))


def parse_all(raw: Raw, format: str = "auto") -> Iterator[Example]:
  """All examples of a row. Raises BadRow, also behind the first of them."""
  for column in _OTHER_MEDIA:
    if raw.get(column):
      raise fields.BadRow(f"it has `{column}`, which are not read; of media only images are")
  raw = _with_tools(raw)
  name = known(raw) if format == "auto" else format
  preferred = any(building.holds(raw, key) for key in PREFERENCES)
  if name is None:
    keys = ", ".join(jsontext.shown(key) for key in sorted(map(str, raw))[:8]) or "none"
    told = _PAIRED if preferred else f"formats are {said()}; {_BY_NAME}"
    raise fields.BadRow(f"no known format has its keys ({keys}); {told}")
  if format == "auto" and _is_judged(raw):
    raise fields.BadRow(_JUDGED)
  for example in SCHEMAS[name].examples(raw):
    example = tool_text.decoded(example)
    if preferred and not (example.messages[-1]["role"] == "assistant" and _is_chosen(raw, example)):
      raise fields.BadRow(_PAIRED)
    yield example


def _with_tools(raw: Raw) -> Raw:
  """The row with what OpenAI's older form has under `functions` as its tools."""
  given = raw.get("functions")
  if building.holds(raw, "tools") or not isinstance(given, list) or not given:
    return raw
  if not all(isinstance(one, Mapping) and isinstance(one.get("name"), str) for one in given):
    return raw
  tools = [{"type": "function", "function": one} for one in given]
  return {**{key: value for key, value in raw.items() if key != "functions"}, "tools": tools}


def _is_judged(raw: Mapping[str, Any]) -> bool:
  """Whether a row says that its answer is good or bad, in any spelling of it: as text, which is all that a CSV file
  holds, or as 0 and 1, which beside an output may also be a class."""
  said = lambda value: isinstance(value, bool) or (isinstance(value, str) and value.strip().lower() in _TRUTHS)
  number = lambda value: isinstance(value, (int, float)) and value in (-1, 0, 1)
  label, tag = raw.get("label"), raw.get("kto_tag")
  completes = building.holds(raw, "prompt") and building.holds(raw, "completion")
  return said(label) or said(tag) or number(tag) or (completes and number(label))


_TRUTHS = ("true", "false")
_PAIRED = (
  "it is a preference (`chosen`, `rejected`), which is not read as instruction data: write the answer to be learned as "
  "the last assistant message, set Source.format to 'chosen' to learn what is preferred, or to 'preference' with an "
  "OBJECTIVE on pairs"
)
_JUDGED = (
  "its `label` judges the answer, which may be a bad one: set Source.format to 'unpaired' with an OBJECTIVE on judged "
  "answers, or give the column another name"
)
_BY_NAME = (
  "for columns of other names say Source.columns; raw text is Source.format = 'text', and scored completions are "
  "'preference'"
)


def known(raw: Raw) -> str | None:
  """The schema that a row's keys tell: the first whose keys hold something, else the first whose keys are there."""
  held = tuple(key for key, value in raw.items() if not fields.is_null(value))
  return _told_by(held) or (_told_by(tuple(raw)) if len(held) < len(raw) else None)


@functools.lru_cache(4096)
def _told_by(keys: tuple[str, ...]) -> str | None:
  """The schema of rows with these keys; the rows of a file have few sets of them."""
  return next((s.name for s in SCHEMAS.values() if any(set(together) <= set(keys) for together in s.keys)), None)


def said() -> str:
  """The schemas and their keys, in one line."""
  return "; ".join(f"{s.name} ({' or '.join(' + '.join(keys) for keys in s.keys)})" for s in SCHEMAS.values())


def _is_chosen(raw: Raw, example: Example) -> bool:
  """Whether the answer of a conversation is the one that is preferred."""
  chosen = raw.get("chosen")
  last = chosen[-1] if isinstance(chosen, list) and chosen else chosen
  text = last.get("content", last.get("value")) if isinstance(last, Mapping) else last
  return isinstance(text, str) and text == example.answer


def _messages(raw: Raw) -> Example:
  given = fields.listed(raw["messages"], "`messages`")
  turns = isinstance(given, list) and any(isinstance(one, Mapping) and "role" not in one for one in given)
  if turns and all(isinstance(one, Mapping) and "from" in one for one in given):
    return sharegpt({**{key: value for key, value in raw.items() if key != "messages"}, "conversations": given})
  system = building.system(raw)
  if not system or not isinstance(given, list):
    return example_lib.from_json(raw)
  if any(isinstance(one, Mapping) and one.get("role") in ("system", "developer") for one in given):
    return example_lib.from_json(raw)  # the row's own is told as not read
  own = {key: value for key, value in raw.items() if key not in building.SYSTEM}
  return example_lib.from_json({**own, "messages": [*system, *given]})


def sharegpt(raw: Raw) -> Example:
  """`conversations` (or `conversation`) of `from` and `value`, with all names of roles in use; or of rounds."""
  key = "conversations" if building.holds(raw, "conversations") or "conversation" not in raw else "conversation"
  turns, unread = building.system(raw), []
  given = fields.listed(raw[key], f"`{key}`")
  if not isinstance(given, (list, tuple)):
    raise fields.BadRow(f"`{key}` is {jsontext.name(given)} ({jsontext.shown(given)}); it must be a list of turns")
  for i, turn in enumerate(given):
    if not isinstance(turn, Mapping):
      raise fields.BadRow(f"turn {i} is {jsontext.shown(turn)}; it must be an object with `from` and `value`")
    names = next((names for names in _ROUNDS if all(name in turn for name in names)), None)
    if names and "from" not in turn and "role" not in turn:
      said = (fields.text(turn[name], f"`{name}` of round {i}") for name in names)
      turns += [*building.system(turn), *building.pair(*said)]
      unread += [f"round: {k}" for k in example_lib.unread_keys(turn, (*names, *building.SYSTEM))]
      continue
    turns.append(_turn(turn, i))
    unread += [
      f"turn: {k}" for k in ("role", "content") if k in turn and {"role": "from", "content": "value"}[k] in turn
    ]
  return building.build(raw, turns, key, *building.SYSTEM, unread=unread)


def _turn(turn: Mapping[str, Any], i: int) -> dict[str, Any]:
  speaker = turn.get("from", turn.get("role"))
  name = speaker.strip().lower() if isinstance(speaker, str) else ""
  if name not in _SPEAKERS:
    raise fields.BadRow(f"turn {i} is from {jsontext.shown(speaker)}; speakers are {', '.join(_SPEAKERS)}")
  message = {k: v for k, v in turn.items() if k not in ("from", "role", "value", "content")}
  message |= {"role": _SPEAKERS[name], "content": turn.get("value", turn.get("content"))}
  if name in _CALLERS:
    message |= {"content": None, "tool_calls": messages_lib.called(message["content"], f"turn {i} ({name})")}
  return message


@dataclasses.dataclass(frozen=True)
class Schema:
  """name: as Source.format says it. keys: sets of them that tell it. many: its examples, or one: its only one."""

  name: str
  keys: tuple[tuple[str, ...], ...]
  one: Callable[[Raw], Example] | None = None
  many: Callable[[Raw], Iterator[Example]] | None = None

  def examples(self, raw: Raw) -> Iterator[Example]:
    """The examples of a row. Raises BadRow."""
    if self.one is not None:
      yield self.one(raw)
    if self.many is not None:
      yield from self.many(raw)


_TREE = (("message_tree_id", "prompt"), ("message_tree_id", "message_id", "parent_id"))
_TABLE = (
  Schema("messages", (("messages",),), _messages),
  Schema("sharegpt", (("conversations",), ("conversation",)), sharegpt),
  Schema("oasst", _TREE, trees.best),
  Schema("natural_instructions", (("Definition", "input", "output"),), single_turn.natural),
  Schema("seed_tasks", (("instruction", "instances"),), many=single_turn.seed_task),
  Schema("calls", (("query", "answers", "tools"),), single_turn.calls),
  Schema("alpaca", tuple(("instruction", key) for key in ("output", "response", "completion")), single_turn.alpaca),
  Schema("flan", (("inputs_pretokenized", "targets_pretokenized"), ("inputs", "targets")), single_turn.flan),
  Schema(
    "prompt_completion",
    tuple(("prompt", key) for key in ("completion", "response", "output")),
    single_turn.prompt_completion,
  ),
  Schema(
    "question_answer",
    (("question", "answer"), ("question", "response"), ("problem", "solution"), ("query", "response")),
    single_turn.question_answer,
  ),
  Schema("input_output", (("input", "output"),), single_turn.input_output),
)
# What a row lacks that only asks, by the key that it asks under; the first of these that it has. `input` alone is none:
# it may be what a missing instruction is about.
ASKS = {
  "prompt": "completion",
  "instruction": "output",
  "question": "answer",
  "problem": "solution",
  "query": "response",
  "inputs": "targets",
}
SCHEMAS = {schema.name: schema for schema in _TABLE}
KEYS = {schema.name: schema.keys for schema in _TABLE}
FORMATS: dict[str, Callable[[Raw], Example]] = {
  name: (lambda raw, schema=schema: next(schema.examples(raw))) for name, schema in SCHEMAS.items()
}
