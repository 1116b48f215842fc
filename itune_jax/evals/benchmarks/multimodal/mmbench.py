"""MMBench: choices about images, asked in a circle (Liu et al. 2023): right only under every rotation of its options.

The file is a TSV with images in base64: `mmbench_dev_en.tsv` (index, question, hint, A to D, answer, category, image).
`vanilla` is the first rotation's accuracy, `each` that of all rotations; an answer without a letter is wrong in each.
"""

from collections.abc import Iterator
import functools

from itune_jax.core import check
from itune_jax.evals import circular
from itune_jax.evals import folders
from itune_jax.evals import lettered
from itune_jax.evals import official
from itune_jax.evals import pictures
from itune_jax.evals import protocol
from itune_jax.grading import letters
from itune_jax.grading.statistics import metrics as metrics_lib

FILE = "mmbench_dev*.tsv|MMBench_DEV*.tsv"
ASKS = "Answer with the option's letter from the given choices directly."


def items(folder: folders.Folder) -> Iterator[protocol.Item]:
  """The questions. Raises InputError for a row without the options that its answer names."""
  for where, row in folders.table(folders.one_of(folder, FILE), "\t"):
    names = [letters.letter(i) for i in range(26) if row.get(letters.letter(i), "").strip()]
    answer = folders.field(row, "answer", str, where)
    is_whole = answer in names and names == [letters.letter(i) for i in range(len(names))]
    check.require(is_whole, f"{where}: answer {answer!r}, options {', '.join(names)}: they stand from A on, it is one")
    hint = row.get("hint", "").strip()
    told = f"{hint + chr(10) if hint and hint != 'nan' else ''}{row['question']}\n{circular.PLACE}{ASKS}"
    image = pictures.of_bytes(folders.field(row, "image", str, where), where)
    yield lettered.item(
      [row[name] for name in names],
      names.index(answer),
      id=folders.field(row, "index", str, where),
      question=pictures.question([image, pictures.text(told)]),
      tags={"category": row.get("category", "")},
      where=where,
    )


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder."""
  how = official.generate(settings, limit=32, temperature=0.0)
  return protocol.Benchmark(
    name="mmbench",
    items=functools.partial(items, folder),
    ask=circular.Circular(how=how),
    grade=protocol.each(circular.grade),
    metrics={
      **dict.fromkeys(("circular", "vanilla", "each"), metrics_lib.Mean()),
      "unparsed": metrics_lib.Mean("lower"),
    },
    tags=("category",),
  )


BENCHMARK = official.Published(
  name="mmbench",
  axis="multimodal",
  title="MMBench, dev, circular",
  files=(FILE,),
  source="https://github.com/open-compass/MMBench",
  licence="Apache-2.0 (code)",
  size="40 MB",
  count=1164,
  metric="circular",
  make=make,
  subtask="category",
  format_only=True,
  parity="format only: the rotations of the paper; the official extractor asks a model of an endpoint",
)
