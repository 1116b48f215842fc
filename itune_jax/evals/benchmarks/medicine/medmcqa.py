"""MedMCQA: four options from Indian medical entrance exams (Pal et al. 2022), asked as lm-eval's `medmcqa`.

The labels of the test split are not published, so the items are those of the validation split: `dev.json` (JSON lines,
`cop` from 1) of the official archive, or the hub's parquet (`cop` from 0).
"""

from collections.abc import Iterator
import functools

from itune_jax.core import check
from itune_jax.evals import folders
from itune_jax.evals import lettered
from itune_jax.evals import official
from itune_jax.evals import protocol

FILE = "dev.json|data/validation-*.parquet|validation*.parquet"
PROMPT = "Question: {}\nChoices:\n{}Answer:"
OPTIONS = ("opa", "opb", "opc", "opd")


def items(folder: folders.Folder) -> Iterator[protocol.Item]:
  """The questions of the validation split, tagged by subject. Raises InputError for an answer that is no option."""
  path = folders.one_of(folder, FILE)
  first = 0 if path.endswith(".parquet") else 1
  for number, (where, row) in enumerate(folders.objects(path)):
    question = folders.words(row, "question", where)
    options = [folders.field(row, name, str, where) for name in OPTIONS]
    right = folders.field(row, "cop", int, where)
    check.require(first <= right < first + 4, f"{where}: 'cop' is {right}; in this file options count from {first}")
    subject = row.get("subject_name")
    yield lettered.item(
      options,
      right - first,
      id=str(row.get("id") or number),
      question=PROMPT.format(question, lettered.listed(options)),
      tags={"subject": subject} if isinstance(subject, str) and subject else {},
      where=where,
    )


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder."""
  return lettered.benchmark("medmcqa", functools.partial(items, folder), settings, tags=("subject",))


BENCHMARK = official.Published(
  name="medmcqa",
  axis="medicine",
  title="MedMCQA (validation split)",
  files=(FILE,),
  source="https://github.com/medmcqa/medmcqa",
  hub="openlifescienceai/medmcqa",
  licence="MIT",
  size="2 MB",
  count=4183,
  metric="acc",
  make=make,
  variants=lettered.VARIANTS,
  subtask="subject",
  format_only=True,
  parity="lm-eval's prompt, character by character",
)
