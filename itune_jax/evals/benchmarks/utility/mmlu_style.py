"""Any multiple-choice questions in the files of MMLU: CSV, JSON lines or parquet (`mmlu` says how they look).

Subjects are those that the files name: a column, or `physics` of `test/physics_test.csv`. A question may have two to
twenty-six choices. Variants are those of `mmlu`.
"""

from itune_jax.evals import folders
from itune_jax.evals import protocol
from itune_jax.evals import official
from itune_jax.evals.benchmarks.utility import choice_files
from itune_jax.evals.benchmarks.utility import mmlu


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder."""
  return mmlu.benchmark(folder, settings, None)


BENCHMARK = official.Published(
  name="mmlu_style",
  axis="utility",
  title="Your own multiple-choice questions in the files of MMLU",
  files=choice_files.PATTERNS,
  source="your own files",
  licence="yours",
  size="any",
  metric="acc",
  make=make,
  variants=tuple(mmlu.WAYS),
  shots=0,
  most_shots=100,
  subtask="subject",
  parity="as `mmlu`",
)
