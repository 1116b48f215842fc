"""FinQA: a question on a page of a report, answered by a program (Chen et al. 2021).

The prompt has the text, the table and the operations, and asks for the program alone. `execution` is the share whose
result is right, `program` the share whose program is; an answer without a program is wrong, and counted (`unparsed`).
"""

from collections.abc import Iterator
from typing import Any

from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.grading import finqa
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.sampling import requests as requests_lib

FILE = "test.json|test.jsonl"
ASKS = (
  "Answer with a program alone: steps with commas between them, such as subtract(5829, 5735), divide(#0, 5735). "
  f"Operations are {', '.join(finqa.OPERATIONS)}; each takes two arguments, those of a table the row's name and none. "
  "#0 is the result of the first step; const_100 is the number 100."
)


def items(folder: folders.Folder) -> Iterator[protocol.Item]:
  """The questions. Raises InputError for a gold program that cannot be read."""
  for where, row in folders.objects(folders.one_of(folder, FILE)):
    yield item(row, where)


def item(row: dict[str, Any], where: str) -> protocol.Item:
  """The item of a row. Raises InputError as `items` does."""
  qa = folders.field(row, "qa", dict, where)
  table = folders.field(row, "table", list, where)
  question, program = (folders.field(qa, name, str, where) for name in ("question", "program"))
  result = folders.field(qa, "exe_ans", (float, int, str), where)
  try:
    finqa.same(finqa.tokens(program), ["EOF"])
  except (ValueError, LookupError) as e:
    raise errors.InputError(f"{where}: the gold program {program[:60]!r} is none ({jsontext.said(e)})") from None
  before, behind = (" ".join(folders.field(row, name, list, where)) for name in ("pre_text", "post_text"))
  lines = "\n".join(" | ".join(map(str, cells)) for cells in table)
  return protocol.Item(
    id=folders.field(row, "id", str, where),
    question=f"{before}\n{lines}\n{behind}\n\nQuestion: {question}\n{ASKS}",
    answer={"program": program, "result": result, "table": table},
    cluster=str(row.get("filename", "")),
    where=where,
  )


def grade(item: protocol.Item, answer: requests_lib.Response) -> protocol.Graded:
  """The official verdicts on the first sample."""
  program = finqa.found(answer.text)
  said, gold = finqa.tokens(program), finqa.tokens(item.answer["program"])
  result = finqa.result(said, item.answer["table"])
  right = result is not None and result == item.answer["result"]
  values = {"execution": right, "program": bool(program) and finqa.same(gold, said), "unparsed": not program}
  return protocol.Graded(values, {"extracted": program, "result": result})


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder with test.json."""
  return protocol.Benchmark(
    name="finqa",
    items=lambda: items(folder),
    ask=official.generate(settings, limit=128, form="chat", temperature=0.0),
    grade=protocol.each(grade),
    metrics={"execution": metrics_lib.Mean(), "program": metrics_lib.Mean(), "unparsed": metrics_lib.Mean("lower")},
  )


BENCHMARK = official.Published(
  name="finqa",
  axis="finance",
  title="FinQA",
  files=(FILE,),
  source="https://github.com/czyssrs/FinQA",
  licence="MIT",
  size="9 MB",
  count=1147,
  metric="execution",
  make=make,
  format_only=True,
  parity="the official evaluate.py: 520 perturbed programs of its stored predictions",
)
