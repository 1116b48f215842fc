"""MT-bench (Zheng et al. 2023): 80 questions of two turns, answers rated by a judge, or compared with a baseline's.

Mathematics, reasoning and coding are judged beside GPT-4's reference answers. A judge's answer that holds no rating is
counted (`unread`) and never dropped in silence: `score` is of the ratings that were read, as FastChat prints it, and
`score_of_all` takes the least rating for the others.
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
from itune_jax.evals import multi_turn
from itune_jax.grading.judging import mt_bench_prompts
from itune_jax.grading.judging import reliability
from itune_jax.grading.statistics import metrics as statistics
from itune_jax.sampling import requests as requests_lib

WITH_REFERENCE = ("math", "reasoning", "coding")
# By category, as FastChat draws answers (`temperature_config`).
TEMPERATURES = {"writing": 0.7, "roleplay": 0.7, "stem": 0.1, "humanities": 0.1}
TEMPERATURES |= dict.fromkeys(("extraction", "math", "coding", "reasoning"), 0.0)
_PROMPTS = mt_bench_prompts.PROMPTS


@dataclasses.dataclass(frozen=True)
class Items:
  """The questions. temperature: of all categories, None for that of each. baseline: answers of another model, to be
  compared with; "" where answers are rated."""

  folder: folders.Folder
  temperature: float | None
  baseline: str = ""

  def __call__(self) -> Iterator[protocol.Item]:
    """Items with both turns, and the reference's two answers where the category has some."""
    references = answers(self.folder.file("reference_answer_gpt-4.jsonl"))
    others = answers(self.baseline) if self.baseline else {}
    for where, row in self.folder.lines("question.jsonl"):
      name = str(folders.field(row, "question_id", int, where))
      category = folders.field(row, "category", str, where)
      asked = folders.field(row, "turns", list, where)
      is_pair = len(asked) == 2 and all(isinstance(one, str) and one.strip() for one in asked)
      check.require(is_pair, f"{where}: `turns` are two texts that say something")
      check.require(category in TEMPERATURES, f"{where}: category {category!r} is none of {', '.join(TEMPERATURES)}")
      if category in WITH_REFERENCE and name not in references:
        raise errors.InputError(f"{where}: {category} is judged by a reference answer, and there is none")
      if self.baseline and name not in others:
        raise errors.InputError(f"{self.baseline}: it has no answer to question {name}")
      warm = TEMPERATURES[category] if self.temperature is None else self.temperature
      more = {"baseline": [*others[name]]} if self.baseline else {}
      yield protocol.Item(
        id=name,
        question=asked[0],
        answer=list(references[name]) if category in WITH_REFERENCE else None,
        tags={"category": category},
        shown={"turns": asked, "temperature": warm, **more},
        where=where,
      )


def answers(path: str) -> dict[str, tuple[str, str]]:
  """Answers to both turns by question, of a file of FastChat's `model_answer`. Raises InputError with file and line."""
  found = {}
  for where, row in folders.objects(path):
    name = str(folders.field(row, "question_id", int, where))
    choices = folders.field(row, "choices", list, where)
    said: Any = choices[0].get("turns") if choices and isinstance(choices[0], dict) else None
    is_pair = isinstance(said, list) and len(said) == 2 and all(isinstance(one, str) for one in said)
    check.require(is_pair, f"{where}: `choices` must hold one with `turns` of two texts")
    check.require(name not in found, f"{where}: question {name} is answered twice")
    found[name] = tuple(said)
  return found


def _prompt(kind: str, item: protocol.Item, second: bool) -> Any:
  plain = {"single": "single-v1", "pair": "pair-v2"}[kind]
  name = f"{kind}-math-v1" if item.answer else plain
  return _PROMPTS[name + ("-multi-turn" if second else "")]


def _shared(item: protocol.Item, second: bool) -> dict[str, str]:
  first, last = item.shown["turns"]
  references = {f"ref_answer_{i}": text for i, text in enumerate(item.answer or (), 1)}
  return references | ({"question_1": first, "question_2": last} if second else {"question": first})


def _said(answer: Sequence[requests_lib.Response]) -> tuple[str, ...] | None:
  """Both answers; None where one is missing."""
  lost = any(ask_lib.verdict(one) in ("missing", "too_long") for one in answer)
  return None if lost else tuple(one.text for one in answer)


def _parts(item: protocol.Item, answer: Sequence[requests_lib.Response]) -> list[judged.Rated]:
  """The first answer, and the second behind the first."""
  said = _said(answer)
  if said is None:
    return []
  first = {**_shared(item, False), "answer": said[0]}
  second = {**_shared(item, True), "answer_1": said[0], "answer_2": said[1]}
  return [
    judged.Rated(first, said[0], _prompt("single", item, False)),
    judged.Rated(second, said[1], _prompt("single", item, True)),
  ]


def _sides(item: protocol.Item, answer: Sequence[requests_lib.Response]) -> list[judged.Sides]:
  said = _said(answer)
  if said is None:
    return []
  theirs = tuple(item.shown["baseline"])
  return [
    judged.Sides(_shared(item, False), said[:1], theirs[:1], _prompt("pair", item, False)),
    judged.Sides(_shared(item, True), said, theirs, _prompt("pair", item, True)),
  ]


def _adjusted(sides: Sequence[judged.Sides], played: Sequence[judged.Played]) -> Mapping[str, Any]:
  """FastChat's `win_rate_adjusted`: a win if both orders give it, else a tie; unread pairs are left out."""
  settled = [reliability.settled(one.straight.value, one.swapped.value) for one in played]
  known = [one for one in settled if one is not None]
  return {"win_rate_adjusted": [sum(known), len(known)] if known else None}


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark. Raises InputError without a judge, and for comparison without a baseline's answers."""
  judge = official.judge("mt_bench", settings)
  check.require(not judge.prompt and judge.by == "text", "mt_bench has judge's prompts of its own, read in their text")
  ask = multi_turn.Turns(how=official.generate(dataclasses.replace(settings, temperature=None), limit=1024))
  prompts = tuple(prompt for name, prompt in _PROMPTS.items() if name.startswith(settings.variant))
  common: dict[str, Any] = dict(name="mt_bench", ask=ask, tags=("category",))
  if settings.variant == "single":
    check.require(not settings.baseline, "mt_bench: a baseline is compared with: give --variant pair")
    rated = judged.Ratings(judge, prompts, _parts, ("turn_1", "turn_2"))
    items = Items(folder, settings.temperature)
    return protocol.Benchmark(**common, items=items, grade=rated, metrics=rated.metrics, percent=False)
  check.require(settings.baseline, "mt_bench: pairs need a baseline's answers (--baseline model_answer/MODEL.jsonl)")
  items = Items(folder, settings.temperature, settings.baseline)
  compared = judged.Pairwise(judge, prompts, _sides, _adjusted)
  metrics = {"win_rate_adjusted": statistics.MicroMean(), **judged.PAIR_METRICS}
  return protocol.Benchmark(**common, items=items, grade=compared, metrics=metrics)


BENCHMARK = official.Published(
  name="mt_bench",
  axis="utility",
  files=("question.jsonl", "reference_answer_gpt-4.jsonl"),
  source="https://github.com/lm-sys/FastChat/tree/main/fastchat/llm_judge/data/mt_bench",
  licence="Apache-2.0",
  size="0.1 MB",
  count=80,
  metric="score",
  variants=("single", "pair"),
  judged=True,
  subtask="category",
  make=make,
  parity="FastChat's prompts, character by character, and its rules of reading",
)
