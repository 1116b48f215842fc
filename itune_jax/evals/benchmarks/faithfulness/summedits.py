"""SummEdits (Laban et al. 2023): summaries of ten domains that were edited, and whether the edit keeps to the document.

balanced_accuracy: the mean of the domains' balanced accuracies, the authors' figure. An answer that is neither yes nor
no is wrong.
"""

from collections.abc import Iterator
import os
from typing import Any

from itune_jax.core import check
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.evals import support
from itune_jax.grading.statistics import human_agreement
from itune_jax.grading.statistics import pair_metrics

FILE = "summedits_*.json*"
METRICS = {"balanced_accuracy": human_agreement.MeanBalancedAccuracy(), "auc": pair_metrics.Auc()}


def items(folder: folders.Folder) -> Iterator[protocol.Item]:
  """The summaries of all domains that are there; clusters are documents."""
  seen: set[str] = set()
  for path in folder.files(FILE):
    domain = os.path.basename(path).removeprefix("summedits_").partition(".")[0]
    for number, (where, row) in enumerate(folders.objects(path)):
      doc, summary, name = (folders.words(row, name, where) for name in ("doc", "summary", "id"))
      label = folders.field(row, "label", int, where)
      check.require(label in (0, 1), f"{where}: 'label' is {label}: 0 or 1")
      called = f"{domain}/{name}"
      called = f"{called}/{number}" if called in seen else called
      seen.add(called)
      yield protocol.Item(
        id=called,
        question=doc,
        answer=float(label),
        cluster=f"{domain}/{name.rpartition('_')[0] or name}",
        tags={"domain": domain},
        shown={"text": summary},
        where=where,
      )


def values(item: protocol.Item, score: float | None, said: bool | None) -> dict[str, Any]:
  """The domain with label and verdict, and the label with the score."""
  label = int(item.answer)
  return {
    "balanced_accuracy": [item.tags["domain"], label, -1 if said is None else int(said)],
    "auc": None if score is None else [label, score],
  }


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder with files of domains."""
  found = support.Judgements(
    name="summedits", items=lambda: items(folder), values=values, metrics=METRICS, tags=("domain",)
  )
  return found.benchmark(settings)


BENCHMARK = official.Published(
  name="summedits",
  axis="faithfulness",
  title="SummEdits: edits that keep to the document",
  files=(FILE,),
  source="https://github.com/salesforce/factualNLG (data/summedits)",
  parity="balanced accuracy of scikit-learn",
  licence="Apache-2.0",
  size="20 MB",
  metric="balanced_accuracy",
  variants=support.VARIANTS,
  subtask="domain",
  make=make,
)
