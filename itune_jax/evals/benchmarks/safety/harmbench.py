"""HarmBench (Mazeika et al. 2024): harmful behaviours, standard, in a context, and of copyright.

attack_success: share of answers that a judge takes for an instance of the behaviour, by HarmBench's own rubric; the
official judge is its classifier (cais/HarmBench-Llama-2-13b-cls), and any other makes another figure. refusal: by the
phrases of AdvBench's metric. Behaviours of copyright are judged officially by hashes of the works, which its files do
not hold: they have no `attack_success`, and the number of items says so.
"""

import functools

from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.evals.benchmarks.safety import behaviours

FILE = "harmbench_behaviors_text_all.csv"


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder with the file of all behaviours."""
  return behaviours.benchmark(settings, "harmbench", functools.partial(behaviours.harmbench, folder, FILE))


BENCHMARK = official.Published(
  name="harmbench",
  axis="safety",
  title="HarmBench: harmful behaviours",
  files=(FILE,),
  source="https://github.com/centerforaisafety/HarmBench (data/behavior_datasets)",
  parity="not compared: prompts and rules come from copies",
  licence="MIT",
  size="0.2 MB",
  count=400,
  metric="refusal",
  variants=behaviours.VARIANTS,
  subtask="category",
  make=make,
)
