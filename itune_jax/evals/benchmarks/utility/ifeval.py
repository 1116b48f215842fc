"""IFEval (Zhou et al. 2023, arXiv 2311.07911): prompts with instructions that a program can check; figures as lm-eval.

prompt_level_*: the share of prompts of which all instructions are followed. inst_level_*: the share of instructions
over all prompts. strict: as the response stands; loose: in one of eight variants of it (`grading/ifeval/verdicts.py`).
"""

from collections.abc import Iterator
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.evals import folders
from itune_jax.evals import protocol
from itune_jax.evals import official
from itune_jax.grading.ifeval import kinds as kinds_lib
from itune_jax.grading.ifeval import verdicts
from itune_jax.grading.statistics import metrics
from itune_jax.sampling import requests as requests_lib

FILE = "*input_data.jsonl"  # the official repository has it without, the hub with `ifeval_` in front
COLUMNS = ("key", "prompt", "instruction_id_list", "kwargs")
NEW_TOKENS = 1280  # lm-eval's limit


def items(folder: folders.Folder) -> Iterator[protocol.Item]:
  """The prompts as items. Raises InputError, naming file and line, for a row that cannot be judged."""
  found = folder.files(FILE)
  check.require(len(found) == 1, f"{folder.path}: several files are called {FILE}: keep one")
  for where, row in folders.objects(found[0]):
    yield item(row, where)


def item(row: dict[str, Any], where: str) -> protocol.Item:
  """The item of a row; what is right are its instructions with their arguments."""
  unknown = [name for name in row if name not in COLUMNS]
  check.require(not unknown, f"{where}: unknown columns {', '.join(unknown)}; a row has {', '.join(COLUMNS)}")
  key = folders.field(row, "key", (int, str), where)
  prompt = folders.words(row, "prompt", where)
  kinds = folders.field(row, "instruction_id_list", list, where)
  given = folders.field(row, "kwargs", list, where)
  check.require(kinds, f"{where}: 'instruction_id_list' is empty")
  check.require(len(kinds) == len(given), f"{where}: {len(kinds)} instructions, and {len(given)} kwargs")
  answer = [{"kind": kind, "kwargs": one} for kind, one in zip(kinds, given, strict=True)]
  try:
    for one in answer:
      kinds_lib.build(**one)
  except errors.InputError as e:
    raise errors.InputError(f"{where}: {e}") from None
  tags = {"kind": tuple(kinds), "instructions": str(len(kinds))}
  return protocol.Item(id=str(key), question=prompt, answer=answer, tags=tags, where=where)


def grade(one: protocol.Item, response: requests_lib.Response) -> protocol.Graded:
  """The verdicts of a response, or of all its samples."""
  instructions = [kinds_lib.build(**given) for given in one.answer]
  judged = [verdicts.judge(instructions, sample.text) for sample in response.samples]
  values: dict[str, Any] = {}
  for how in ("strict", "loose"):
    found = [getattr(each, how) for each in judged]
    values[f"prompt_level_{how}_acc"] = sum(map(all, found)) / len(found)
    values[f"inst_level_{how}_acc"] = (sum(map(sum, found)), len(found) * len(instructions))
  shown = [{"strict": list(each.strict), "loose": list(each.loose)} for each in judged]
  return protocol.Graded(values, {"followed": shown[0] if len(shown) == 1 else shown})


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder."""
  return protocol.Benchmark(
    name="ifeval",
    items=lambda: items(folder),
    ask=official.generate(settings, limit=NEW_TOKENS, temperature=0.0),
    grade=protocol.each(grade),
    metrics={
      "prompt_level_strict_acc": metrics.Mean(),
      "inst_level_strict_acc": metrics.MicroMean(),
      "prompt_level_loose_acc": metrics.Mean(),
      "inst_level_loose_acc": metrics.MicroMean(),
    },
    tags=("kind", "instructions"),
  )


BENCHMARK = official.Published(
  name="ifeval",
  axis="utility",
  files=(FILE,),
  source="https://github.com/google-research/google-research/tree/master/instruction_following_eval/data",
  hub="google/IFEval",
  licence="Apache-2.0",
  size="0.2 MB",
  count=541,
  metric="prompt_level_strict_acc",
  title="IFEval",
  make=make,
  parity="lm-eval's checkers: 5,000 responses over the kinds, 2,705 to the official prompts",
)
