"""M-IFEval: instructions that a program can check, in Spanish, French and Japanese (Dussolle et al. 2025).

Figures as `ifeval`, by language. Prompts with a kind whose official checker needs a model or a dictionary that is not
had here (`grading/ifeval/mifeval.py`: six Spanish kinds, five Japanese) are named and left out. Languages share no
prompts, so there is no gap to English.
"""

import collections
from collections.abc import Iterator
import os
import re
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import log
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.grading.ifeval import mifeval
from itune_jax.grading.ifeval import verdicts
from itune_jax.grading.statistics import metrics
from itune_jax.sampling import requests as requests_lib

FILES = "??_input_data.jsonl|data/??_input_data.jsonl"
LANGUAGES = ("es", "fr", "ja")
_FILE = re.compile(r"(\w\w)_input_data\.jsonl(?:\.gz)?$")


def items(folder: folders.Folder) -> Iterator[protocol.Item]:
  """The prompts of each language, those in English aside (they are IFEval's). Raises InputError for a row that cannot
  be judged."""
  for path in folder.files(FILES):
    found = _FILE.search(os.path.basename(path))
    code, without = found[1] if found else "", collections.Counter[str]()
    if code == "en":
      continue
    check.require(code in LANGUAGES, f"{path}: {code!r} is no language of M-IFEval; they are {', '.join(LANGUAGES)}")
    for where, row in folders.objects(path):
      kinds = folders.field(row, "instruction_id_list", list, where)
      if lacking := [kind for kind in kinds if kind in mifeval.WITHOUT]:
        without[mifeval.WITHOUT[lacking[0]]] += 1
        continue
      yield item(row, code, where)
    for what, count in without.items():
      log.info(f"mifeval: {count} prompts in {code} are left out: their check needs {what}")


def item(row: dict[str, Any], code: str, where: str) -> protocol.Item:
  """The item of a row; what is right are its instructions with their arguments."""
  kinds, given = (folders.field(row, name, list, where) for name in ("instruction_id_list", "kwargs"))
  check.require(kinds and len(kinds) == len(given), f"{where}: {len(kinds)} instructions, and {len(given)} kwargs")
  answer = [{"kind": kind, "kwargs": one} for kind, one in zip(kinds, given, strict=True)]
  try:
    for one in answer:
      mifeval.build(**one)
  except errors.InputError as e:
    raise errors.InputError(f"{where}: {e}") from None
  return protocol.Item(
    id=f"{code}/{folders.field(row, 'key', (int, str), where)}",
    question=folders.field(row, "prompt", str, where),
    answer=answer,
    tags={"language": code, "kind": tuple(kinds)},
    where=where,
  )


def grade(one: protocol.Item, response: requests_lib.Response) -> protocol.Graded:
  """Strict and loose verdicts of the first sample."""
  found = verdicts.judge([mifeval.build(**given) for given in one.answer], response.text)
  values: dict[str, Any] = {}
  for name, followed in (("strict", found.strict), ("loose", found.loose)):
    values[f"prompt_level_{name}_acc"] = all(followed)
    values[f"inst_level_{name}_acc"] = (sum(followed), len(followed))
  return protocol.Graded(values, {"followed": list(found.strict)})


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder."""
  return protocol.Benchmark(
    name="mifeval",
    items=lambda: items(folder),
    ask=official.generate(settings, limit=1280, temperature=0.0),
    grade=protocol.each(grade),
    metrics={
      "prompt_level_strict_acc": metrics.Mean(),
      "inst_level_strict_acc": metrics.MicroMean(),
      "prompt_level_loose_acc": metrics.Mean(),
      "inst_level_loose_acc": metrics.MicroMean(),
    },
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
)
