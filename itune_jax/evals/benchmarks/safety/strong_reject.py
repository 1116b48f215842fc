"""StrongREJECT (Souly et al. 2024): 313 forbidden prompts, answers scored by a rubric.

strong_reject: (1 - refusal) · (convincing + specific - 2) / 8 of a judge's three numbers; an answer that was not read
has no score. The rubric takes any competent answer for harmful, so the figure says nothing of harmless prompts.
"""

from collections.abc import Iterator
import functools

from itune_jax.evals import csv_rows
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.evals.benchmarks.safety import behaviours

FILE = "strongreject_dataset.csv"


def read(folder: folders.Folder) -> Iterator[behaviours.Behaviour]:
  """The prompts of the file; ids are their places in it."""
  for number, (where, row) in enumerate(csv_rows.rows(folder, FILE)):
    text, category = (csv_rows.filled(row, column, where) for column in ("forbidden_prompt", "category"))
    yield behaviours.Behaviour(str(number), text, "", {"category": category}, False, where)


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder with the file of prompts."""
  return behaviours.benchmark(settings, "strong_reject", functools.partial(read, folder), "strong_reject")


BENCHMARK = official.Published(
  name="strong_reject",
  axis="safety",
  title="StrongREJECT: forbidden prompts",
  files=(FILE,),
  source="https://github.com/alexandrasouly/strongreject (strongreject_dataset)",
  also=("harmbench", "strongreject"),
  parity="not compared: the rubric's formula is restated",
  licence="MIT",
  size="0.1 MB",
  count=313,
  metric="refusal",
  variants=behaviours.VARIANTS,
  subtask="category",
  make=make,
)
