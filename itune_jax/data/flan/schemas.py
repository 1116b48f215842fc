"""The rows of a FLAN task, by sub-mixture, and tasks of Super-NaturalInstructions poured into any of them.

flan2021, t0: `input`, `answer`, perhaps `options`; also P3's `inputs_pretokenized`, `targets_pretokenized`,
`answer_choices`. niv2: `definition`, `input`, `answer`. cot: `question`, `rationale`, `answer`, perhaps `options`.
dialog: `dialog`, a list of turns of which the last is the answer, or `history` and `answer`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.data import fields
from itune_jax.data.origins import super_ni

MOST_OPTIONS = 12  # a task with so few different answers is one of classes
_P3 = {"input": "inputs_pretokenized", "answer": "targets_pretokenized", "options": "answer_choices"}


def read(sub_mixture: str, raw: Any) -> Mapping[str, Any] | str:
  """The fields of a row, or why it is none."""
  try:
    row = fields.decoded(raw, "the row", dict)
    if sub_mixture in ("flan2021", "t0"):
      row = {**{name: row[other] for name, other in _P3.items() if other in row}, **row}
    if sub_mixture == "dialog":
      row = _dialog(row)
    for name in NAMES[sub_mixture]:
      if not fields.optional_text(row, name).strip():
        raise fields.BadRow(f"its `{name}` is empty or missing")
  except fields.BadRow as e:
    return str(e)
  return row


NAMES: Mapping[str, tuple[str, ...]] = {
  "flan2021": ("input", "answer"),
  "t0": ("input", "answer"),
  "niv2": ("definition", "input", "answer"),
  "cot": ("question", "rationale", "answer"),
  "dialog": ("history", "answer"),
}


def of_super_ni(sub_mixture: str, value: Mapping[str, Any], where: str) -> Iterator[Mapping[str, Any] | str]:
  """The instances of a task file in the fields of a sub-mixture.

  As cot the rationale of an instance is the explanation of the positive example of its number, round and round: the
  task files explain nothing else. As dialog the definition, the example and the input are the turns. Raises InputError
  for a file that is no task.
  """
  instances = value.get("Instances")
  if not isinstance(instances, list):
    raise errors.InputError(f"{where}: a task file of Super-NaturalInstructions has a list `Instances`")
  answers = {one for instance in instances if (one := _answer(instance))}
  options = sorted(answers) if 2 <= len(answers) <= MOST_OPTIONS else []
  for number, instance in enumerate(instances):
    try:
      asked, said = super_ni.instance_of(instance)
      yield read(sub_mixture, _poured(sub_mixture, dict(value), asked, said[0], options, number))
    except fields.BadRow as e:
      yield str(e)


def _poured(
  sub_mixture: str, value: dict[str, Any], asked: str, answer: str, options: list[str], number: int
) -> dict[str, Any]:
  definition = super_ni.definition_of(value)
  whole = f"{definition}\n\n{asked.strip()}"
  if sub_mixture == "niv2":
    return {"definition": definition, "input": asked, "answer": answer}
  if sub_mixture in ("flan2021", "t0"):
    return {"input": whole, "answer": answer, "options": options}
  examples = [one for one in value.get("Positive Examples") or [] if isinstance(one, dict)]
  example = examples[number % len(examples)] if examples else {}
  if sub_mixture == "cot":
    return {"question": whole, "rationale": example.get("explanation"), "answer": answer, "options": options}
  turns = [
    definition,
    *([f"{example.get('input', '')}", f"{example.get('output', '')}"] if example else []),
    asked,
    answer,
  ]
  return {"dialog": turns}


def _answer(instance: Any) -> str:
  given = instance.get("output") if isinstance(instance, Mapping) else None
  first = given[0] if isinstance(given, list) and given else given
  return first if isinstance(first, str) else ""


def _dialog(row: dict[str, Any]) -> dict[str, Any]:
  if "dialog" not in row:
    return row
  turns = row["dialog"]
  if not isinstance(turns, list) or len(turns) < 2:
    raise fields.BadRow(f"its `dialog` is {jsontext.shown(turns)}; it must be a list of two turns or more")
  said = [fields.text(one, f"turn {i + 1}").strip() for i, one in enumerate(turns)]
  return {**row, "history": "\n".join(f"- {one}" for one in said[:-1]), "answer": said[-1]}
