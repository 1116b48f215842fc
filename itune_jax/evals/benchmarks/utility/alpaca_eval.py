"""AlpacaEval 2 (Li et al. 2023, Dubois et al. 2024): 805 instructions, answers compared with the baseline's by a judge.

The judge is asked in both orders (the original draws one). Besides the raw win rate stands the length-controlled one by
the formula without difficulties, under that name: `annotated.measure` gives the leaderboard's from annotations.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.evals import ask as ask_lib
from itune_jax.evals import folders
from itune_jax.evals import judged
from itune_jax.evals import protocol
from itune_jax.evals import official
from itune_jax.grading.judging import judged_metrics
from itune_jax.grading.judging import judge_prompt as prompt_lib
from itune_jax.grading.judging import rubrics
from itune_jax.sampling import requests as requests_lib

FILE = "gpt4_1106_preview_outputs.json"


@dataclasses.dataclass(frozen=True)
class Items:
  """The instructions in the official order, each with the baseline's output. baseline: outputs of another one."""

  folder: folders.Folder
  baseline: str = ""

  def __call__(self) -> Iterator[protocol.Item]:
    """Items called by their place, as AlpacaEval's difficulties are."""
    others = outputs(self.baseline) if self.baseline else {}
    for place, (where, row) in enumerate(folders.objects(self.folder.file(FILE))):
      instruction = folders.words(row, "instruction", where)
      if others and instruction not in others:
        raise errors.InputError(f"{self.baseline}: it has no output for instruction {place}: {instruction[:60]!r}")
      other = others[instruction] if others else folders.field(row, "output", str, where)
      yield protocol.Item(
        id=str(place),
        question=instruction,
        tags={"dataset": folders.field(row, "dataset", str, where)},
        shown={"baseline": other},
        where=where,
      )


def outputs(path: str) -> dict[str, str]:
  """Outputs by instruction, of a file of AlpacaEval's `model_outputs.json`. Raises InputError with file and row."""
  found = {}
  for where, row in folders.objects(path):
    instruction = folders.words(row, "instruction", where)
    check.require(instruction not in found, f"{where}: this instruction is answered twice")
    found[instruction] = folders.field(row, "output", str, where)
  return found


@dataclasses.dataclass(frozen=True)
class Compared:
  """An answer beside the baseline's, by one prompt."""

  prompt: prompt_lib.Prompt

  def __call__(self, item: protocol.Item, answer: requests_lib.Response) -> list[judged.Sides]:
    """One pair; none where there is no answer."""
    if ask_lib.verdict(answer) in ("missing", "too_long"):
      return []
    return [judged.Sides({"question": str(item.question)}, (answer.text,), (item.shown["baseline"],), self.prompt)]


def controlled(sides: Sequence[judged.Sides], played: Sequence[judged.Played]) -> Mapping[str, Any]:
  """What a length-controlled figure is made of: a pair's worth, and how much longer the baseline's answer is."""
  found = None
  if played and (win := played[0].orders.win) is not None:
    found = [win, len(sides[0].theirs[0]) - len(sides[0].ours[0])]
  return {"length_controlled_minimal": found}


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark. Raises InputError without a judge."""
  judge = official.judge("alpaca_eval", settings)
  prompt = judge.rubric(rubrics.ALPACA_EVAL)
  return protocol.Benchmark(
    name="alpaca_eval",
    items=Items(folder, settings.baseline),
    ask=official.generate(settings, limit=2048),
    grade=judged.Pairwise(judge, (prompt,), Compared(prompt), controlled),
    metrics={**judged.PAIR_METRICS, "length_controlled_minimal": judged_metrics.LengthControlled()},
    tags=("dataset",),
  )


BENCHMARK = official.Published(
  name="alpaca_eval",
  axis="utility",
  files=(FILE,),
  source="https://github.com/tatsu-lab/alpaca_eval (results/gpt4_1106_preview/model_outputs.json)",
  licence="CC BY-NC 4.0",
  size="1.9 MB",
  count=805,
  metric="win_rate",
  judged=True,
  subtask="dataset",
  make=make,
  parity="alpaca-eval's win rates and length-controlled win rates",
)
