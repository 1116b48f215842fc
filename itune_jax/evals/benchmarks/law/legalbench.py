"""LegalBench: up to 162 tasks of legal reasoning, each with its official prompt and scorer (Guha et al. 2023).

A folder of a task holds `base_prompt.txt`, whose {{column}} places are filled, and `test.tsv`. The official repository
has the examples alone: the variant `train` asks these. They stand in the prompt already, so its figures show that a
model reads its prompt, and nothing of the law.

Figures are given by task: `balanced_accuracy`, `f1`, or `accuracy`, by the task's kind (`grading/legalbench.py`). Over
all tasks of a kind they pool answers; LegalBench itself reports tasks.
"""

from collections.abc import Iterator
import functools
import os
import re
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import log
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.grading import legalbench
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.grading.statistics import pair_metrics
from itune_jax.sampling import requests as requests_lib

FILES = {"test": "*/test.tsv|tasks/*/test.tsv", "train": "*/train.tsv|tasks/*/train.tsv"}
FIGURE = {
  "exact": "balanced_accuracy",
  "ssla": "f1",
  "exceptions": "f1",
  **dict.fromkeys(("numeric", "definition", "citation"), "accuracy"),
}
_PLACE = re.compile(r"\{\{(.+?)\}\}")


def items(folder: folders.Folder, split: str) -> Iterator[protocol.Item]:
  """The rows of each task in the order of names; ids are task and place. Raises InputError for a row that lacks what
  its prompt names. Tasks that people judge are named and left out."""
  for path in folder.files(FILES[split]):
    home = os.path.dirname(path)
    task, prompt = os.path.basename(home), folders.text_of(os.path.join(home, "base_prompt.txt"))
    how = legalbench.kind(task)
    if how == "manual":
      log.info(f"legalbench: {task} is judged by people; its rows are left out")
      continue
    for number, (where, row) in enumerate(folders.table(path, "\t")):
      answer = folders.field(row, "answer", str, where)
      try:
        legalbench.value(how, "", answer)
      except ValueError:
        raise errors.InputError(f"{where}: the answer {answer[:40]!r} is no whole number, as {task} asks") from None
      question = _PLACE.sub(lambda place, row=row, where=where: folders.field(row, place[1], str, where), prompt)
      yield protocol.Item(
        id=f"{task}/{number}", question=question, answer=answer, tags={"task": task, "kind": how}, where=where
      )


def grade(item: protocol.Item, answer: requests_lib.Response) -> protocol.Graded:
  """The value of the first sample by the kind of its task; the other figures do not apply."""
  how = item.tags["kind"]
  check.require(isinstance(how, str), f"{item.called}: a task has one kind")
  found: Any = legalbench.value(how, answer.text, item.answer)  # pyright: ignore[reportArgumentType]
  values: dict[str, Any] = dict.fromkeys(("balanced_accuracy", "f1", "accuracy"))
  return protocol.Graded(values | {FIGURE[str(how)]: found})


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder of tasks."""
  return protocol.Benchmark(
    name="legalbench",
    items=functools.partial(items, folder, settings.variant),
    ask=official.generate(settings, limit=64, stop=("\n",), form="plain", temperature=0.0),
    grade=protocol.each(grade),
    metrics={
      "balanced_accuracy": pair_metrics.BalancedAccuracy(),
      "f1": metrics_lib.MicroMean(),
      "accuracy": metrics_lib.Mean(),
    },
    tags=("task", "kind"),
  )


BENCHMARK = official.Published(
  name="legalbench",
  axis="law",
  title="LegalBench",
  files=("*/base_prompt.txt|tasks/*/base_prompt.txt",),
  source="https://github.com/HazyResearch/legalbench; rows of the hub's nguha/legalbench",
  licence="each task its own",
  size="100 MB",
  metric="balanced_accuracy",
  make=make,
  variants=("test", "train"),
  subtask="task",
  parity="the official evaluation.py: 20 tasks, 600 perturbed answers each",
)
