"""PubMedQA-L: does an abstract answer its question by yes, no or maybe (Jin et al. 2019)?

| variant | context | asked |
|---|---|---|
| `required` | the abstract without its conclusion, lm-eval's prompt of `pubmedqa` | the likeliest of yes, no, maybe |
| `free` | the conclusion alone: the paper's reasoning-free setting | the same |
| `required_generate`, `free_generate` | the same | an answer; its first yes, no or maybe counts |

Accuracy and macro-F1 are the paper's figures. An answer without any of the three words is wrong and counted
(`unparsed`). Items are the 500 of the test split.
"""

from collections.abc import Iterator, Sequence
import functools
import re

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.grading.statistics import pair_metrics
from itune_jax.sampling import requests as requests_lib

LABELS = ("yes", "no", "maybe")
NONE = "none"
ASKS = "\nAnswer with yes, no or maybe."
_WORD = re.compile(r"\b(yes|no|maybe)\b", re.I)


def items(folder: folders.Folder, variant: str) -> Iterator[protocol.Item]:
  """The test questions. Raises InputError for a test id without a row, and for a label that is none of the three."""
  rows, wanted = folder.object("ori_pqal.json"), folder.object("test_ground_truth.json")
  generates = variant.endswith("_generate")
  for number, label in wanted.items():
    where = f"{folder.file('ori_pqal.json')}: {number}"
    check.require(number in rows, f"{where}: the test split names it, and it is not there")
    check.require(label in LABELS, f"{where}: its label is {label!r}; labels are {', '.join(LABELS)}")
    row = rows[number]
    question = folders.words(row, "QUESTION", where)
    if folders.field(row, "final_decision", str, where) != label:
      raise errors.InputError(f"{where}: final_decision is {row['final_decision']!r}, the test split has {label!r}")
    free = variant.startswith("free")
    context = row["LONG_ANSWER"] if free else "\n".join(folders.field(row, "CONTEXTS", list, where))
    end = ASKS if generates else "\nAnswer:"
    yield protocol.Item(
      id=number,
      question=f"Abstract: {context}\nQuestion: {question}{end}",
      choices=() if generates else tuple(" " + one for one in LABELS),
      answer=label,
      tags={"label": label},
      where=where,
    )


def said(text: str) -> str:
  """The first yes, no or maybe of an answer; `NONE` where there is none."""
  found = _WORD.search(text)
  return found[1].lower() if found else NONE


def likeliest(item: protocol.Item, answer: Sequence[requests_lib.Score]) -> protocol.Graded:
  """The first of the likeliest labels."""
  scores = [score.logprob for score in answer]
  return _graded(item, LABELS[scores.index(max(scores))])


def grade(item: protocol.Item, answer: requests_lib.Response) -> protocol.Graded:
  """The label that the first sample names."""
  return _graded(item, said(answer.text))


def _graded(item: protocol.Item, label: str) -> protocol.Graded:
  values = {"acc": label == item.answer, "macro_f1": (item.answer, label), "unparsed": label == NONE}
  return protocol.Graded(values, {"chosen": label})


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder with ori_pqal.json and test_ground_truth.json."""
  generates = settings.variant.endswith("_generate")
  how = official.generate(settings, limit=64, form="chat", temperature=0.0)
  # The classes are named: one that no answer and no label of a part has would change the mean over classes.
  metrics = {"acc": metrics_lib.Mean(), "macro_f1": pair_metrics.MacroF1(labels=LABELS)}
  return protocol.Benchmark(
    name="pubmedqa",
    items=functools.partial(items, folder, settings.variant),
    ask=how if generates else official.choose(settings),
    grade=protocol.each(grade if generates else likeliest),
    metrics=metrics | ({"unparsed": metrics_lib.Mean("lower")} if generates else {}),
  )


BENCHMARK = official.Published(
  name="pubmedqa",
  axis="medicine",
  title="PubMedQA-L",
  files=("ori_pqal.json", "test_ground_truth.json"),
  source="https://github.com/pubmedqa/pubmedqa",
  licence="MIT",
  size="2.6 MB",
  count=500,
  metric="acc",
  make=make,
  variants=("required", "free", "required_generate", "free_generate"),
  parity="the annotators' accuracy and macro-F1 of the paper, from the stored rows; lm-eval's prompt",
)
