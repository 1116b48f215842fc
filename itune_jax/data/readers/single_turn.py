"""Schemas of one question and one answer: Alpaca, prompt and completion, question and answer, the instances of
Super-NaturalInstructions, P3 and FLAN, seed tasks of Self-Instruct, and function calls as answers."""

from collections.abc import Iterator
from typing import Any

from itune_jax.core import jsontext
from itune_jax.data import example as example_lib
from itune_jax.data import fields
from itune_jax.data import messages as messages_lib
from itune_jax.data.readers import building

Example = example_lib.Example
Raw = building.Raw

_COMPLETIONS = ("completion", "response", "output")


def alpaca(raw: Raw) -> Example:
  """`instruction`, `input` (or Dolly's `context`), and `output` (or `response`); `history` of pairs in front."""
  instruction, given = fields.optional_text(raw, "instruction"), building.one_of(raw, ("input", "context"), "inputs")
  turns = building.system(raw)
  history = [] if fields.is_null(raw.get("history")) else raw["history"]
  if not isinstance(history, (list, tuple)):
    raise fields.BadRow(
      f"`history` is {jsontext.name(history)} ({jsontext.shown(history)}); it must be a list of pairs"
    )
  for i, pair in enumerate(history):
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
      raise fields.BadRow(f"`history` {i} is {jsontext.shown(pair)}; it must be a pair of question and answer")
    turns += building.pair(*(fields.text(one, f"`history` {i}") for one in pair))
  if not instruction.strip() and not given.strip():
    raise fields.BadRow("`instruction` and `input` are empty: there is no question")
  keys = ("output", "response", "completion")
  turns += building.pair(building.joined(instruction, given), building.answer(raw, keys))
  known = ("instruction", "input", "context", "history", *keys, *building.SYSTEM, *building.REASONING)
  return building.build(raw, building.reasoned(raw, turns), *known)


def prompt_completion(raw: Raw) -> Example:
  """`prompt` and `completion` (or `response`, `output`): texts, or lists of messages."""
  known = ("prompt", *_COMPLETIONS, *building.SYSTEM, *building.REASONING)
  prompt = raw["prompt"]
  if not isinstance(prompt, list):
    said = building.pair(_asked(raw, "prompt"), building.answer(raw, _COMPLETIONS))
    return building.build(raw, building.reasoned(raw, [*building.system(raw), *said]), *known)
  answer = next((raw[key] for key in _COMPLETIONS if building.holds(raw, key)), None)
  turns = (
    answer
    if isinstance(answer, list) and answer
    else [{"role": "assistant", "content": building.answer(raw, _COMPLETIONS)}]
  )
  if all(isinstance(turn, dict) and "role" in turn for turn in turns):
    turns = building.reasoned(raw, turns)
  return building.build(raw, [*building.system(raw), *prompt, *turns], *known)


def question_answer(raw: Raw) -> Example:
  """`question` and `answer` (or `response`, as OpenOrca has it), with the text `context` behind the question where
  there is one; also `problem` and `solution`, `query` and `response`."""
  asked = next(key for key in ("question", "problem", "query") if key in raw)
  keys = ("answer", "response", "solution") if asked != "problem" else ("solution",)
  context = raw["context"] if isinstance(raw.get("context"), str) else ""  # of another type it is named as not read
  question = building.joined(_asked(raw, asked), fields.text(context, "`context`"))
  turns = building.reasoned(raw, [*building.system(raw), *building.pair(question, building.answer(raw, keys))])
  known = ("context",) if context else ()
  return building.build(raw, turns, asked, *known, *keys, *building.SYSTEM, *building.REASONING)


def input_output(raw: Raw) -> Example:
  """`input` and `output` alone."""
  said = building.pair(_asked(raw, "input"), building.answer(raw, ("output",)))
  turns = building.reasoned(raw, [*building.system(raw), *said])
  return building.build(raw, turns, "input", "output", *building.SYSTEM, *building.REASONING)


def flan(raw: Raw) -> Example:
  """`inputs` and `targets`, as FLAN and SeqIO have them; P3's `…_pretokenized` where they stand beside ids."""
  ending = "_pretokenized" if building.holds(raw, "inputs_pretokenized") else ""
  asked, said = f"inputs{ending}", f"targets{ending}"
  turns = building.pair(fields.text(raw[asked], f"`{asked}`"), building.answer(raw, (said,)))
  source = {key: raw[key] for key in ("task_name", "task_source", "template_type") if isinstance(raw.get(key), str)}
  row = {**raw, "source": {"dataset": source.get("task_name", source.get("task_source", "")), **source}}
  row = row if source and fields.is_null(raw.get("source")) else raw
  known = ("inputs", "targets", asked, said, *source)
  return building.build(row, building.reasoned(raw, turns), *known, *building.REASONING)


def natural(raw: Raw) -> Example:
  """An instance of Super-NaturalInstructions: `Definition`, `input`, and the list `output`, of which the first is
  learned and all are right."""
  definition = [] if fields.is_null(raw.get("Definition")) else raw["Definition"]
  definition = definition if isinstance(definition, list) else [definition]
  said = " ".join(fields.text(one, "`Definition`") for one in definition)
  asked = building.joined(said, fields.optional_text(raw, "input"))
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
  return building.build(row, building.pair(asked, answers[0]), unread=unread)


def seed_task(raw: Raw) -> Iterator[Example]:
  """A seed task of Self-Instruct: `instruction`, and `instances` of `input` and `output`, each of them an example."""
  instances = building.list_of(raw["instances"], "`instances`")
  if not instances:
    raise fields.BadRow("`instances` is empty: there is no answer")
  own = {key: value for key, value in raw.items() if key != "instances"}
  for number, instance in enumerate(instances):
    if not isinstance(instance, dict):
      raise fields.BadRow(f"`instances` {number} is {jsontext.shown(instance)}; it must be an object")
    named = {"id": f"{raw['id']}/{number}"} if number and building.holds(raw, "id") else {}
    yield alpaca({**own, **instance, **named})


def calls(raw: Raw) -> Example:
  """`query`, `tools`, and `answers`: the calls that answer it (xLAM, APIGen), as lists or JSON text of them."""
  asked = {"role": "user", "content": fields.text(raw["query"], "`query`")}
  made: dict[str, Any] = {"role": "assistant", "content": None}
  made["tool_calls"] = messages_lib.called(raw["answers"], "`answers`")
  if not made["tool_calls"]:
    raise fields.BadRow("`answers` holds no call")
  return building.build(raw, [*building.system(raw), asked, made], "query", "answers", *building.SYSTEM)


def _asked(raw: Raw, key: str) -> str:
  """The text of this column, which asks for the answer. Raises BadRow where it says nothing."""
  said = fields.text(raw[key], f"`{key}`")
  if not said.strip():
    raise fields.BadRow(f"`{key}` is empty: there is no question (a text without one is a row with `text` alone)")
  return said
