"""FaithDial's audit (Dziri et al. 2022): 800 answers in dialogues of Wizard of Wikipedia, labelled by experts (BEGIN).

An answer is faithful that is "entailment" alone, or "entailment, uncooperative"; one that holds a hallucination, in
part too, is not. "Generic" and "uncooperative" alone say nothing that could be wrong: they are left out, and counted.
"""

from collections.abc import Iterator
import os

from itune_jax.core import errors
from itune_jax.core import log
from itune_jax.evals import csv_rows
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.evals import support

FILE = "*wow*.csv"
LABELS = {
  "entailment": True,
  "entailment,uncooperative": True,
  "entailmentt,uncooperative": True,  # so it stands in one row of the official files
  "hallucination": False,
  "partial hallucination": False,
  "entailment,hallucination": False,
  "generic": None,
  "uncooperative": None,
}
# By the names that files of models have, and that of people.
SOURCES, LABEL = ("evidence", "knowledge"), ("BEGIN", "begin_label")
ANSWERS = ("response", "ctrl", "doha", "gpt2")


def items(folder: folders.Folder) -> Iterator[protocol.Item]:
  """The answers of all files that are there; ids are `wow_gold/3`. Says how many are left out."""
  left = 0
  for path in folder.files(FILE):
    name = os.path.basename(path).partition(".")[0]
    for number, (where, row) in enumerate(csv_rows.rows(folder, os.path.basename(path))):
      source, said, label = (_column(row, names, where) for names in (SOURCES, ANSWERS, LABEL))
      if label.strip().lower() not in LABELS:
        raise errors.InputError(f"{where}: the BEGIN label {label!r} is none of {', '.join(LABELS)}")
      faithful = LABELS[label.strip().lower()]
      if faithful is None:
        left += 1
        continue
      yield protocol.Item(
        id=f"{name}/{number}",
        question=source,
        answer=float(faithful),
        tags={"system": name, "begin": label.strip().lower()},
        shown={"text": said, "history": row.get("history") or ""},
        where=where,
      )
  if left:
    log.info(f"faithdial: {left} answers are generic or uncooperative alone: left out")


def _column(row: dict[str, str], names: tuple[str, ...], where: str) -> str:
  found = [name for name in names if name in row]
  if len(found) != 1:
    raise errors.InputError(f"{where}: one column of {', '.join(names)} is expected; it has {', '.join(row)}")
  return csv_rows.filled(row, found[0], where)


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder with tables of the audit."""
  found = support.Judgements(
    name="faithdial",
    items=lambda: items(folder),
    values=support.correlated,
    metrics=support.CORRELATIONS,
    tags=("system", "begin"),
  )
  return found.benchmark(settings)


BENCHMARK = official.Published(
  name="faithdial",
  axis="faithfulness",
  title="FaithDial: answers that keep to their knowledge",
  files=(FILE,),
  source="https://github.com/McGill-NLP/FaithDial (data-audit; name files wow_SYSTEM.csv)",
  also=("faithdial_audit",),
  parity="not compared: the released labels are read as they are",
  licence="MIT",
  size="0.3 MB",
  metric="auc",
  variants=support.VARIANTS,
  subtask="system",
  make=make,
)
