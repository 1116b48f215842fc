"""The sanitised part of MBPP: 427 problems that its authors went through again.

Two files have them: `sanitized-mbpp.json` of MBPP's repository, asked as MBPP is (of its test split, tasks 11 to 510),
and `mbpp_sanitized_for_code_generation.jsonl` of CodeT, all 427 in HumanEval's form: the head of the function and the
sentence as its docstring, which the answer completes. Figures of the two are different figures: rows say which it was.
"""

from itune_jax.core import check
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.evals.benchmarks.utility import humaneval
from itune_jax.evals.benchmarks.utility import mbpp

FILES = "mbpp/*sanitized*.json*"  # beside MBPP's


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder. Raises InputError for examples in front, in the form that has none."""
  path = mbpp.one_file(folder, FILES)
  _, first = next(iter(folders.objects(path)), ("", {}))
  check.require(first, f"{path}: holds no row")
  if "entry_point" not in first:
    return mbpp.of_file("mbpp_sanitized", path, settings)
  return humaneval.of_file("mbpp_sanitized", path, settings)


BENCHMARK = official.Published(
  name="mbpp_sanitized",
  axis="utility",
  files=(FILES,),
  source="https://github.com/google-research/google-research/tree/master/mbpp",
  licence="CC BY 4.0",
  size="0.3 MB",
  metric="pass@1",
  title="MBPP, sanitised",
  make=make,
  variants=("published", "instruct", "chat"),
  shots=3,
  most_shots=3,
  parity="as `mbpp`",
)
