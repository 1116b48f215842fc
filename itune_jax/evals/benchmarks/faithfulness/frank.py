"""FRANK (Pagnoni et al. 2021): 2,246 summaries of nine systems with people's judgements of their factuality.

Correlations are partial: what differs from system to system is taken off first, as the authors do. Texts are in
`benchmark_data.json`, judgements in `human_annotations.json`; both name a summary by hash and system. Rows of the
test split alone are asked.
"""

from collections.abc import Iterator
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.evals import support
from itune_jax.grading.statistics import human_agreement
from itune_jax.grading.statistics import pair_metrics

TEXTS, HUMAN = "benchmark_data*.json", "human_annotations*.json"
METRICS = {
  "partial_pearson": human_agreement.PartialPearson(),
  "partial_spearman": human_agreement.PartialSpearman(),
  "pearson": pair_metrics.Pearson(),
  "spearman": pair_metrics.Spearman(),
}


def judgements(folder: folders.Folder) -> dict[tuple[str, str], dict[str, Any]]:
  """The rows of people's judgements by hash and system. Raises InputError for two of one summary."""
  found: dict[tuple[str, str], dict[str, Any]] = {}
  for where, row in folders.objects(folder.files(HUMAN)[0]):
    key = folders.field(row, "hash", str, where), folders.field(row, "model_name", str, where)
    check.require(key not in found, f"{where}: summary {key[0]} of {key[1]} is judged twice")
    found[key] = {**row, "Factuality": float(folders.field(row, "Factuality", (int, float), where))}
  return found


def items(folder: folders.Folder) -> Iterator[protocol.Item]:
  """The summaries of the test split that people judged. Raises InputError where a summary has no judgement."""
  human = judgements(folder)
  for where, row in folders.objects(folder.files(TEXTS)[0]):
    one, system, article, summary = (
      folders.field(row, name, str, where) for name in ("hash", "model_name", "article", "summary")
    )
    if (one, system) not in human:
      raise errors.InputError(f"{where}: summary {one} of {system} has no row in {HUMAN}")
    judged = human[one, system]
    if judged.get("split") == "test":
      yield protocol.Item(
        id=f"{one}/{system}",
        question=article,
        answer=judged["Factuality"],
        cluster=one,
        tags={"dataset": str(judged.get("dataset", "")), "system": system},
        shown={"text": summary},
        where=where,
      )


def values(item: protocol.Item, score: float | None, said: bool | None) -> dict[str, Any]:
  """Pairs with what people say, and triples with the system."""
  del said
  pair = None if score is None else [item.answer, score]
  triple = None if pair is None else [*pair, item.tags["system"]]
  return {"partial_pearson": triple, "partial_spearman": triple, "pearson": pair, "spearman": pair}


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder with both files."""
  found = support.Judgements(
    name="frank", items=lambda: items(folder), values=values, metrics=METRICS, tags=("dataset",)
  )
  return found.benchmark(settings)


BENCHMARK = official.Published(
  name="frank",
  axis="faithfulness",
  title="FRANK: factuality of summaries",
  files=(TEXTS, HUMAN),
  source="https://github.com/artidoro/frank (data)",
  parity="the released partial correlations of 9 metrics, 320 rows",
  licence="MIT",
  size="12 MB",
  metric="partial_pearson",
  variants=support.VARIANTS,
  subtask="dataset",
  format_only=True,
  make=make,
)
