"""Arena-Hard (Li et al. 2024), v2.0 and v0.1: hard prompts of users, answers compared with a baseline's in five steps.

A verdict of "significantly better" counts three times. `arena_score` is the share of these games that were won, of
prompts whose games are both read, as Arena-Hard prints it without control of style.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import os
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.evals import ask as ask_lib
from itune_jax.evals import folders
from itune_jax.evals import judged
from itune_jax.evals import protocol
from itune_jax.evals import official
from itune_jax.grading.judging import parsers
from itune_jax.grading.judging import rubrics
from itune_jax.grading.statistics import metrics as statistics
from itune_jax.sampling import requests as requests_lib

CREATIVE = "creative_writing"
BASELINES = {CREATIVE: "gemini-2.0-flash-001", "arena-hard-v0.1": "gpt-4-0314"}
BASELINE = "o3-mini-2025-01-31"


@dataclasses.dataclass(frozen=True)
class Items:
  """The prompts, each with the answer of its category's baseline, or of the file that is given."""

  folder: folders.Folder
  baseline: str = ""

  def __call__(self) -> Iterator[protocol.Item]:
    """Items by `uid` (v2.0) or `question_id` (v0.1)."""
    known: dict[str, dict[str, str]] = {}
    for where, row in self.folder.lines("question.jsonl"):
      name, category = _id(row, where), folders.field(row, "category", str, where)
      path = self.baseline or self.folder.file(f"model_answer/{BASELINES.get(category, BASELINE)}.jsonl")
      if path not in known:
        known[path] = answers(path)
      if name not in known[path]:
        raise errors.InputError(f"{path}: it has no answer to {name}")
      yield protocol.Item(
        id=name,
        question=_prompt(row, where),
        tags={"category": category},
        shown={"baseline": known[path][name], "against": os.path.basename(path).removesuffix(".jsonl")},
        where=where,
      )


def _id(row: dict[str, Any], where: str) -> str:
  return folders.field(row, "uid" if "uid" in row else "question_id", str, where)


def _prompt(row: dict[str, Any], where: str) -> str:
  if "prompt" in row:
    return folders.field(row, "prompt", str, where)
  asked = folders.field(row, "turns", list, where)
  is_text = len(asked) == 1 and isinstance(asked[0], dict) and isinstance(asked[0].get("content"), str)
  check.require(is_text, f"{where}: `turns` must be one with `content` of text")
  return asked[0]["content"]


def answers(path: str) -> dict[str, str]:
  """Answers by prompt, of a file of Arena-Hard's `model_answer`. Raises InputError with file and line."""
  found = {}
  for where, row in folders.objects(path):
    name = _id(row, where)
    check.require(name not in found, f"{where}: {name} is answered twice")
    try:
      last = row["messages"][-1] if "messages" in row else row["choices"][0]["turns"][-1]
      content = last["content"]
      text = content["answer"] if isinstance(content, dict) else content
    except (KeyError, IndexError, TypeError):
      text = None
    check.require(isinstance(text, str), f"{where}: no answer is in it (`messages` or `choices`)")
    found[name] = text
  return found


@dataclasses.dataclass(frozen=True)
class Compared:
  """An answer beside the baseline's; creative writing has a prompt of its own."""

  judge: judged.Judge

  def __call__(self, item: protocol.Item, answer: requests_lib.Response) -> list[judged.Sides]:
    """One pair; none where there is no answer."""
    if ask_lib.verdict(answer) in ("missing", "too_long"):
      return []
    own = rubrics.ARENA_CREATIVE if item.tags["category"] == CREATIVE else rubrics.ARENA
    shared = {"question": str(item.question)}
    return [judged.Sides(shared, (answer.text,), (item.shown["baseline"],), self.judge.rubric(own))]


def scored(sides: Sequence[judged.Sides], played: Sequence[judged.Played]) -> Mapping[str, Any]:
  """Both games with their weights: what ours is worth, and how many games they are."""
  if not played or played[0].orders.win is None:
    return {"arena_score": None}
  games = [_game(played[0].straight.said), _game(played[0].swapped.said)]
  ours = games[0][0] * games[0][1] + (1 - games[1][0]) * games[1][1]
  count = games[0][1] + games[1][1]
  return {"arena_score": [ours, count]}


def _game(said: str) -> tuple[float, int]:
  return parsers.ARENA[parsers.label(said.rpartition(ask_lib.THINK_END)[2]) or ""]


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark. Raises InputError without a judge, or for one with another way of verdicts."""
  judge = official.judge("arena", settings)
  check.require(judge.by == "text", "arena: its verdicts stand at the end of a text: ask the judge by text")
  prompts = tuple(dict.fromkeys(judge.rubric(own).name for own in (rubrics.ARENA, rubrics.ARENA_CREATIVE)))
  given = tuple(rubrics.named(name) for name in prompts)
  check.require(all(prompt.reads == "arena" for prompt in given), "arena is judged by a prompt with its five verdicts")
  return protocol.Benchmark(
    name="arena",
    items=Items(folder, settings.baseline),
    ask=official.generate(settings, limit=4096),
    grade=judged.Pairwise(judge, given, Compared(judge), scored),
    metrics={"arena_score": statistics.MicroMean(), **judged.PAIR_METRICS},
    tags=("category",),
  )


BENCHMARK = official.Published(
  name="arena",
  axis="utility",
  files=("question.jsonl",),
  source="https://github.com/lmarena/arena-hard-auto (data/arena-hard-v2.0: question.jsonl, model_answer/)",
  licence="Apache-2.0",
  size="3 MB, and as much for each baseline",
  metric="arena_score",
  judged=True,
  subtask="category",
  format_only=True,
  make=make,
  parity="none: the project's own",
)
