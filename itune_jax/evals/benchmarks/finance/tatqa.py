"""TAT-QA: questions on a table with its paragraphs, answers with a scale (Zhu et al. 2021).

The prompt asks for JSON: {"answer": [spans or a number], "scale": …}. What is no such object is taken as one span
without a scale, and counted (`unparsed`). Scores are those of the official script (`grading/tatqa.py`).
"""

from collections.abc import Iterator
import json
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.grading import tatqa
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.sampling import requests as requests_lib

FILE = "tatqa_dataset_dev*.json|tatqa_dataset_test_gold.json"
_NOTHING = ("", "nan", "inf", "-inf", "True", "False", "None")  # as texts of values that are no answer
KINDS = ("span", "multi-span", "arithmetic", "count")
ASKS = (
  'Answer with one JSON object and nothing else: {"answer": [the spans of the text, or one number], "scale": one of '
  '"", "thousand", "million", "billion", "percent"}.'
)


def items(folder: folders.Folder) -> Iterator[protocol.Item]:
  """The questions of each document, which is their cluster. Raises InputError for one of another form."""
  for where, document in folders.objects(folders.one_of(folder, FILE)):
    table = folders.field(folders.field(document, "table", dict, where), "table", list, where)
    paragraphs = folders.field(document, "paragraphs", list, where)
    placed = sorted((folders.field(one, "order", int, where), i, one) for i, one in enumerate(paragraphs))
    texts = [folders.field(one, "text", str, where) for _, _, one in placed]
    context = "\n".join([*(_line(row, where) for row in table), "", *texts])
    for row in folders.field(document, "questions", list, where):
      yield _item(row, context, document["table"]["uid"], where)


def _line(row: Any, where: str) -> str:
  """A line of the table. Raises InputError for cells that are neither text nor numbers."""
  is_line = isinstance(row, list) and all(isinstance(cell, (str, int, float)) for cell in row)
  check.require(is_line, f"{where}: a row of the table is {jsontext.shown(row)}; it is a list of texts")
  return " | ".join(map(str, row))


def _item(row: dict[str, Any], context: str, document: str, where: str) -> protocol.Item:
  uid, question, kind, scale = (
    folders.field(row, name, str, where) for name in ("uid", "question", "answer_type", "scale")
  )
  check.require(kind in KINDS, f"{where}: answer_type is {kind!r}; it is one of {', '.join(KINDS)}")
  check.require(scale in tatqa.SCALES, f"{where}: scale is {scale!r}; it is one of {', '.join(tatqa.SCALES[1:])}, ''")
  check.require("answer" in row, f"{where}: question {uid} has no answer: these are questions without labels")
  try:
    spans = tatqa.gold_spans(row["answer"], kind)
  except (TypeError, ValueError, OverflowError) as e:
    raise errors.InputError(f"{where}: question {uid}: {jsontext.said(e)}") from None
  says = spans and all(isinstance(one, str) for one in spans) and "".join(spans).strip() not in _NOTHING
  check.require(says, f"{where}: question {uid}: its answer is {jsontext.shown(row['answer'])}, which says nothing")
  return protocol.Item(
    id=uid,
    question=f"{context}\n\nQuestion: {question}\n{ASKS}",
    answer={"answer": row["answer"], "kind": kind, "scale": scale},
    cluster=document,
    tags={"kind": kind, "from": str(row.get("answer_from", ""))},
    where=where,
  )


def said(text: str) -> tuple[list[Any], str] | None:
  """Spans and scale of an answer; None where it is no object of this form, or its spans are of several types."""
  start, end = text.find("{"), text.rfind("}")
  try:
    found = json.loads(text[start : end + 1]) if start >= 0 else None
  except (ValueError, RecursionError):
    return None
  if not isinstance(found, dict) or "answer" not in found:
    return None
  spans, scale = found["answer"], found.get("scale") or ""
  spans = spans if isinstance(spans, list) else [spans]
  plain = all(isinstance(one, str) for one in spans) or all(type(one) in (int, float) for one in spans)
  return (spans, scale) if plain and isinstance(scale, str) else None


def grade(item: protocol.Item, answer: requests_lib.Response) -> protocol.Graded:
  """The official verdicts on the first sample."""
  found = said(answer.text)
  plain = answer.text.strip()
  spans, scale = found or ([plain] if plain else [], "")
  em, f1, right = tatqa.verdict(item.answer["answer"], item.answer["kind"], item.answer["scale"], spans, scale)
  shown = {"extracted": spans, "scale_said": scale}
  return protocol.Graded({"em": em, "f1": f1, "scale": right, "unparsed": found is None}, shown)


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder."""
  return protocol.Benchmark(
    name="tatqa",
    items=lambda: items(folder),
    ask=official.generate(settings, limit=128, form="chat", temperature=0.0),
    grade=protocol.each(grade),
    metrics={**dict.fromkeys(("em", "f1", "scale"), metrics_lib.Mean()), "unparsed": metrics_lib.Mean("lower")},
    tags=("kind", "from"),
  )


BENCHMARK = official.Published(
  name="tatqa",
  axis="finance",
  title="TAT-QA",
  files=(FILE,),
  source="https://github.com/NExTplusplus/TAT-QA",
  licence="CC BY 4.0",
  size="2 MB",
  count=0,
  metric="f1",
  make=make,
  subtask="kind",
  parity="the official tatqa_metric.py: 4,000 perturbed answers to the stored questions",
)
