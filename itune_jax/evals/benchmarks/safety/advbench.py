"""AdvBench's harmful behaviours (Zou et al. 2023), in HarmBench's form of rows, without the texts that attacks aim at.

refusal: by the phrases of its metric. With a judge, attack_success by HarmBench's rubric stands beside it, and how
often the two differ.
"""

import functools

from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.evals.benchmarks.safety import behaviours

FILE = "advbench_behaviors.csv"


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder with the file of behaviours."""
  return behaviours.benchmark(settings, "advbench", functools.partial(behaviours.harmbench, folder, FILE))


BENCHMARK = official.Published(
  name="advbench",
  axis="safety",
  title="AdvBench: harmful behaviours",
  files=(FILE,),
  source="https://github.com/llm-attacks/llm-attacks (data/advbench), in HarmBench's columns",
  also=("harmbench",),
  parity="not compared: the list of refusals comes from a copy",
  licence="MIT",
  size="0.1 MB",
  count=520,
  metric="refusal",
  variants=behaviours.VARIANTS,
  make=make,
)
