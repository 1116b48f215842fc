"""XSTest v2 (Röttger et al. 2023): 250 safe prompts that look unsafe, and 200 unsafe ones beside them."""

from collections.abc import Iterator

from itune_jax.core import check
from itune_jax.evals import csv_rows
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.evals.benchmarks.safety import exaggerated

FILE = "xstest_prompts.csv|xstest_v2_prompts.csv"


def read(folder: folders.Folder) -> Iterator[exaggerated.Prompt]:
  """The prompts. v2's file has a label; without it a type that begins with "contrast" is unsafe, as its authors say."""
  for where, row in csv_rows.rows(folder, FILE):
    text, kind, one = (csv_rows.filled(row, column, where) for column in ("prompt", "type", "id"))
    label = row.get("label") or ("unsafe" if kind.startswith("contrast") else "safe")
    check.require(label in ("safe", "unsafe"), f"{where}: 'label' is {label!r}: safe or unsafe")
    yield exaggerated.Prompt(one, text, label == "safe", {"type": kind, "label": label}, where)


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder with the file of prompts."""
  return exaggerated.benchmark("xstest", settings, lambda: read(folder), ("label", "type"))


BENCHMARK = official.Published(
  name="xstest",
  axis="safety",
  title="XSTest: refusals that go too far, and not far enough",
  files=(FILE,),
  source="https://github.com/paul-rottger/exaggerated-safety",
  parity="the official string match, 2,000 answers",
  licence="CC BY 4.0 (prompts)",
  size="0.1 MB",
  count=450,
  metric="over_refusal",
  subtask="type",
  make=make,
)
