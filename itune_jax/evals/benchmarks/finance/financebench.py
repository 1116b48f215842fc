"""FinanceBench: open questions on public filings (Islam et al. 2023).

The paper's answers were judged by people; there is no official program. What stands here is the project's own, and is
called so: `number_match`, where the right answer is an amount (the share whose answer has that number, to the digits
that the right one is written with), `f1` of words for the others, and `refused`. Variants: `evidence` puts the pages
that hold the answer into the prompt (the paper's oracle), `closed` asks without them.
"""

from collections.abc import Iterator
import decimal
import functools
import re

from itune_jax.core import check
from itune_jax.core import conversation
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.grading import numbers
from itune_jax.grading import squad
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.sampling import requests as requests_lib

FILE = "financebench_open_source.jsonl"
_AMOUNT = re.compile(r"[-$(\s]*[\d.,]+\s*%?\)?\s*(?:million|billion|thousand|USD)?\.?\s*")
_REFUSED = re.compile(r"\b(cannot|can't|unable to|not (?:enough|able|provided|available)|no information)\b", re.I)


def items(folder: folders.Folder, variant: str) -> Iterator[protocol.Item]:
  """The questions; a filing is a cluster."""
  for where, row in folders.objects(folders.one_of(folder, FILE)):
    question, answer = (folders.words(row, name, where) for name in ("question", "answer"))
    evidence = [folders.words(one, "evidence_text", where) for one in folders.field(row, "evidence", list, where)]
    check.require(evidence or variant == "closed", f"{where}: has no evidence; the variant `closed` asks without")
    pages = "\n\n".join(evidence)
    prompt = f"Question: {question}\nContext:\n{pages}" if variant == "evidence" else question
    yield protocol.Item(
      id=folders.field(row, "financebench_id", str, where),
      question=conversation.of(prompt),
      answer=answer,
      cluster=folders.field(row, "doc_name", str, where),
      tags={"type": folders.field(row, "question_type", str, where)},
      where=where,
    )


def grade(item: protocol.Item, answer: requests_lib.Response) -> protocol.Graded:
  """The first sample by the project's own rules."""
  is_amount = bool(_AMOUNT.fullmatch(item.answer))
  values = {
    "number_match": has_amount(answer.text, item.answer) if is_amount else None,
    "f1": None if is_amount else squad.f1(answer.text, [item.answer]),
    "refused": bool(_REFUSED.search(answer.text)),
  }
  return protocol.Graded(values)


def has_amount(text: str, gold: str) -> bool:
  """Whether a number of a text is the right one when rounded to its digits; signs count."""
  (right,) = numbers.all_of(gold)[:1] or (None,)
  if right is None:
    return False
  digits = right.normalize().as_tuple().exponent
  step = decimal.Decimal(1).scaleb(min(digits, 0) if isinstance(digits, int) else 0)
  return any(abs(one - right) <= step / 2 for one in numbers.all_of(text))


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder."""
  return protocol.Benchmark(
    name="financebench",
    items=functools.partial(items, folder, settings.variant),
    ask=official.generate(settings, limit=256, temperature=0.0),
    grade=protocol.each(grade),
    metrics={"number_match": metrics_lib.Mean(), "f1": metrics_lib.Mean(), "refused": metrics_lib.Mean("lower")},
    tags=("type",),
  )


BENCHMARK = official.Published(
  name="financebench",
  axis="finance",
  title="FinanceBench, open sample",
  files=(FILE,),
  source="https://github.com/patronus-ai/financebench",
  licence="none stated: evaluation only",
  size="1 MB",
  count=150,
  metric="number_match",
  make=make,
  variants=("evidence", "closed"),
  parity="none: the paper's answers were judged by people; the figures are the project's own",
)
