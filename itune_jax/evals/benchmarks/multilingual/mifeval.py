"""M-IFEval: instructions that a program can check, in Spanish, French and Japanese (Dussolle et al. 2025).

Figures as `ifeval`, by language. Prompts with a kind that cannot be checked here (`grading/ifeval/mifeval.py`: one
Spanish kind needs trained models; five Spanish ones need spaCy, four Japanese ones janome) are named and left out.
Languages share no prompts, so there is no gap to English.
"""

import collections
from collections.abc import Iterator
import os
import re

from itune_jax.core import check
from itune_jax.core import log
from itune_jax.evals import folders
from itune_jax.evals import instructed
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.grading.ifeval import mifeval

FILES = "??_input_data.jsonl|data/??_input_data.jsonl"
LANGUAGES = ("es", "fr", "ja")
_FILE = re.compile(r"(\w\w)_input_data\.jsonl(?:\.gz)?$")


def items(folder: folders.Folder) -> Iterator[protocol.Item]:
  """The prompts of each language, those in English aside (they are IFEval's). Raises InputError for a row that cannot
  be judged."""
  lacks = mifeval.without()
  for path in folder.files(FILES):
    found = _FILE.search(os.path.basename(path))
    code, without = found[1] if found else "", collections.Counter[str]()
    if code == "en":
      continue
    check.require(code in LANGUAGES, f"{path}: {code!r} is no language of M-IFEval; they are {', '.join(LANGUAGES)}")
    for where, row in folders.objects(path):
      kinds = folders.field(row, "instruction_id_list", list, where)
      if lacking := [kind for kind in kinds if kind in lacks]:
        without[lacks[lacking[0]]] += 1
        continue
      yield instructed.item(row, where, mifeval.build, f"{code}/", language=code)
    for what, count in without.items():
      log.info(f"mifeval: {count} prompts in {code} are left out: their check needs {what}")


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder."""
  return protocol.Benchmark(
    name="mifeval",
    items=lambda: items(folder),
    ask=official.generate(settings, limit=1280, temperature=0.0),
    grade=instructed.grade(mifeval.build),
    metrics=instructed.METRICS,
    tags=("language", "kind"),
  )


BENCHMARK = official.Published(
  name="mifeval",
  axis="multilingual",
  title="M-IFEval",
  files=(FILES,),
  source="https://github.com/lightblue-tech/M-IFEval",
  licence="Apache-2.0",
  size="0.2 MB",
  metric="prompt_level_strict_acc",
  make=make,
  subtask="language",
  parity="the official checkers: released responses to all prompts that are judged here, and perturbed ones",
  version=2,
)
