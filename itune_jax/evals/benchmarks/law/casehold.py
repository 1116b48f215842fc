"""CaseHOLD: which of five holdings a citation stands for (Zheng et al. 2021); the paper's figure is macro-F1.

Files are the authors' `test.csv` (citing_prompt, holding_0 … holding_4, label), or JSON lines or parquet with these.
"""

from collections.abc import Iterator
import functools

from itune_jax.core import check
from itune_jax.evals import folders
from itune_jax.evals import lettered
from itune_jax.evals import official
from itune_jax.evals import protocol

FILE = "test.csv|test.jsonl|*/test-*.parquet|test*.parquet"
PROMPT = "{}\nWhich holding does the citation stand for?\n{}Answer:"


def items(folder: folders.Folder) -> Iterator[protocol.Item]:
  """The citations; ids are their places. Raises InputError for a label that is none of the five."""
  path = folders.one_of(folder, FILE)
  rows = folders.table(path, ",") if path.removesuffix(".gz").endswith(".csv") else folders.objects(path)
  for number, (where, row) in enumerate(rows):
    passage = folders.words(row, "citing_prompt", where)
    holdings = [folders.field(row, f"holding_{i}", str, where) for i in range(5)]
    label = str(folders.field(row, "label", (str, int), where))
    check.require(label in "01234" and len(label) == 1, f"{where}: label {label!r} is no number of a holding, 0 to 4")
    prompt = PROMPT.format(passage, lettered.listed(holdings))
    yield lettered.item(holdings, int(label), id=str(number), question=prompt, where=where)


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder."""
  return lettered.benchmark("casehold", functools.partial(items, folder), settings, macro_f1=True)


BENCHMARK = official.Published(
  name="casehold",
  axis="law",
  title="CaseHOLD",
  files=(FILE,),
  source="https://github.com/reglab/casehold",
  hub="casehold/casehold",
  licence="Apache-2.0",
  size="9 MB",
  count=5314,
  metric="macro_f1",
  make=make,
  variants=lettered.VARIANTS,
  format_only=True,
  parity="macro-F1 of scikit-learn, which the official script calls",
)
