"""Questions about charts and tables, answered by a number or a word: relaxed accuracy (ChartQA, Masry et al. 2022).

Files are the official JSON lists of imgname, query and label, `test_human.json` and `test_augmented.json`, with their
images in `png/`. Any set of questions about rendered tables in this form is read as well.
"""

from collections.abc import Iterator
import functools
import os

from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import pictures
from itune_jax.evals import protocol
from itune_jax.grading import short_words
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.sampling import requests as requests_lib

FILES = "test_*.json|test/test_*.json"
ASKS = "\nAnswer the question using a single word or phrase."


def items(folder: folders.Folder) -> Iterator[protocol.Item]:
  """The questions of each file, tagged by it; an image is a cluster."""
  for path in folder.files(FILES):
    part = os.path.basename(path).partition(".")[0].removeprefix("test_")
    for number, (where, row) in enumerate(folders.objects(path)):
      name, query = (folders.field(row, key, str, where) for key in ("imgname", "query"))
      image = pictures.of_file(folder, [os.path.join(home, name) for home in ("png", "test/png", "images")], where)
      yield protocol.Item(
        id=f"{part}/{number}",
        question=pictures.question([image, pictures.text(query + ASKS)]),
        answer=str(folders.field(row, "label", (str, int, float), where)),
        cluster=name,
        tags={"part": part},
        where=where,
      )


def grade(item: protocol.Item, answer: requests_lib.Response) -> dict[str, bool]:
  """The first sample without white space and a full stop at its end."""
  said = answer.text.strip()
  return {"relaxed": short_words.relaxed(said.removesuffix("."), item.answer), "exact": said == item.answer}


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder."""
  return protocol.Benchmark(
    name="chartqa",
    items=functools.partial(items, folder),
    ask=official.generate(settings, limit=32, temperature=0.0),
    grade=protocol.each(grade),
    metrics={"relaxed": metrics_lib.Mean(), "exact": metrics_lib.Mean()},
    tags=("part",),
  )


BENCHMARK = official.Published(
  name="chartqa",
  axis="multimodal",
  title="ChartQA, and tables in its form",
  files=(FILES,),
  source="https://github.com/vis-nlp/ChartQA",
  licence="GPL-3.0",
  size="0.1 GB",
  count=2500,
  metric="relaxed",
  make=make,
  subtask="part",
  format_only=True,
  parity="format only: the published formula; lm-eval's task has rules of its own",
)
