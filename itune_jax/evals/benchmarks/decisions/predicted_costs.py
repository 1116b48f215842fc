"""Predict, then optimise, by a language model: what `knapsack` and `shortest_path` share.

A question tells the features of an instance in words and asks for its costs as numbers; the decision is made from these
by HiGHS, and its regret is measured at the true costs. Without training a model cannot know how costs hang on features:
`rows` gives chat rows of the training instances, drawn from the same problem, to tune it on.

| figure | what |
|---|---|
| `regret` | Σ regret / Σ |best objective| of the answers that hold the right count of numbers |
| `regret_two_stage` | the same of least squares on the training instances (prediction first) |
| `regret_spo_plus` | the same of SPO+ (decisions first), from the two-stage fit |
| `unparsed` | the share of answers with another count of numbers: they have no decision, and no regret |

Features are rounded to three digits, as the text has them, for the model and the baselines alike.
"""

from collections.abc import Callable, Iterator, Mapping
import dataclasses
import functools
from typing import Any

import numpy as np

from itune_jax.core import conversation
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.grading import numbers
from itune_jax.grading import regret
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.sampling import requests as requests_lib

TRAIN, TEST = 400, 100  # instances, drawn together: the first are for training
FEATURES = 5
NOISE = 0.5
SEED = 135  # PyEPO's
DEGREES = {"degree_4": 4, "degree_1": 1, "degree_6": 6}

Draw = Callable[[int], tuple[regret.Problem, regret.Instances]]


@dataclasses.dataclass(frozen=True)
class Task:
  """A problem with instances. draw: the problem and TRAIN + TEST instances of a degree; asks: the question behind the
  features; digits: of costs in training rows."""

  name: str
  draw: Draw
  asks: str
  digits: int

  def instances(self, variant: str) -> tuple[regret.Problem, regret.Instances, regret.Instances]:
    """The problem, and its instances for training and for testing, features as the text has them."""
    problem, all_ = self.draw(DEGREES[variant])
    features = np.round(all_.features, 3)
    cut = lambda rows: regret.Instances(features[rows], all_.costs[rows])
    return problem, cut(slice(None, TRAIN)), cut(slice(TRAIN, None))

  def question(self, features_P: np.ndarray) -> str:
    """An instance in words."""
    told = ", ".join(f"{value:.3f}" for value in features_P)
    return f"Features of today: {told}.\n{self.asks}"

  def rows(self, variant: str = "degree_4") -> Iterator[Mapping[str, Any]]:
    """Chat rows of the training instances, with their true costs as answers."""
    _, given, _ = self.instances(variant)
    for features_P, costs_M in zip(*given, strict=True):
      answer = ", ".join(f"{cost:.{self.digits}f}" for cost in costs_M)
      turns = (("user", self.question(features_P)), ("assistant", answer))
      yield {"messages": [{"role": role, "content": text} for role, text in turns]}


@functools.cache
def prepared(task: Task, variant: str) -> tuple[regret.Problem, regret.Instances, tuple[tuple[float, float], ...]]:
  """The problem, its test instances, and the regrets of both baselines on each."""
  problem, given, asked = task.instances(variant)
  fits = (regret.two_stage(given), regret.spo_plus(problem, given))
  of = lambda fit: [problem.regret(*pair) for pair in zip(fit(asked.features), asked.costs, strict=True)]
  return problem, asked, tuple(zip(*map(of, fits), strict=True))


def items(task: Task, variant: str) -> Iterator[protocol.Item]:
  """The test instances; ids are their places."""
  _, _, asked = task.instances(variant)
  for number, (features_P, costs_M) in enumerate(zip(*asked, strict=True)):
    question = conversation.of(task.question(features_P))
    yield protocol.Item(id=str(number), question=question, answer=costs_M.tolist())


def grade(item: protocol.Item, answer: requests_lib.Response, *, task: Task, variant: str) -> protocol.Graded:
  """Regrets of the first sample's numbers, and of the baselines, with the best objective that they are divided by."""
  problem, _, baselines = prepared(task, variant)
  costs_M = np.array(item.answer)
  said = [float(one) for one in numbers.all_of(answer.text)]
  is_there = len(said) == problem.size and bool(np.isfinite(said).all())
  best = abs(problem.value(costs_M))
  two_stage, spo_plus = baselines[int(item.id)]
  found = problem.regret(np.array(said), costs_M) if is_there else None
  values = {
    "regret": None if found is None else (found, best),
    "regret_two_stage": (two_stage, best),
    "regret_spo_plus": (spo_plus, best),
    "unparsed": not is_there,
  }
  return protocol.Graded(values, {"regret": found, "best": best})


def make(folder: folders.Folder, settings: official.Settings, *, task: Task) -> protocol.Benchmark:
  """The benchmark; no file is read."""
  del folder
  names = ("regret", "regret_two_stage", "regret_spo_plus")
  return protocol.Benchmark(
    name=task.name,
    items=functools.partial(items, task, settings.variant),
    ask=official.generate(settings, limit=512, temperature=0.0),
    grade=protocol.each(functools.partial(grade, task=task, variant=settings.variant)),
    metrics={**{name: metrics_lib.MicroMean("lower") for name in names}, "unparsed": metrics_lib.Mean("lower")},
  )


def published(task: Task, title: str) -> official.Published:
  """The row of the registry."""
  return official.Published(
    name=task.name,
    axis="decisions",
    title=title,
    files=(),
    source="made by the project from the published formulas (Elmachtoub & Grigas 2022)",
    licence="Apache-2.0",
    size="none",
    count=TEST,
    metric="regret",
    make=functools.partial(make, task=task),
    variants=tuple(DEGREES),
    parity="PyEPO's instances bit for bit; its regret and its SPO+ gradient to 1e-6",
  )
