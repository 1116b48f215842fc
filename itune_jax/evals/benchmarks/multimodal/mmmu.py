"""MMMU: questions of college subjects with images among the words (Yue et al. 2024).

Files are the hub's parquet of the validation split, a folder a subject: `Art/validation-*.parquet`. Answers are read as
the official script reads them, but for those that name no choice: they are wrong and counted (`unparsed`), where the
script draws a letter by chance, so published figures are higher by a share of that.
"""

import ast
from collections.abc import Iterator, Mapping
import functools
import os
import re
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import pictures
from itune_jax.evals import protocol
from itune_jax.grading import letters
from itune_jax.grading import mmmu
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.sampling import requests as requests_lib

FILES = "*/validation-*.parquet|*/validation.jsonl"
CHOICE = "\n\nAnswer with the option's letter from the given choices directly."
OPEN = "\n\nAnswer the question using a single word or phrase."
_IMAGE = re.compile(r"<image (\d)>")


def items(folder: folders.Folder) -> Iterator[protocol.Item]:
  """The questions of each subject. Raises InputError for a row whose images, options or answer do not fit."""
  for path in folder.files(FILES):
    subject = os.path.basename(os.path.dirname(path))
    for where, row in folders.objects(path):
      yield _item(row, subject, where)


def _item(row: Mapping[str, Any], subject: str, where: str) -> protocol.Item:
  fields = dict(row)
  id, question, kind = (folders.field(fields, name, str, where) for name in ("id", "question", "question_type"))
  options, answer = _literal(fields.get("options"), where), _literal(fields.get("answer"), where)
  is_choice = kind == "multiple-choice"
  if is_choice:
    named = [letters.letter(i) for i in range(len(options))]
    check.require(len(options) > 1 and answer in named, f"{where}: the answer {answer!r} is no letter of its options")
    question += "\n" + "".join(f"({name}) {option}\n" for name, option in zip(named, options, strict=True))
  return protocol.Item(
    id=id,
    question=pictures.question(_parts(question.rstrip() + (CHOICE if is_choice else OPEN), fields, where)),
    answer=answer,
    tags={"subject": subject, "kind": kind},
    shown={"options": options},
    where=where,
  )


def _literal(value: Any, where: str) -> Any:
  """A list that stands as its Python text, as the files have options; other texts as they are."""
  if not isinstance(value, str) or not value.startswith("["):
    return value
  try:
    return ast.literal_eval(value)
  except (ValueError, SyntaxError):
    raise errors.InputError(f"{where}: {value[:60]!r} is no list") from None


def _parts(text: str, row: Mapping[str, Any], where: str) -> list[dict[str, str]]:
  """The text with its images where they are named; one that is not named stands in front."""
  parts, end = [], 0
  for place in _IMAGE.finditer(text):
    if before := text[end : place.start()].strip():
      parts.append(pictures.text(before))
    parts.append(_image(row, f"image_{place[1]}", where))
    end = place.end()
  parts.append(pictures.text(text[end:].strip()))
  return parts if _IMAGE.search(text) else [_image(row, "image_1", where), *parts]


def _image(row: Mapping[str, Any], name: str, where: str) -> dict[str, str]:
  value = row.get(name)
  check.require(value, f"{where}: has no {name}, which its question shows")
  return pictures.of_bytes(value["bytes"] if isinstance(value, Mapping) else value, f"{where}: {name}")


def grade(item: protocol.Item, answer: requests_lib.Response) -> protocol.Graded:
  """The official verdict on the first sample; a choice that is not named is wrong."""
  if item.tags["kind"] != "multiple-choice":
    return protocol.Graded({"acc": mmmu.is_open_right(answer.text, item.answer), "unparsed": False})
  found = mmmu.letter(answer.text, item.shown["options"])
  return protocol.Graded({"acc": found == item.answer, "unparsed": found is None}, {"chosen": found})


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder of subjects."""
  return protocol.Benchmark(
    name="mmmu",
    items=functools.partial(items, folder),
    ask=official.generate(settings, limit=128, temperature=0.0),
    grade=protocol.each(grade),
    metrics={"acc": metrics_lib.Mean(), "unparsed": metrics_lib.Mean("lower")},
    tags=("subject", "kind"),
  )


BENCHMARK = official.Published(
  name="mmmu",
  axis="multimodal",
  title="MMMU, validation",
  files=(FILES,),
  source="https://huggingface.co/datasets/MMMU/MMMU",
  hub="MMMU/MMMU",
  licence="Apache-2.0",
  size="0.4 GB",
  count=900,
  metric="acc",
  make=make,
  subtask="subject",
  format_only=True,
  parity="the official eval_utils.py: 3,000 perturbed answers",
)
