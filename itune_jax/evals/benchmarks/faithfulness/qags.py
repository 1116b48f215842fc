"""QAGS (Wang et al. 2020): 474 summaries whose sentences three people judged: is it supported by the article?

A sentence is supported where most say yes; a summary's human score is the share of such sentences, as the authors'.
Correlations of the model's support with it are given for CNN/Daily Mail and XSum apart.
"""

from collections.abc import Iterator
import os
from typing import Any

from itune_jax.core import check
from itune_jax.core import jsontext
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.evals import support

FILE = "mturk_*.jsonl"


def items(folder: folders.Folder) -> Iterator[protocol.Item]:
  """The summaries of all files that are there; ids are `xsum/3`."""
  for path in folder.files(FILE):
    name = os.path.basename(path).removeprefix("mturk_").partition(".")[0].partition("_")[0]
    for number, (where, row) in enumerate(folders.objects(path)):
      article = folders.field(row, "article", str, where)
      sentences = folders.field(row, "summary_sentences", list, where)
      check.require(sentences, f"{where}: 'summary_sentences' is empty")
      votes = [_supported(one, where) for one in sentences]
      yield protocol.Item(
        id=f"{name}/{number}",
        question=article,
        answer=sum(votes) / len(votes),
        tags={"dataset": name},
        shown={"text": " ".join(one["sentence"] for one in sentences)},
        where=where,
      )


def _supported(sentence: Any, where: str) -> bool:
  """Whether most people say that a sentence is supported."""
  check.require(isinstance(sentence, dict), f"{where}: a summary's sentence must be an object")
  folders.field(sentence, "sentence", str, where)
  said = [
    one.get("response") if isinstance(one, dict) else None for one in folders.field(sentence, "responses", list, where)
  ]
  is_voted = said and all(one in ("yes", "no") for one in said)
  check.require(is_voted, f"{where}: responses must be yes or no, they are {jsontext.shown(said)}")
  return said.count("yes") > len(said) / 2


def values(item: protocol.Item, score: float | None, said: bool | None) -> dict[str, Any]:
  """As `support.correlated`, with a summary taken for faithful where all of its sentences are."""
  found, label = support.correlated(item, score, said), int(item.answer == 1)
  pairs = {
    "auc": None if score is None else [label, score],
    "balanced_accuracy": [label, found["balanced_accuracy"][1]],
  }
  return found | pairs


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder with one or both files."""
  found = support.Judgements(
    name="qags", items=lambda: items(folder), values=values, metrics=support.CORRELATIONS, tags=("dataset",)
  )
  return found.benchmark(settings)


BENCHMARK = official.Published(
  name="qags",
  axis="faithfulness",
  title="QAGS: people's judgements of summaries",
  files=(FILE,),
  source="https://github.com/W4ngatang/qags (data/mturk_*.jsonl)",
  parity="published formulas, restated; correlations of SciPy",
  licence="none stated",
  size="1.2 MB",
  count=474,
  metric="pearson",
  variants=support.VARIANTS,
  subtask="dataset",
  make=make,
)
