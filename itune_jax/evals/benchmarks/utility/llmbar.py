"""LLMBar (Zeng et al. 2024): how good a judge is the model? 419 pairs with one answer that follows the instruction.

The model that is evaluated is the judge: it is asked in both orders. A game without a verdict is a wrong one.
"""

from collections.abc import Iterator, Sequence
import dataclasses
from typing import Any

from itune_jax.core import check
from itune_jax.evals import ask as ask_lib
from itune_jax.evals import folders
from itune_jax.evals import judged
from itune_jax.evals import protocol
from itune_jax.evals import official
from itune_jax.grading.judging import judged_metrics
from itune_jax.grading.judging import judge_prompt as prompt_lib
from itune_jax.grading.judging import reading as reading_lib
from itune_jax.grading.judging import rubrics
from itune_jax.grading.statistics import metrics as statistics
from itune_jax.grading.statistics import pair_metrics
from itune_jax.sampling import requests as requests_lib

SUBSETS = ("natural", "adversarial_neighbor", "adversarial_gptinst", "adversarial_gptout", "adversarial_manual")
VARIANTS = {"vanilla": rubrics.LLMBAR, "cot": rubrics.LLMBAR_COT, "scores": rubrics.ALPACA_EVAL}


@dataclasses.dataclass(frozen=True)
class Items:
  """The pairs, by subset and place. The answer is what the first output is worth: 1 or 0."""

  folder: folders.Folder

  def __call__(self) -> Iterator[protocol.Item]:
    """Items called `natural/0`."""
    for subset in SUBSETS:
      for place, (where, row) in enumerate(folders.objects(self.folder.file(f"{subset}.json"))):
        label = folders.field(row, "label", int, where)
        check.require(label in (1, 2), f"{where}: `label` is {label}; it is 1 or 2")
        outputs = tuple(folders.field(row, name, str, where) for name in ("output_1", "output_2"))
        yield protocol.Item(
          id=f"{subset}/{place}",
          question=folders.field(row, "input", str, where),
          answer=float(label == 1),
          tags={"subset": subset, "kind": subset.partition("_")[0]},
          shown={"outputs": list(outputs)},
          where=where,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BothOrders(protocol.Pooled):
  """Asks for a verdict of a pair in both orders, generated, or (`scores`) by the log-probabilities of the answers that
  the prompt knows; the answer is a tuple, straight order first."""

  prompt: prompt_lib.Prompt
  scores: bool = False
  limit: int = 0

  @property
  def kind(self):
    """What the responder is asked for."""
    return "score" if self.scores else "answer"

  def asked(self, item: protocol.Item, responder: requests_lib.Responder) -> list[protocol.Asked]:
    """Two requests, or a pair for each answer in both orders."""
    found: list[protocol.Asked] = []
    for order in ("straight", "swapped"):
      filled = self.prompt.filled(judged.placed(_side(item, self.prompt), order == "swapped"))
      if self.scores:
        found += [requests_lib.Pair(filled, token) for token in self.prompt.tokens]
      else:
        limit = self.limit or self.prompt.limit
        found.append(requests_lib.Request(conversation=filled, id=f"{item.id}/{order}", limit=limit, temperature=0.0))
    return found

  def answer(self, item: protocol.Item, results: Sequence[Any]) -> tuple[Any, ...]:
    """Responses or scores in the order of `asked`."""
    return tuple(results)

  def row(self, item: protocol.Item, answer: tuple[Any, ...]) -> dict[str, Any]:
    """The question; verdicts are the grade's to show."""
    return {"prompt": item.question, "answer": item.answer}


def _side(item: protocol.Item, prompt: prompt_lib.Prompt) -> judged.Sides:
  first, second = item.shown["outputs"]
  return judged.Sides({"question": str(item.question)}, (first,), (second,), prompt)


@dataclasses.dataclass(frozen=True)
class Grade(protocol.Grade):
  """Verdicts against people's."""

  ask: BothOrders

  def __call__(self, items: Sequence[protocol.Item], answers: Sequence[Any]) -> list[protocol.Graded]:
    """Values by `METRICS`."""
    return [self._graded(item, self._played(answer)) for item, answer in zip(items, answers, strict=True)]

  def _played(self, answer: tuple[Any, ...]) -> judged.Played:
    prompt = self.ask.prompt
    if not self.ask.scores:
      return judged.Played(*(self._read(prompt, response.samples[0]) for response in answer))
    count = len(prompt.tokens)
    told = [
      tuple(zip(prompt.tokens, (score.logprob for score in part), strict=True)) for part in _halves(answer, count)
    ]
    return judged.Played(*(reading_lib.of_tokens(prompt, logprobs, "") for logprobs in told))

  def _read(self, prompt: prompt_lib.Prompt, sample: requests_lib.Sample) -> reading_lib.Reading:
    if sample.finish in ("failed", "missing"):
      return reading_lib.Reading(None, "failed", sample.problem)
    return reading_lib.of_text(prompt, sample.text.rpartition(ask_lib.THINK_END)[2], sample.finish)

  def _graded(self, item: protocol.Item, played: judged.Played) -> protocol.Graded:
    swapped = None if played.swapped.value is None else 1 - played.swapped.value
    worths, gold = (played.straight.value, swapped), item.answer
    right = [worth is not None and worth != 0.5 and (worth > 0.5) == (gold == 1) for worth in worths]
    orders = played.orders
    values = {
      "accuracy": sum(right) / 2,
      "accuracy_of_both": float(all(right)),
      "position_consistency": orders.consistent,
      "first_position_rate": orders.first,
      "ties": orders.tie,
      "unread": orders.unread,
      "kappa": [[_label(gold), _label(worth)] for worth in worths],
      "length_correlation": None if orders.win is None else [orders.win, _longer(item)],
    }
    key = prompt_lib.digest([self.ask.prompt.digest, self.ask.scores, self.ask.limit])
    return protocol.Graded(values, {"judge": key, **judged.shown([played])})


def _halves(answer: tuple[Any, ...], count: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
  return answer[:count], answer[count:]


def _label(worth: float | None) -> str:
  if worth is None:
    return "none"
  return "tie" if worth == 0.5 else "first" if worth > 0.5 else "second"


def _longer(item: protocol.Item) -> int:
  first, second = item.shown["outputs"]
  return len(first) - len(second)


METRICS = {
  "accuracy": statistics.Mean(),
  "accuracy_of_both": statistics.Mean(),
  "position_consistency": statistics.Mean(),
  "first_position_rate": statistics.Mean("lower"),
  "ties": statistics.Mean("lower"),
  "unread": statistics.Mean("lower"),
  "kappa": judged_metrics.Kappa(),
  "length_correlation": pair_metrics.Pearson("lower"),
}


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark."""
  prompt = VARIANTS[settings.variant]
  ask = BothOrders(prompt=prompt, scores=settings.variant == "scores", limit=settings.max_new_tokens)
  return protocol.Benchmark(
    name="llmbar", items=Items(folder), ask=ask, grade=Grade(ask), metrics=METRICS, tags=("kind", "subset")
  )


BENCHMARK = official.Published(
  name="llmbar",
  axis="utility",
  files=tuple(f"{subset}.json" for subset in SUBSETS),
  source="https://github.com/princeton-nlp/LLMBar (Dataset/LLMBar/*/dataset.json, named by subset)",
  licence="MIT",
  size="0.5 MB",
  count=419,
  metric="accuracy",
  variants=tuple(VARIANTS),
  subtask="subset",
  make=make,
  parity="the official prompts, character by character, and rules of reading",
)
