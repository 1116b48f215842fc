"""The formats of instruction data: what a row's keys tell, and the example that it is.

messages, ShareGPT, Alpaca, prompt/completion, question/answer, and the instances of Super-NaturalInstructions. A field
of another type than its format says is refused by name; keys that nothing reads are named on the example.
"""

from collections.abc import Callable, Mapping
from typing import Any

from itune_jax.core import jsontext
from itune_jax.data import example as example_lib
from itune_jax.data import fields
from itune_jax.data import messages as messages_lib

Raw = Mapping[str, Any]

_SHARED = ("id", "source", "language", "domain", "scores", "check", "tools", "template_kwargs")
PREFERENCES = ("chosen", "rejected")
_OTHER_MEDIA = ("videos", "video", "audios", "audio")
_SPEAKERS = {
  "human": "user",
  "user": "user",
  "gpt": "assistant",
  "assistant": "assistant",
  "chatgpt": "assistant",
  "bot": "assistant",
  "model": "assistant",
  "function_call": "assistant",
  "system": "system",
  "tool": "tool",
  "observation": "tool",
  "function_response": "tool",
}


def parse(raw: Raw, format: str = "auto") -> example_lib.Example:
  """The example of a row. Raises BadRow naming the field that is wrong, or the keys of a row of no known format."""
  for column in _OTHER_MEDIA:
    if raw.get(column):
      raise fields.BadRow(f"it has `{column}`, which are not read; of media only images are")
  name = known(raw) if format == "auto" else format
  preferred = any(not fields.is_null(raw.get(key)) for key in PREFERENCES)
  if name is None:
    keys = ", ".join(jsontext.shown(key) for key in sorted(map(str, raw))[:8]) or "none"
    raise fields.BadRow(f"no known format has its keys ({keys}); {_PAIRED if preferred else 'formats are ' + said()}")
  example = FORMATS[name](raw)
  if preferred and not (example.messages[-1]["role"] == "assistant" and _is_chosen(raw, example)):
    raise fields.BadRow(_PAIRED)
  return example


_PAIRED = (
  "it is a preference (`chosen`, `rejected`), which is not read as instruction data: write the answer to be learned as "
  "the last assistant message, or set Source.format to 'preference' and an OBJECTIVE on pairs"
)


def known(raw: Raw) -> str | None:
  """The format that a row's keys tell."""
  return next((name for name, keys in KEYS.items() if any(all(key in raw for key in c) for c in keys)), None)


def said() -> str:
  """The formats and their keys, in one line."""
  return "; ".join(f"{name} ({' or '.join(' + '.join(c) for c in keys)})" for name, keys in KEYS.items())


def _is_chosen(raw: Raw, example: example_lib.Example) -> bool:
  """Whether the answer of a conversation is the one that is preferred."""
  chosen = raw.get("chosen")
  last = chosen[-1] if isinstance(chosen, list) and chosen else chosen
  text = last.get("content", last.get("value")) if isinstance(last, Mapping) else last
  return isinstance(text, str) and text == example.answer


def _alpaca(raw: Raw) -> example_lib.Example:
  instruction, given = fields.optional_text(raw, "instruction"), fields.optional_text(raw, "input")
  turns = _system(raw)
  history = [] if fields.is_null(raw.get("history")) else raw["history"]
  if not isinstance(history, (list, tuple)):
    raise fields.BadRow(
      f"`history` is {jsontext.name(history)} ({jsontext.shown(history)}); it must be a list of pairs"
    )
  for i, pair in enumerate(history):
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
      raise fields.BadRow(f"`history` {i} is {jsontext.shown(pair)}; it must be a pair of question and answer")
    turns += _pair(*(fields.text(one, f"`history` {i}") for one in pair))
  if not instruction.strip() and not given.strip():
    raise fields.BadRow("`instruction` and `input` are empty: there is no question")
  question = _joined(instruction, given)
  return _build(
    raw, turns + _pair(question, _answer(raw)), "instruction", "input", "output", "response", "system", "history"
  )


def _sharegpt(raw: Raw) -> example_lib.Example:
  key = "conversations" if "conversations" in raw else "conversation"
  turns, unread = _system(raw), []
  if not isinstance(raw[key], list):
    raise fields.BadRow(
      f"`{key}` is {jsontext.name(raw[key])} ({jsontext.shown(raw[key])}); it must be a list of turns"
    )
  for i, turn in enumerate(raw[key]):
    if not isinstance(turn, Mapping):
      raise fields.BadRow(f"turn {i} is {jsontext.shown(turn)}; it must be an object with `from` and `value`")
    speaker = turn.get("from", turn.get("role"))
    if not isinstance(speaker, str) or speaker not in _SPEAKERS:
      raise fields.BadRow(f"turn {i} is from {jsontext.shown(speaker)}; speakers are {', '.join(_SPEAKERS)}")
    message = {k: v for k, v in turn.items() if k not in ("from", "role", "value", "content")}
    message |= {"role": _SPEAKERS[speaker], "content": turn.get("value", turn.get("content"))}
    if speaker == "function_call":
      message |= {"content": None, "tool_calls": messages_lib.called(message["content"], f"turn {i} (function_call)")}
    turns.append(message)
    unread += [
      f"turn: {k}" for k in ("role", "content") if k in turn and {"role": "from", "content": "value"}[k] in turn
    ]
  return _build(raw, turns, key, "system", unread=unread)


def _prompt_completion(raw: Raw) -> example_lib.Example:
  prompt = raw["prompt"]
  if not isinstance(prompt, list):
    question = fields.text(prompt, "`prompt`")
    return _build(raw, [*_system(raw), *_pair(question, _answer(raw))], "prompt", "completion", "response", "system")
  answer = next((raw[key] for key in ("completion", "response") if not fields.is_null(raw.get(key))), None)
  turns = answer if isinstance(answer, list) else [{"role": "assistant", "content": _answer(raw)}]
  return _build(raw, [*_system(raw), *prompt, *turns], "prompt", "completion", "response", "system")


def _question_answer(raw: Raw) -> example_lib.Example:
  turns = [*_system(raw), *_pair(fields.text(raw["question"], "`question`"), fields.text(raw["answer"], "`answer`"))]
  return _build(raw, turns, "question", "answer", "system")


def _natural(raw: Raw) -> example_lib.Example:
  definition = [] if fields.is_null(raw.get("Definition")) else raw["Definition"]
  definition = definition if isinstance(definition, list) else [definition]
  asked = _joined(" ".join(fields.text(one, "`Definition`") for one in definition), fields.optional_text(raw, "input"))
  outputs = raw.get("output")
  outputs = outputs if isinstance(outputs, list) else [outputs]
  if not asked.strip() or not outputs or fields.is_null(outputs[0]):
    raise fields.BadRow("an instance needs `Definition` or `input`, and `output`")
  answers = [fields.text(one, "`output`") for one in outputs]
  named = fields.optional_text(raw, "task")
  row = {
    "source": {"dataset": named, "template": named} if named else {},
    "id": raw.get("id", ""),
    "check": {"name": "any_of", "answers": answers},
  }
  unread = example_lib.unread_keys(raw, ("Definition", "input", "output", "id", "task"))
  return _build(row, _pair(asked, answers[0]), unread=unread)


def _system(raw: Raw) -> list[dict[str, Any]]:
  system = fields.optional_text(raw, "system")
  return [{"role": "system", "content": system}] if system else []


def _answer(raw: Raw) -> str:
  """The text of an answer, under the names that it has; both may stand there if they say the same."""
  said = {key: fields.text(raw[key], f"`{key}`") for key in ("output", "completion", "response") if _holds(raw, key)}
  if not said:
    raise fields.BadRow("its answer is missing: it is null, or not text")
  if len(set(said.values())) > 1:
    raise fields.BadRow(f"it has different answers under {', '.join(said)}")
  return next(iter(said.values()))


def _holds(raw: Raw, key: str) -> bool:
  return not fields.is_null(raw.get(key))


def _joined(instruction: str, given: str) -> str:
  return "\n\n".join(part for part in (instruction, given) if part)


def _pair(user, assistant):
  return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


def _build(raw: Raw, messages, *read: str, unread: Any = ()) -> example_lib.Example:
  """The example of these messages and the row's provenance. read: further keys of the row that are in the messages."""
  own = {key: raw[key] for key in _SHARED if key in raw}
  more = [*unread, *example_lib.unread_keys(raw, (*_SHARED, *read))]
  example = example_lib.from_json({**own, "messages": messages})
  object.__setattr__(example, "unread", (*example.unread, *more))
  return example


FORMATS: dict[str, Callable[[Raw], example_lib.Example]] = {
  "messages": example_lib.from_json,
  "sharegpt": _sharegpt,
  "alpaca": _alpaca,
  "prompt_completion": _prompt_completion,
  "question_answer": _question_answer,
  "natural_instructions": _natural,
}

KEYS: dict[str, tuple[tuple[str, ...], ...]] = {
  "messages": (("messages",),),
  "sharegpt": (("conversations",), ("conversation",)),
  "natural_instructions": (("Definition", "input", "output"),),
  "alpaca": (("instruction", "output"), ("instruction", "response")),
  "prompt_completion": (("prompt", "completion"), ("prompt", "response")),
  "question_answer": (("question", "answer"),),
}
