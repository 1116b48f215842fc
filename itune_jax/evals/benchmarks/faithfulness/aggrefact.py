"""AggreFact (Tang et al. 2023): summaries with people's judgements; the released table of Goyal et al. 2021's errors.

A summary without an error is faithful (an error of the class "noise" alone, which is one of language, is left out and
counted). balanced_accuracy_tuned: the threshold is chosen on the rows of the cut `val`, and held to those of `test`, as
the authors do; balanced_accuracy takes the score's own middle on all rows.
"""

import ast
from collections.abc import Iterator
from typing import Any

from itune_jax.core import errors
from itune_jax.core import log
from itune_jax.evals import csv_rows
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.evals import support
from itune_jax.grading.statistics import human_agreement

FILE = "*error_types*.csv"
KINDS = ("intrinsic-NP", "intrinsic-predicate", "extrinsic-NP", "extrinsic-predicate", "entire_sent", "noise")
METRICS = {"balanced_accuracy_tuned": human_agreement.TunedBalancedAccuracy(), **support.CORRELATIONS}


def items(folder: folders.Folder) -> Iterator[protocol.Item]:
  """The summaries; ids are their places. Says how many are left out."""
  left = 0
  for number, (where, row) in enumerate(csv_rows.rows(folder, FILE)):
    doc, summary, cut = (csv_rows.filled(row, name, where) for name in ("doc", "summ", "cut"))
    if cut not in ("val", "test"):
      raise errors.InputError(f"{where}: 'cut' is {cut!r}: val or test")
    kinds = _kinds(row.get("error_type") or "", where)
    if kinds == ("noise",):
      left += 1
      continue
    yield protocol.Item(
      id=str(number),
      question=doc,
      answer=float(not kinds),
      tags={"origin": row.get("origin") or "", "cut": cut, "error": kinds or ("none",)},
      shown={"text": summary},
      where=where,
    )
  if left:
    log.info(f"aggrefact: {left} summaries have errors of language alone (noise): left out")


def _kinds(text: str, where: str) -> tuple[str, ...]:
  """The error types of a cell, which is a list as Python writes it, or empty."""
  try:
    found = ast.literal_eval(text) if text.strip() else []
  except (ValueError, SyntaxError):
    found = None
  if not isinstance(found, list) or not set(found) <= set(KINDS):
    raise errors.InputError(f"{where}: 'error_type' is {text!r}: a list of {', '.join(KINDS)}")
  return tuple(found)


def values(item: protocol.Item, score: float | None, said: bool | None) -> dict[str, Any]:
  """As `support.correlated`, and the triple with the cut."""
  triple = None if score is None else [item.tags["cut"], int(item.answer), score]
  return {**support.correlated(item, score, said), "balanced_accuracy_tuned": triple}


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder with the table."""
  found = support.Judgements(
    name="aggrefact", items=lambda: items(folder), values=values, metrics=METRICS, tags=("origin", "error")
  )
  return found.benchmark(settings)


BENCHMARK = official.Published(
  name="aggrefact",
  axis="faithfulness",
  title="AggreFact: errors of summaries",
  files=(FILE,),
  source="https://github.com/Liyan06/AggreFact (data/error_type_mapping)",
  parity="balanced accuracy and thresholds of the published steps",
  licence="none stated",
  size="0.4 MB",
  count=148,
  metric="balanced_accuracy_tuned",
  variants=support.VARIANTS,
  subtask="origin",
  make=make,
)
