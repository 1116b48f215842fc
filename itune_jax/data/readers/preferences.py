"""The format `preference`: two answers to one prompt, of which the first is preferred.

`chosen` and `rejected` are texts, a message, or lists of messages. The prompt stands beside them (`prompt`, or the
question of any other format without its answer), or both sides hold the whole conversation and the prompt is what they
begin with alike. Texts of "\\n\\nHuman: … \\n\\nAssistant: …" are read as turns. The answers alone are compared: no
turn of the prompt is trained. The margin of a pair is its `margin`, or the difference of `score_chosen` and
`score_rejected` (or `chosen_score`, `rejected_score`; `chosen_rating`, `rejected_rating`). A third answer `reference`,
better than both, makes a triple (TPO).
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from itune_jax.core import jsontext
from itune_jax.data import example as example_lib
from itune_jax.data import fields
from itune_jax.data import messages as messages_lib
from itune_jax.data.readers import building
from itune_jax.data.readers import formats

SIDES = ("chosen", "rejected")
GOLD = "reference"
_SCORED = (("score_chosen", "score_rejected"), ("chosen_score", "rejected_score"), ("chosen_rating", "rejected_rating"))
_SCORES = ("margin", *(key for pair in _SCORED for key in pair))
_ASKS = {**formats.ASKS, "input": "output"}
_WHOLE = ("messages", "conversations", "conversation")
_TURN = re.compile(r"(?:\r?\n){2}(Human|Assistant):")
_STRIPPED = re.compile(r"\s*Human:(?=.*\n\r?\nAssistant:)", re.DOTALL)  # a transcript without the lines in front
_SPOKEN = re.compile(r"\s*Human:.*\n\r?\nAssistant:\s*\Z", re.DOTALL)  # a transcript that an answer goes on from
_ROLES = {"Human": "user", "Assistant": "assistant"}

Messages = list[dict[str, Any]]


def parse(raw: Mapping[str, Any]) -> example_lib.Example:
  """The pair of a row: an example whose messages are prompt and preferred answer. Raises BadRow by name."""
  for key in SIDES:
    if fields.is_null(raw.get(key)):
      raise fields.BadRow(f"it has no `{key}`: a preference has `chosen` and `rejected`")
  for key in example_lib.IMAGE_KEYS:
    if raw.get(key):
      raise fields.BadRow("a pair with images is not read yet")
  beside = {key: value for key, value in raw.items() if key not in (*SIDES, *_SCORES, GOLD)}
  answers = [key for key in building.ANSWERS if building.holds(beside, key)]  # the sides are what answers the prompt
  asked, unread = asked_beside({key: value for key, value in beside.items() if key not in answers})
  asked, unread = _apart(asked), (*unread, *answers)
  chosen, rejected = (side_of(raw[key], key) for key in SIDES)
  prompt = _prompt(asked, chosen, rejected)
  require_asked(prompt)
  answers = [
    answers_of(side[len(prompt) if is_whole(side) else 0 :], key)
    for side, key in zip((chosen, rejected), SIDES, strict=True)
  ]
  if answers[0] == answers[1]:
    raise fields.BadRow("`chosen` equals `rejected`: there is nothing to prefer")
  prompt = [untrained(message, i) for i, message in enumerate(prompt)]
  own = {key: raw[key] for key in example_lib.ROW_KEYS if key in raw and key != "messages"}
  gold = _gold(raw, prompt)
  if "system" in unread and is_whole(chosen):
    prompt, unread = [*_system_of(raw, prompt), *prompt], tuple(key for key in unread if key != "system")
  example = example_lib.from_json({**own, "messages": [*prompt, *answers[0]]})
  if gold == answers[1]:
    raise fields.BadRow(f"`{GOLD}`, which is the best answer, equals `rejected`")
  for message in (*example.messages, *answers[1], *gold):
    if not isinstance(message["content"], str) and any(p["type"] != "text" for p in message["content"] or ()):
      raise fields.BadRow("a pair with images is not read yet")
  example = example_lib.with_rejected(example, (*prompt, *answers[1]), _margin(raw), unread)
  return example_lib.with_others(example, ((*prompt, *gold),), ()) if gold else example


def _system_of(raw: Mapping[str, Any], prompt: Messages) -> Messages:
  """The system turn that stands beside two whole conversations, [] where they begin with it. Raises BadRow where they
  begin with another."""
  text = fields.optional_text(raw, "system")
  if prompt[0]["role"] != "system":
    return [{"role": "system", "content": text}] if text else []
  if text and messages_lib.text_of(prompt[0]["content"]) != text:
    raise fields.BadRow("its `system` is not the system message that `chosen` and `rejected` begin with")
  return []


def _apart(asked: Messages) -> Messages:
  """A prompt that is one text of turns (hh-rlhf) as these turns; any other as it is."""
  text = asked[0]["content"] if len(asked) == 1 and asked[0]["role"] == "user" else ""
  if not isinstance(text, str) or not _SPOKEN.match(text):
    return asked
  turns = _turns("\n\n" + text.lstrip(), "prompt")
  return turns[:-1] if turns[-1] == {"role": "assistant", "content": ""} else turns


def _gold(raw: Mapping[str, Any], prompt: Messages) -> Messages:
  """The third answer of a triple (TPO): `reference`, which is better than both; [] where there is none."""
  if fields.is_null(raw.get(GOLD)):
    return []
  found = side_of(raw[GOLD], GOLD)
  if is_whole(found) and [untrained(m, i) for i, m in enumerate(found[: len(prompt)])] != prompt:
    raise fields.BadRow(f"`{GOLD}` answers another prompt than `chosen` and `rejected`")
  return answers_of(found[len(prompt) :] if is_whole(found) else found, GOLD)


def asked_beside(raw: Mapping[str, Any], asks: Mapping[str, str] = _ASKS) -> tuple[Messages, tuple[str, ...]]:
  """The messages that stand beside the sides, and the keys of the row that nothing reads. asks: the answer that a row
  lacks, by the key that it asks under."""
  beside = [key for key in _WHOLE if "prompt" in raw and key in raw]
  given = {key: value for key, value in raw.items() if key not in beside}
  answer = next((answer for key, answer in asks.items() if key in raw and answer not in raw), None)
  if answer is not None:
    given[answer] = "-"
  name = formats.known(given)
  if name is None:
    return [], tuple(example_lib.unread_keys(raw, example_lib.ROW_KEYS))
  example = formats.FORMATS[name](given)
  messages = [dict(m) for m in example.messages]
  if answer is not None and name not in ("messages", "sharegpt"):
    messages = messages[:-1]
  return messages, (*beside, *example.unread)


def side_of(given: Any, key: str) -> Messages:
  """The messages of a side: one for a text or an object, those of a list, the turns of a text that writes them."""
  if isinstance(given, str):
    text = fields.text(given, f"`{key}`")
    text = "\n\n" + text.lstrip() if _STRIPPED.match(text) else text
    return _turns(text, key) if _TURN.match(text) else [{"role": "assistant", "content": text}]
  given = fields.transposed(given)
  given = [given] if isinstance(given, Mapping) else given
  if not isinstance(given, list):
    raise fields.BadRow(f"`{key}` is {jsontext.name(given)} ({jsontext.shown(given)}); it must be text or messages")
  if any(isinstance(one, Mapping) and "from" in one for one in given):
    given = formats.FORMATS["sharegpt"]({"conversations": given}).messages if given else []
  return messages_lib.conversation(given, f"`{key}` message")[0]


def _turns(text: str, key: str) -> Messages:
  pieces = _TURN.split(text)[1:]
  found = [{"role": _ROLES[who], "content": said.strip()} for who, said in zip(pieces[::2], pieces[1::2], strict=True)]
  for a, b in zip(found, found[1:], strict=False):
    if a["role"] == b["role"]:
      raise fields.BadRow(f"`{key}` has two turns of {'Human' if a['role'] == 'user' else 'Assistant'} in a row")
  return found


def is_whole(side: Messages) -> bool:
  """Whether a side begins with more than an answer."""
  return bool(side) and side[0]["role"] not in ("assistant", "tool")


def _prompt(asked: Messages, chosen: Messages, rejected: Messages) -> Messages:
  """What both sides answer. Raises BadRow where there is none, or the sides have different ones."""
  if not chosen or not rejected:
    raise fields.BadRow("a side of the pair has no messages")
  if is_whole(chosen) != is_whole(rejected):
    raise fields.BadRow("one side is a whole conversation and the other an answer alone")
  if not is_whole(chosen):
    if not any(m["role"] != "assistant" for m in asked):
      raise fields.BadRow("it has no prompt: neither `prompt` nor a question in front of `chosen` and `rejected`")
    if asked[-1]["role"] == "assistant":
      raise fields.BadRow("its prompt ends with an assistant message, which the answers would continue")
    return asked
  same = next((i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), None)
  same = min(len(chosen), len(rejected)) if same is None else same
  for side in (chosen, rejected):
    if same < len(side) and side[same]["role"] != "assistant":
      raise fields.BadRow(f"the prompts of both sides differ in message {same} ({side[same]['role']})")
  if asked and not _holds(chosen[:same], asked):
    raise fields.BadRow("its prompt is not what `chosen` and `rejected` begin with: the prompts differ")
  return chosen[:same]


def require_asked(prompt: Messages) -> None:
  """Raises BadRow for a prompt in which nobody says anything: answers to nothing are no preference."""
  if not any(
    messages_lib.text_of(m["content"]).strip() or m.get("tool_calls") for m in prompt if m["role"] != "system"
  ):
    raise fields.BadRow("its prompt is empty: there is no question that one answer is better for")


def _holds(begun: Messages, asked: Messages) -> bool:
  """Whether a prompt beside the sides is the one that they begin with: a message of it, its beginning, or all of it
  with the answer that is preferred."""
  same = lambda a, b: a["role"] == b["role"] and messages_lib.text_of(a["content"]) == messages_lib.text_of(
    b["content"]
  )
  if len(asked) == 1:
    return any(same(message, asked[0]) for message in begun)
  return all(same(a, b) for a, b in zip(asked, begun, strict=False))


def answers_of(messages: Messages, key: str) -> Messages:
  """What a side answers. Raises BadRow where it says nothing."""
  said = [m for m in messages if m["role"] == "assistant"]
  if not said or messages[-1]["role"] != "assistant":
    raise fields.BadRow(f"`{key}` does not end with an answer")
  if not any(messages_lib.text_of(m["content"]).strip() or m.get("tool_calls") for m in said):
    raise fields.BadRow(f"`{key}` is empty")
  if other := next((m["weight"] for m in said if m.get("weight", 1) not in (0, 1)), None):
    raise fields.BadRow(f"an answer of `{key}` has weight {other:g}: of answers that are compared it is 0 or 1")
  return messages


def untrained(message: dict[str, Any], i: int) -> dict[str, Any]:
  """A message of a prompt, whose answers do not train. Raises BadRow for one with a weight."""
  if message["role"] != "assistant":
    return message
  if message.get("weight"):
    raise fields.BadRow(
      f"message {i} of the prompt has weight {message['weight']:g}: of a pair the answers alone train"
    )
  return {**message, "weight": 0}


def _margin(raw: Mapping[str, Any]) -> float | None:
  """By how much the preferred answer is better, if the row says so. Raises BadRow for a tie, and for the wrong sign."""
  given = {key: fields.number(raw[key], f"`{key}`") for key in _SCORES if not fields.is_null(raw.get(key))}
  if any((chosen in given) != (rejected in given) for chosen, rejected in _SCORED):
    raise fields.BadRow("it has the score of one side alone")
  margin = given.get("margin")
  for chosen, rejected in (pair for pair in _SCORED if pair[0] in given):
    by_score = given[chosen] - given[rejected]
    if margin is not None and abs(margin - by_score) > 1e-6 * max(abs(margin), 1):
      raise fields.BadRow("its `margin` is not the difference of its scores")
    margin = by_score
  margin = None if margin is None else float(np.float32(margin))  # as it is stored
  if margin == 0:
    raise fields.BadRow("a tie: its margin is 0, so no side is preferred")
  if margin is not None and margin < 0:
    raise fields.BadRow("its margin is negative: `rejected` would be the preferred side")
  return margin
