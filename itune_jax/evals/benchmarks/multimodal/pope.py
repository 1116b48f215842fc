"""POPE: is an object in an image (Li et al. 2023)? Accuracy, precision, recall, F1, and the predictions' share of yes.

The images are those of COCO val2014, in `images/` or `val2014/` beside the questions. The variant `blind` asks without
them: what a model says by the question alone. An answer without yes or no counts as yes, as in the official script, and
shows in `unparsed`.
"""

from collections.abc import Iterator
import functools
import os
import re

from itune_jax.core import check
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import pictures
from itune_jax.evals import protocol
from itune_jax.grading import short_words
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.grading.statistics import pair_metrics
from itune_jax.sampling import requests as requests_lib

FILES = "*_pope_*.json*"
_KIND = re.compile(r"(\w+)_pope_(random|popular|adversarial)")


def items(folder: folders.Folder, variant: str) -> Iterator[protocol.Item]:
  """The questions of each file; an image is a cluster. Raises InputError for an image that is not there."""
  for path in folder.files(FILES):
    found = _KIND.search(os.path.basename(path))
    check.require(found, f"{path}: its name says no kind, as coco_pope_random.json does")
    source, kind = found.groups() if found else ("", "")
    for where, row in folders.objects(path):
      image, text, label = (folders.field(row, name, str, where) for name in ("image", "text", "label"))
      check.require(label in ("yes", "no"), f"{where}: the label is {label!r}; it is yes or no")
      parts = [pictures.text(text)]
      if variant == "image":
        names = [os.path.join(home, image) for home in ("images", "val2014", "")]
        parts = [pictures.of_file(folder, names, where), *parts]
      yield protocol.Item(
        id=f"{source}/{kind}/{folders.field(row, 'question_id', int, where)}",
        question=pictures.question(parts),
        answer=label,
        cluster=image,
        tags={"kind": kind},
        where=where,
      )


def grade(item: protocol.Item, answer: requests_lib.Response) -> protocol.Graded:
  """The official reading of the first sample."""
  said, label = short_words.pope(answer.text), item.answer
  both = said == label == "yes"
  values = {
    "acc": said == label,
    "precision": (int(both), int(said == "yes")),
    "recall": (int(both), int(label == "yes")),
    "f1": (label, said),
    "yes_ratio": said == "yes",
    "unparsed": not short_words.names_either(answer.text),
  }
  return protocol.Graded(values, {"chosen": said})


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder with questions and images."""
  return protocol.Benchmark(
    name="pope",
    items=functools.partial(items, folder, settings.variant),
    ask=official.generate(settings, limit=32, temperature=0.0),
    grade=protocol.each(grade),
    metrics={
      "acc": metrics_lib.Mean(),
      "precision": metrics_lib.MicroMean(),
      "recall": metrics_lib.MicroMean(),
      "f1": pair_metrics.MacroF1(labels=("yes",)),  # of the class yes alone
      "yes_ratio": metrics_lib.Mean(),
      "unparsed": metrics_lib.Mean("lower"),
    },
    tags=("kind",),
  )


BENCHMARK = official.Published(
  name="pope",
  axis="multimodal",
  title="POPE",
  files=(FILES,),
  source="https://github.com/AoiDragon/POPE (questions), https://cocodataset.org (images)",
  licence="MIT; images have their own",
  size="1 MB and 6 GB of images",
  metric="f1",
  make=make,
  variants=("image", "blind"),
  subtask="kind",
  parity="the official evaluate.py: the stored questions, 3,000 perturbed answers",
)
