"""How the answers to a user's own items are judged, and the figures that this gives, by the way of asking."""

from collections.abc import Callable, Mapping, Sequence
import math
from typing import Any

from itune_jax.evals import protocol
from itune_jax.grading import checkers
from itune_jax.grading.statistics import metrics
from itune_jax.grading.statistics import pair_metrics
from itune_jax.sampling import requests as requests_lib

# generate: whether an answer passes its check. choose: whether the right choice is strictly the likeliest, as a sum of
# log-probabilities and per character (lm-eval's). score, rolling: of the text that is scored.
FIGURES: Mapping[str, Mapping[str, metrics.Metric]] = {
  "generate": {"accuracy": metrics.Mean()},
  "choose": {"acc": metrics.Mean(), "acc_norm": metrics.Mean()},
  "score": {"logprob": metrics.Mean(), "greedy": metrics.Mean(), "nats_per_token": metrics.MicroMean("lower")},
  "rolling": {"bits_per_byte": metrics.MicroMean("lower"), "nats_per_word": metrics.MicroMean("lower")},
}
# Of pairs (label, prediction): where choices are given, an answer is a class. No class is a prediction of None.
CLASSES: Mapping[str, metrics.Metric] = {
  name: pair_metrics.AGGREGATES[name] for name in ("balanced_accuracy", "macro_f1", "weighted_f1", "mcc")
}


def generated(item: protocol.Item, answer: requests_lib.Response) -> dict[str, Any]:
  """The share of samples that pass, and the first one's class."""
  given = item.shown["check"]
  passes = lambda text, how: checkers.judge(text, how, (given["name"],))
  right = [passes(sample.text, given) for sample in answer.samples]
  values: dict[str, Any] = {"accuracy": sum(right) / len(right)}
  if item.choices:
    as_choice = lambda choice: (
      {**given, "answer": choice} if "answer" in given else checkers.of_answer(given["name"], choice)
    )
    predicted = [choice for choice in item.choices if passes(answer.text, as_choice(choice))]
    values |= dict.fromkeys(CLASSES, (item.answer, predicted[0] if len(predicted) == 1 else None))
  return values


def chosen(item: protocol.Item, answer: Sequence[requests_lib.Score]) -> dict[str, Any]:
  """Which choice is likeliest; a tie is wrong, whichever comes first."""
  logprobs = [score.logprob for score in answer]
  normed = [logprob / len(choice.strip()) for logprob, choice in zip(logprobs, item.choices, strict=True)]
  best, best_normed = _best(logprobs, item.choices), _best(normed, item.choices)
  values = {"acc": best == item.answer, "acc_norm": best_normed == item.answer}
  return {**values, **dict.fromkeys(CLASSES, (item.answer, best))}


def scored(item: protocol.Item, answer: requests_lib.Score) -> dict[str, Any]:
  """How likely the answer is."""
  del item
  return {"logprob": answer.logprob, "greedy": answer.is_greedy, "nats_per_token": (-answer.logprob, answer.tokens)}


def rolled(item: protocol.Item, answer: requests_lib.Score) -> dict[str, Any]:
  """How likely a text is, for each of its bytes and words."""
  text = str(item.question)
  nats = -answer.logprob
  return {"bits_per_byte": (nats / math.log(2), len(text.encode())), "nats_per_word": (nats, len(text.split()))}


GRADES: Mapping[str, Callable[[protocol.Item, Any], dict[str, Any]]] = {
  "generate": generated,
  "choose": chosen,
  "score": scored,
  "rolling": rolled,
}


def _best(scores: Sequence[float], choices: Sequence[str]) -> str | None:
  top = max(scores)
  return choices[scores.index(top)] if scores.count(top) == 1 else None
