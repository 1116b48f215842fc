"""IFBench (Pyatkin et al. 2025, arXiv 2507.02833): 58 kinds of instructions that IFEval does not have.

Figures as `ifeval`. A prompt with a kind that cannot be checked here (`grading/ifeval/ifbench.py`: one needs a trained
tagger, one emoji, one syllapy) is named and left out. What `itune synth` trains on are IFEval's kinds
(`synth/constraints.py`): none of them is tested here, and the run says so.
"""

import collections
import functools
from collections.abc import Iterator

from itune_jax.core import check
from itune_jax.core import log
from itune_jax.evals import folders
from itune_jax.evals import instructed
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.grading.ifeval import ifbench
from itune_jax.grading.ifeval import kinds as kinds_lib

FILE = "IFBench_test.jsonl|data/IFBench_test.jsonl"


def items(folder: folders.Folder) -> Iterator[protocol.Item]:
  """The prompts that can be judged. Raises InputError for a row that none could judge."""
  lacks, left_out, seen = ifbench.without(), collections.Counter[str](), set[str]()
  for where, row in folders.objects(folder.files(FILE)[0]):
    kinds = folders.field(row, "instruction_id_list", list, where)
    if lacking := [kind for kind in kinds if kind in lacks]:
      left_out[lacks[lacking[0]]] += 1
      continue
    seen |= {kind for kind in kinds if isinstance(kind, str)}
    yield instructed.item(row, where, ifbench.build)
  for what, count in left_out.items():
    _say(f"ifbench: {count} prompts are left out: their check needs {what}")
  _say(f"ifbench: {disjoint(seen)}")


@functools.cache
def _say(text: str) -> None:
  """Says something once, however often items are read."""
  log.info(text)


def disjoint(tested: set[str]) -> str:
  """That no kind is one that is trained on. Raises InputError for files that hold such a kind."""
  both = sorted(tested & set(kinds_lib.KINDS))
  check.require(not both, f"ifbench: {', '.join(both)} is a kind of IFEval too, which constraints are trained on")
  return (
    f"{len(tested)} kinds are tested; none of the {len(kinds_lib.KINDS)} that constraints are trained on is among them"
  )


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder."""
  return protocol.Benchmark(
    name="ifbench",
    items=lambda: items(folder),
    ask=official.generate(settings, limit=1280, temperature=0.0),
    grade=instructed.grade(ifbench.build),
    metrics=instructed.METRICS,
    tags=("kind",),
  )


BENCHMARK = official.Published(
  name="ifbench",
  axis="utility",
  title="IFBench",
  files=(FILE,),
  source="https://github.com/allenai/IFBench",
  licence="ODC-BY-1.0",
  size="0.4 MB",
  metric="prompt_level_loose_acc",
  make=make,
  format_only=True,
  parity="the official checkers: released answers and perturbed ones, of all kinds that are judged here",
)
