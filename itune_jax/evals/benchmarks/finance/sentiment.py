"""Sentiment of financial texts in PIXIU's form (Xie et al. 2023): what `fpb` and `fiqa_sa` share.

A row is a conversation (its first turn is the prompt, its second the label), or a row of flare (query, answer, choices,
gold). As PIXIU reads answers, the first of the choices, in their order, that stands in the lower-cased answer is the
label; else it is `missing`, a class of its own and wrong.

weighted_f1 and macro_f1 are scikit-learn's on (label, prediction). weighted_f1_published is what PIXIU prints: its call
has label and prediction in each other's place, so classes weigh as often as they are predicted.
"""

from collections.abc import Iterator
import dataclasses
import functools
from typing import Any

from itune_jax.core import check
from itune_jax.core import conversation
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.grading.statistics import pair_metrics
from itune_jax.sampling import requests as requests_lib

MISSING = "missing"
COLUMNS = ("query", "answer")


@dataclasses.dataclass(frozen=True)
class Set:
  """One of the two sets. pattern: its file. labels: in the order in which they are looked for."""

  name: str
  pattern: str
  labels: tuple[str, ...]


def items(folder: folders.Folder, which: Set) -> Iterator[protocol.Item]:
  """The rows. Raises InputError for a label that is none of the set's."""
  for where, row in folders.objects(folders.one_of(folder, which.pattern)):
    if "conversations" in row:
      turns = folders.field(row, "conversations", list, where)
      check.require(len(turns) == 2, f"{where}: has {len(turns)} turns; a prompt and its label are expected")
      prompt, label = (folders.words(turn, "value", f"{where}: turn {i}") for i, turn in enumerate(turns, 1))
    else:
      prompt, label = (folders.words(row, name, where) for name in COLUMNS)
    label = label.strip().lower()
    check.require(label in which.labels, f"{where}: the label is {label!r}; labels are {', '.join(which.labels)}")
    yield protocol.Item(
      id=str(folders.field(row, "id", (str, int), where)),
      question=conversation.of(prompt),
      answer=label,
      tags={"label": label},
      where=where,
    )


def said(text: str, labels: tuple[str, ...]) -> str:
  """The first label, in the order of the set, that stands in an answer; `MISSING` where none does."""
  lowered = text.strip().lower()
  return next((label for label in labels if label in lowered), MISSING)


def grade(item: protocol.Item, answer: requests_lib.Response, *, labels: tuple[str, ...]) -> protocol.Graded:
  """The label of the first sample."""
  label = said(answer.text, labels)
  pair = (item.answer, label)
  values: dict[str, Any] = {
    "acc": label == item.answer,
    "missing": label == MISSING,
    "weighted_f1_published": pair[::-1],
  }
  values |= dict.fromkeys(("weighted_f1", "macro_f1", "mcc"), pair)
  return protocol.Graded(values, {"chosen": label})


def make(folder: folders.Folder, settings: official.Settings, *, which: Set) -> protocol.Benchmark:
  """The benchmark of a folder with the set's file."""
  return protocol.Benchmark(
    name=which.name,
    items=functools.partial(items, folder, which),
    ask=official.generate(settings, limit=32, form="chat", temperature=0.0),
    grade=protocol.each(functools.partial(grade, labels=which.labels)),
    metrics={
      "acc": metrics_lib.Mean(),
      "weighted_f1": pair_metrics.WeightedF1(),
      "weighted_f1_published": pair_metrics.WeightedF1(labels=which.labels),
      "macro_f1": pair_metrics.MacroF1(labels=which.labels),
      "mcc": pair_metrics.Mcc(),
      "missing": metrics_lib.Mean("lower"),
    },
  )


def published(which: Set, title: str, licence: str, count: int) -> official.Published:
  """The row of the registry."""
  return official.Published(
    name=which.name,
    axis="finance",
    title=title,
    files=(which.pattern,),
    source="https://github.com/chancefocus/PIXIU",
    also=("fpb_fiqa",),
    licence=licence,
    size="3 MB",
    count=count,
    metric="weighted_f1",
    make=functools.partial(make, which=which),
    parity="PIXIU's process_results and scikit-learn's figures: all stored rows, two perturbed answers each",
  )
