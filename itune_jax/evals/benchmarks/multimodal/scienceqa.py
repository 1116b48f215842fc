"""ScienceQA-IMG: the questions of ScienceQA's test split that have an image (Lu et al. 2022).

Files are the official `problems.json` and `test/ID/image.png`. Figures by subject and by grade band, as the paper.
"""

from collections.abc import Iterator
import functools

from itune_jax.evals import folders
from itune_jax.evals import lettered
from itune_jax.evals import official
from itune_jax.evals import pictures
from itune_jax.evals import protocol

ASKS = "Answer with the option's letter from the given choices directly."


def items(folder: folders.Folder) -> Iterator[protocol.Item]:
  """The questions with an image, in the order of the file."""
  path = folder.file("problems.json")
  for id, row in folder.object("problems.json").items():
    where = f"{path}: {id}"
    if row.get("split") != "test" or not row.get("image"):
      continue
    question, hint, subject = (folders.field(row, name, str, where) for name in ("question", "hint", "subject"))
    choices = [str(one) for one in folders.field(row, "choices", list, where)]
    context = f"Context: {hint}\n" if hint else ""
    told = f"{context}{question}\n{lettered.listed(choices)}{ASKS}"
    image = pictures.of_file(folder, (f"test/{id}/{row['image']}", f"images/test/{id}/{row['image']}"), where)
    grade = int(str(row.get("grade", "grade0")).removeprefix("grade") or 0)
    yield lettered.item(
      choices,
      folders.field(row, "answer", int, where),
      id=id,
      question=pictures.question([image, pictures.text(told)]),
      tags={"subject": subject, "grades": "1-6" if grade <= 6 else "7-12"},
      where=where,
    )


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder."""
  return lettered.benchmark("scienceqa", functools.partial(items, folder), settings, tags=("subject", "grades"))


BENCHMARK = official.Published(
  name="scienceqa",
  axis="multimodal",
  title="ScienceQA-IMG",
  files=("problems.json",),
  source="https://github.com/lupantech/ScienceQA",
  licence="CC BY-NC-SA 4.0",
  size="0.7 GB",
  count=2017,
  metric="acc",
  make=make,
  variants=("generate", "letter"),
  subtask="subject",
  format_only=True,
  parity="format only: accuracy of letters",
)
