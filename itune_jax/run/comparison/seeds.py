"""Several runs under one name: the same work with other seeds. Items have their mean over them, and what seeds vary is
added to what items leave open."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np

from itune_jax.core import errors
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.grading.statistics import variance
from itune_jax.run.comparison import aggregates
from itune_jax.run.comparison import evaluated


def together(name: str, runs: Sequence[evaluated.Run]) -> evaluated.Run:
  """One run of several. Raises InputError where they do not hold the same benchmarks, items and settings."""
  if len(runs) == 1:
    return dataclasses.replace(runs[0], name=name)
  first = runs[0]
  for other in runs[1:]:
    if first.evaluations.keys() != other.evaluations.keys():
      raise errors.InputError(
        f"{name}: {first.path} and {other.path} hold other benchmarks; runs of one name are seeds of one"
      )
  merged = {key: _mean(name, [run.evaluations[key] for run in runs]) for key in first.evaluations}
  return evaluated.Run(name=name, path=", ".join(run.path for run in runs), evaluations=merged)


def spread(
  one: evaluated.Evaluation, metric: str, ids: Sequence[str], way: metrics_lib.Resampled
) -> tuple[float, float]:
  """(variance of the mean over seeds that seeds make, its degrees of freedom); (0, inf) for one run."""
  if not one.repeats:
    return 0.0, np.inf
  figures = []
  for each in one.repeats:
    values = _known([each.items[id].values.get(metric) for id in ids])
    figures += [way.statistic(values, np.arange(len(values))).value] if values else []
  if len(figures) < 2:
    return 0.0, np.inf
  parts = variance.components([[figure] for figure in figures], items=0.0)
  return parts.seeds / len(figures), len(figures) - 1


def _mean(name: str, parts: Sequence[evaluated.Evaluation]) -> evaluated.Evaluation:
  first = parts[0]
  for other in parts[1:]:
    if first.items.keys() != other.items.keys() or first.settings != other.settings:
      raise errors.InputError(
        f"{name}: {first.where} and {other.where} hold other items or settings; runs of one name are seeds of one"
      )
  notes = [f"the mean over {len(parts)} runs; answers are those of {first.where}"]
  means = []
  for metric in first.metrics:
    if all(isinstance(aggregates.find(part, metric, {}), metrics_lib.Mean) for part in parts):
      means.append(metric)
    else:
      notes.append(f"{metric} is no mean of numbers, and so has no mean over runs")
  items = {id: _item([part.items[id] for part in parts], means) for id in first.items}
  own: dict[str, Any] = dict(items=items, figures={}, varied=())  # what was found of one seed is none of the mean
  return dataclasses.replace(first, **own, repeats=tuple(parts), notes=(*first.notes, *notes))


def _item(items: Sequence[evaluated.Item], metrics: Sequence[str]) -> evaluated.Item:
  values: Mapping[str, Any] = {
    metric: float(np.mean(known)) if (known := _known([item.values.get(metric) for item in items])) else None
    for metric in metrics
  }
  more = {f"answer of run {k}": item.answer for k, item in enumerate(items[1:], 2)}
  return dataclasses.replace(items[0], values=values, more={**items[0].more, **more})


def _known(values: Sequence[Any]) -> list[Any]:
  return [value for value in values if value is not None]
