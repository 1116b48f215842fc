"""What variations do to a benchmark's figures: base, mean, worst, best and spread, and whether the worst is one by more
than chance."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Any

import numpy as np

from itune_jax.core import contracts
from itune_jax.evals import ask as ask_lib
from itune_jax.evals import protocol
from itune_jax.evals.robust import variations
from itune_jax.grading.statistics import calibration
from itune_jax.grading.statistics import metrics as metrics_lib

FOLDER, FILE = "robust", "robust.json"  # of rows and lines, in the folder of an evaluation

Rows = Sequence[Mapping[str, Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
  """One figure of a benchmark under one kind of variation.

  base: as it is asked without one. mean, worst, best: over base and variations; spread is best less worst. at_worst:
  the name of the worst. loss: base to worst on the same items (a pair of bounds where there are some), p of its test,
  which is corrected for the number of variations (Bonferroni), since the worst of many was chosen. changed: the share
  of items that the variations could change.
  """

  benchmark: str
  metric: str
  kind: str
  base: float
  mean: float
  worst: float
  best: float
  spread: float
  at_worst: str
  loss: float | None
  loss_low: float | None
  loss_high: float | None
  p: float | None
  n: int
  variants: int
  changed: float
  figures: Mapping[str, float]


def lines(
  benchmark: protocol.Benchmark,
  base: contracts.EvalResult,
  found: Sequence[tuple[variations.Variant, contracts.EvalResult]],
) -> list[Line]:
  """A line for each metric and kind of variation, and circular accuracy of rotations."""
  kinds = dict.fromkeys(variant.kind for variant, _ in found)
  return [
    line
    for kind in kinds
    for name, metric in benchmark.metrics.items()
    if (line := _line(benchmark, name, metric, kind, base, [one for one in found if one[0].kind == kind]))
  ]


def _line(benchmark, name, metric, kind, base, found) -> Line | None:
  figures = {variant.name: _value(result, name) for variant, result in found}
  known = {one: value for one, value in figures.items() if math.isfinite(value)}
  own = _value(base, name)
  if not known or not math.isfinite(own):
    return None
  higher = metric.better == "higher"
  every = {"as it is": own, **known}
  at_worst = (min if higher else max)(every, key=lambda one: every[one])
  worst, best = every[at_worst], (max if higher else min)(every.values())
  paired = None
  if at_worst != "as it is" and isinstance(metric, metrics_lib.Resampled):
    result = next(result for variant, result in found if variant.name == at_worst)
    paired = _paired(metric, name, base.rows, result.rows)
  figure, p = (None, None) if paired is None else (paired.figure, paired.p)
  rows = [row for _, result in found for row in result.rows]
  return Line(
    benchmark=benchmark.name,
    metric=name,
    kind=kind,
    base=own,
    mean=float(np.mean(list(every.values()))),
    worst=worst,
    best=best,
    spread=abs(best - worst),
    at_worst=at_worst,
    loss=None if figure is None else figure.value,
    loss_low=None if figure is None else figure.low,
    loss_high=None if figure is None else figure.high,
    p=None if p is None else min(1.0, p * len(known)),
    n=len(base.rows),
    variants=len(known),
    changed=sum(not row.get("unchanged", False) for row in rows) / len(rows) if rows else 1.0,
    figures=figures,
  )


def _paired(metric: metrics_lib.Resampled, name: str, base: Rows, other: Rows) -> metrics_lib.Paired | None:
  """The difference on items of which both have a value."""
  values = {row["id"]: row["values"][name] for row in other}
  shared = [row for row in base if row["id"] in values]
  first, second = [row["values"][name] for row in shared], [values[row["id"]] for row in shared]
  if not any(a is not None and b is not None for a, b in zip(first, second, strict=True)):
    return None
  return metric.paired(first, second, [row["cluster"] for row in shared])


def _value(result: contracts.EvalResult, name: str) -> float:
  return next((one.value for one in result.results if one.metric == name and not one.tag), float("nan"))


def circular(
  base: contracts.EvalResult, found: Sequence[tuple[variations.Variant, contracts.EvalResult]], name: str
) -> contracts.Result | None:
  """Circular accuracy (MMBench, Liu et al. 2023): the share of items that are right in every rotation of their options.
  None where nothing was rotated, or the metric is no share."""
  runs = [result for variant, result in found if variant.kind == "options"]
  if not runs or not metrics_lib.shares([row["values"][name] for row in base.rows]):
    return None
  values = {row["id"]: bool(row["values"][name]) for row in base.rows}
  for result in runs:
    for row in result.rows:
      values[row["id"]] = values[row["id"]] and bool(row["values"][name])
  figure = metrics_lib.Mean()(list(map(float, values.values())), [row["cluster"] for row in base.rows])
  benchmark = base.results[0].benchmark
  return contracts.Result(benchmark, f"circular_{name}", figure.value, "", figure.low, figure.high, figure.n, figure.n)


def calibrated(benchmark: protocol.Benchmark, result: contracts.EvalResult, name: str) -> list[contracts.Result]:
  """How well a benchmark of choices is calibrated (`calibration.METRICS`): the softmax of their log-probabilities
  beside what the metric says of the likeliest. Nothing of other benchmarks."""
  rows = [row for row in result.rows if row["values"].get(name) is not None and "logprobs" in row]
  if not isinstance(benchmark.ask, ask_lib.Choose) or not rows:
    return []
  if not metrics_lib.shares([row["values"][name] for row in rows]):
    return []
  pairs = [(calibration.of_choices(row["logprobs"], [0]).confidence, float(row["values"][name])) for row in rows]
  return calibration.figures(benchmark.name, name, pairs, [row["cluster"] for row in rows], len(result.rows))
