"""The published benchmarks by name. A row is the module that holds `BENCHMARK`; it is imported when it is asked for.

A path in place of a name is a benchmark of the user's own (`evals/own.py`), `seqio:NAME` a task of SeqIO
(`evals/foreign_tasks.py`).
"""

import difflib
import importlib
import os

from itune_jax.core import errors
from itune_jax.evals import foreign_tasks
from itune_jax.evals import official
from itune_jax.evals import own

_HERE = "itune_jax.evals.benchmarks"

# Name: module below this package.
ROWS: dict[str, str] = {
  "alpaca_eval": "utility.alpaca_eval",
  "arena": "utility.arena",
  "bbh": "utility.bbh",
  "gsm8k": "utility.gsm8k",
  "ifbench": "utility.ifbench",
  "humaneval": "utility.humaneval",
  "ifeval": "utility.ifeval",
  "llmbar": "utility.llmbar",
  "math": "utility.math_problems",
  "mbpp": "utility.mbpp",
  "mbpp_sanitized": "utility.mbpp_sanitized",
  "mmlu": "utility.mmlu",
  "mmlu_style": "utility.mmlu_style",
  "mt_bench": "utility.mt_bench",
  "perplexity": "utility.perplexity",
  "super_ni": "utility.super_ni",
  "pubmedqa": "medicine.pubmedqa",
  "medqa": "medicine.medqa",
  "medmcqa": "medicine.medmcqa",
  "legalbench": "law.legalbench",
  "casehold": "law.casehold",
  "fpb": "finance.fpb",
  "fiqa_sa": "finance.fiqa_sa",
  "finqa": "finance.finqa",
  "tatqa": "finance.tatqa",
  "financebench": "finance.financebench",
  "teleqna": "telecom.teleqna",
  "orthought": "decisions.orthought",
  "knapsack": "decisions.knapsack",
  "shortest_path": "decisions.shortest_path",
  "bfcl": "agents.bfcl",
  "tool_use": "agents.tool_use",
  "pope": "multimodal.pope",
  "scienceqa": "multimodal.scienceqa",
  "mmmu": "multimodal.mmmu",
  "mmbench": "multimodal.mmbench",
  "chartqa": "multimodal.chartqa",
  "mgsm": "multilingual.mgsm",
  "mifeval": "multilingual.mifeval",
  "xcopa": "multilingual.xcopa",
  "xquad": "multilingual.xquad",
  "belebele": "multilingual.belebele",
  "global_mmlu": "multilingual.global_mmlu",
  "aggrefact": "faithfulness.aggrefact",
  "factscore": "faithfulness.factscore",
  "faithdial": "faithfulness.faithdial",
  "frank": "faithfulness.frank",
  "grounded": "faithfulness.grounded",
  "halueval": "faithfulness.halueval",
  "qags": "faithfulness.qags",
  "summedits": "faithfulness.summedits",
  "truthfulqa": "faithfulness.truthfulqa",
  "advbench": "safety.advbench",
  "bbq": "safety.bbq",
  "extraction": "safety.extraction",
  "harmbench": "safety.harmbench",
  "safety_tuned": "safety.safety_tuned",
  "strong_reject": "safety.strong_reject",
  "sycophancy": "safety.sycophancy",
  "toxicity": "safety.toxicity",
  "xstest": "safety.xstest",
}


def find(name: str) -> official.Published:
  """The benchmark of a name, or of the path of a user's own. Raises InputError with the nearest names where there is
  none."""
  if name.startswith(foreign_tasks.PREFIX):
    return foreign_tasks.find(name)
  if name not in ROWS and own.is_path(name):
    mine = own.find(name)
    if mine.name in ROWS:
      raise errors.InputError(f"{name}: calls itself {mine.name}, which is a published benchmark: give it another name")
    return mine
  if name not in ROWS:
    near = difflib.get_close_matches(name, ROWS, 2)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(sorted(ROWS))}"
    hint = f"a folder or file of one's own is named ./{name}" if os.path.exists(name) else hint
    raise errors.InputError(f"there is no benchmark {name!r}; {hint}")
  found = importlib.import_module(f"{_HERE}.{ROWS[name]}").BENCHMARK
  if found.name != name:
    raise errors.InputError(f"the benchmark {name!r} calls itself {found.name!r}")
  return found


def table() -> list[official.Published]:
  """All of them, by axis and name."""
  return sorted((find(name) for name in ROWS), key=lambda one: (one.axis, one.name))
