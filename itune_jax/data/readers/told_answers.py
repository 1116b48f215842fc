"""Formats of answers that somebody has judged, other than pairs: each told by its name alone.

`unpaired`: one answer and whether it is wanted (`label`, or `kto_tag`: true, false). `scored`: one answer and its
`score`. `ranked`: `responses` of one prompt and their `scores`, or UltraFeedback's `completions`. `stepwise`: the steps
of one answer (`completions`) and whether each is right (`labels`). `prompt_preference`: whole conversations `chosen`
and `rejected` whose prompts differ, so that a prompt may be what is preferred (Rc-DPO).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from itune_jax.core import jsontext
from itune_jax.data import example as example_lib
from itune_jax.data import fields
from itune_jax.data import messages as messages_lib
from itune_jax.data.readers import formats
from itune_jax.data.readers import preferences
from itune_jax.data.readers import scored_pairs

Raw = Mapping[str, Any]
STEP_END = "\n\n"  # what stands behind each step of an answer but the last
_LABELS = ("label", "kto_tag")


def unpaired(raw: Raw) -> example_lib.Example:
  """An answer that is wanted (1) or not (-1). Raises BadRow by name."""
  found = [key for key in _LABELS if not fields.is_null(raw.get(key))]
  if len(found) != 1:
    raise fields.BadRow(
      "it has no `label` (true or false)" if not found else "it has `label` and `kto_tag`: one says it"
    )
  label = raw[found[0]]
  if not isinstance(label, bool) and label not in (0, 1):
    raise fields.BadRow(f"`{found[0]}` is {jsontext.shown(label)}; it must be true or false")
  return _single(raw, found[0], {"label": 1.0 if label else -1.0})


def scored(raw: Raw) -> example_lib.Example:
  """An answer and a number that says how good it is. Raises BadRow by name."""
  if fields.is_null(raw.get("score")):
    raise fields.BadRow("it has no `score`")
  return _single(raw, "score", {"score": fields.number(raw["score"], "`score`")})


def _single(raw: Raw, key: str, value: dict[str, float]) -> example_lib.Example:
  example = formats.parse({name: one for name, one in raw.items() if name != key})
  last = len(example.messages) - 1
  preferences.answers_of([dict(m) for m in example.messages], "the conversation")
  earlier = [preferences.untrained(dict(m), i) for i, m in enumerate(example.messages[:last])]
  return _compared(example, earlier, [[dict(example.messages[last])]], [value], tuple(example.unread))


def ranked(raw: Raw) -> example_lib.Example:
  """Several answers of one prompt with their scores. Raises BadRow by name."""
  given, scores, used = _responses(raw)
  if len(given) != len(scores):
    raise fields.BadRow(f"it has {len(given)} responses and {len(scores)} scores")
  if len(given) < 2:
    raise fields.BadRow("it has one response: there is nothing to rank")
  # As they are stored: two that differ by less than float32 tells apart are a tie.
  numbers = [float(np.float32(fields.number(one, f"`scores` {i}"))) for i, one in enumerate(scores)]
  if len(set(numbers)) == 1:
    raise fields.BadRow("a tie: all responses have the same score")
  asked, unread = preferences.asked_beside({key: value for key, value in raw.items() if key not in used})
  prompt = _prompt(asked)
  answers = [
    preferences.answers_of(preferences.side_of(one, f"responses {i}"), f"responses {i}") for i, one in enumerate(given)
  ]
  for i, answer in enumerate(answers):
    if any(answer == other and numbers[i] != numbers[j] for j, other in enumerate(answers[:i])):
      raise fields.BadRow("one response stands there twice with different scores")
  own = _own(raw)
  first = example_lib.from_json({**own, "messages": [*prompt, *answers[0]]})
  return _compared(first, prompt, answers, [{"score": one} for one in numbers], unread)


def _responses(raw: Raw) -> tuple[list[Any], list[Any], tuple[str, ...]]:
  """The answers, their scores, and the keys that hold them."""
  if not fields.is_null(raw.get("completions")):
    found = scored_pairs.completions(raw)
    return [text for _, text in found], [score for score, _ in found], ("completions",)
  for key in ("responses", "scores"):
    if not isinstance(raw.get(key), list):
      raise fields.BadRow(f"it has no list `{key}`")
  return raw["responses"], raw["scores"], ("responses", "scores")


def stepwise(raw: Raw) -> example_lib.Example:
  """An answer in steps, each of them right (1) or wrong (-1). Raises BadRow by name."""
  for key in ("completions", "labels"):
    if not isinstance(raw.get(key), list) or not raw[key]:
      raise fields.BadRow(f"it has no list `{key}`")
  steps = [fields.text(one, f"`completions` {i}") for i, one in enumerate(raw["completions"])]
  labels = raw["labels"]
  if len(steps) != len(labels):
    raise fields.BadRow(f"it has {len(steps)} steps and {len(labels)} labels")
  if any(not isinstance(one, bool) and one not in (0, 1) for one in labels):
    raise fields.BadRow("`labels` must be true or false, one for each step")
  if any(not step.strip() for step in steps):
    raise fields.BadRow("a step is empty")
  asked, unread = preferences.asked_beside(
    {key: value for key, value in raw.items() if key not in ("completions", "labels")}
  )
  answer = [{"role": "assistant", "content": STEP_END.join(step.strip() for step in steps)}]
  prompt, ends, at = _prompt(asked), [], 0
  for step in steps:
    ends.append(at + len(step.strip()))
    at = ends[-1] + len(STEP_END)
  first = example_lib.from_json({**_own(raw), "messages": [*prompt, *answer]})
  values = [{"end": float(end), "label": 1.0 if label else -1.0} for end, label in zip(ends, labels, strict=True)]
  return example_lib.with_others(first, (), tuple(values), unread)


def prompt_preference(raw: Raw) -> example_lib.Example:
  """Two whole conversations, of which the first is preferred, whose prompts may differ. Raises BadRow by name."""
  sides = []
  for key in preferences.SIDES:
    if fields.is_null(raw.get(key)):
      raise fields.BadRow(f"it has no `{key}`: give whole conversations `chosen` and `rejected`")
    side = preferences.side_of(raw[key], key)
    if not preferences.is_whole(side):
      raise fields.BadRow(f"`{key}` is no whole conversation: its prompt must stand in it")
    preferences.answers_of(side, key)
    last = len(side) - 1
    sides.append([*(preferences.untrained(m, i) for i, m in enumerate(side[:last])), side[last]])
  if sides[0] == sides[1]:
    raise fields.BadRow("`chosen` equals `rejected`: there is nothing to prefer")
  example = example_lib.from_json({**_own(raw), "messages": sides[0]})
  unread = tuple(example_lib.unread_keys(raw, (*example_lib.ROW_KEYS, *preferences.SIDES)))
  return example_lib.with_others(example, (tuple(sides[1]),), ({"side": 1.0}, {"side": -1.0}), unread)


def _own(raw: Raw) -> dict[str, Any]:
  return {key: raw[key] for key in example_lib.ROW_KEYS if key in raw and key not in ("messages", "scores")}


def _prompt(asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
  """The messages of a prompt, none of which trains. Raises BadRow where there is none."""
  if not any(m["role"] != "assistant" for m in asked) or asked[-1]["role"] == "assistant":
    raise fields.BadRow("it has no prompt in front of its answers")
  preferences.require_asked(asked)
  return [preferences.untrained(message, i) for i, message in enumerate(asked)]


def _compared(
  example: example_lib.Example,
  prompt: Sequence[dict[str, Any]],
  answers: Sequence[Sequence[dict[str, Any]]],
  values: Sequence[dict[str, float]],
  unread: tuple[str, ...],
) -> example_lib.Example:
  """The example of a prompt and its first answer, beside the others."""
  whole = [(*prompt, *answer) for answer in answers]
  for messages in whole:
    for message in messages_lib.conversation(messages)[0]:
      if not isinstance(message["content"], str) and any(p["type"] != "text" for p in message["content"] or ()):
        raise fields.BadRow("answers with images that are judged are not read yet")
  own = {key: value for key, value in example.to_json().items() if key not in ("messages", "id", "others", "values")}
  first = example_lib.from_json({**own, "messages": list(whole[0])})
  return example_lib.with_others(first, tuple(whole[1:]), tuple(values), unread)


def _of_text(parse: Callable[[Raw], example_lib.Example]) -> Callable[[Raw], example_lib.Example]:
  """The format, for rows without images."""

  def parsed(raw: Raw) -> example_lib.Example:
    if any(raw.get(key) for key in example_lib.IMAGE_KEYS):
      raise fields.BadRow("answers with images that are judged are not read yet")
    return parse(raw)

  return parsed


FORMATS: dict[str, Callable[[Raw], example_lib.Example]] = {
  one.__name__: _of_text(one) for one in (unpaired, scored, ranked, stepwise, prompt_preference)
}
