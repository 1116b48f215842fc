"""Differences of two runs on the items that both have: over all of them, and by tag."""

from collections.abc import Iterator, Sequence
from typing import Any

from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.grading.statistics import pair_metrics
from itune_jax.grading.statistics import variance
from itune_jax.run.comparison import aggregates
from itune_jax.run.comparison import matching
from itune_jax.run.comparison import outcomes
from itune_jax.run.comparison import seeds

_FEW = 20  # values of a tag that are always told apart


def row(
  pair: matching.Match,
  metric: str,
  way: metrics_lib.Resampled,
  ids: Sequence[str],
  *,
  percent: bool | None = None,
  tested: bool = True,
  **own: Any,
) -> outcomes.Comparison | None:
  """The comparison over these items; None where no item has a value in both runs. percent: whether the
  figures are shares, of a part of the items; None for all of them, where the runs' own figures are those over all items
  that each has. tested: whether the difference has a p."""
  before, after = ([pair.pairs[id][side].values.get(metric) for id in ids] for side in (0, 1))
  if not any(a is not None and b is not None for a, b in zip(before, after, strict=True)):
    return None
  clusters = [pair.pairs[id][0].cluster or id for id in ids]
  found = _with_seeds(pair, metric, way, ids, way.paired(before, after, clusters))
  if not tested:
    found = found._replace(p=None, test="none")
  figures = [
    aggregates.figure(one, metric, way) if percent is None else way(values, clusters)
    for one, values in ((pair.first, before), (pair.second, after))
  ]
  figures = [
    _widened(figure, seeds.spread(one, metric, ids, way))
    for figure, one in zip(figures, (pair.first, pair.second), strict=True)
  ]
  return outcomes.Comparison(
    metric=metric,
    one=figures[0],
    two=figures[1],
    difference=found.figure,
    error=found.error,
    degrees=found.degrees,
    p=found.p,
    test=found.test,
    how=aggregates.name_of(way),
    percent=_is_share(pair, metric, way) if percent is None else percent,
    shared=found.figure.n,
    **own,
  )


def tags(
  whole: outcomes.Comparison, pair: matching.Match, way: metrics_lib.Resampled, notes: list[str]
) -> Iterator[outcomes.Comparison]:
  """The same comparison over the items of each value of each tag."""
  same = ("benchmark", "first", "second", "better", "notes")
  own = {name: vars(whole)[name] for name in same}
  if whole.p is None:
    return
  for tag in dict.fromkeys(tag for item, _ in pair.pairs.values() for tag in item.tags):
    by_value: dict[str, list[str]] = {}
    for id, (item, _) in pair.pairs.items():
      for value in item.tags.get(tag, ()):
        by_value.setdefault(value, []).append(id)
    if len(by_value) > max(_FEW, len(pair.pairs) // 2):
      notes.append(f"{whole.benchmark}: the tag {tag} has {len(by_value):,} values, too many to tell apart")
      continue
    for value, ids in by_value.items():
      found = row(pair, whole.metric, way, ids, percent=whole.percent, of=len(ids), tag=f"{tag}={value}", **own)
      if found is not None:
        yield found


def _with_seeds(
  pair: matching.Match, metric: str, way: metrics_lib.Resampled, ids: Sequence[str], found: metrics_lib.Paired
) -> metrics_lib.Paired:
  """With what seeds vary added to the error, where runs were repeated."""
  parts = [seeds.spread(one, metric, ids, way) for one in (pair.first, pair.second)]
  if not any(one.repeats for one in (pair.first, pair.second)):
    return found
  error, degrees = variance.combined([(found.error**2, float("inf")), *parts])
  if not error > 0:
    return found
  value, half = found.figure.value, variance.quantile(degrees) * error
  figure = metrics_lib.Figure(value, value - half, value + half, found.figure.n)
  return metrics_lib.Paired(figure, error, variance.p_value(value, error, degrees), "t over items and seeds", degrees)


def _widened(figure: metrics_lib.Figure, spread: tuple[float, float]) -> metrics_lib.Figure:
  """A figure's interval with what seeds vary."""
  if not spread[0] or figure.low is None or figure.high is None:
    return figure
  items = (figure.high - figure.low) / (2 * variance.quantile(float("inf")))
  error, degrees = variance.combined([(items**2, float("inf")), spread])
  half = variance.quantile(degrees) * error
  return figure._replace(low=figure.value - half, high=figure.value + half)


def _is_share(pair: matching.Match, metric: str, way: metrics_lib.Resampled) -> bool:
  """Whether the figures are shares, which are shown in percent."""
  if isinstance(way, (pair_metrics.Classes, pair_metrics.Auc, metrics_lib.PassAtK)):
    return not isinstance(way, pair_metrics.Mcc)
  scores = [
    aggregates.score(way, item.values.get(metric)) for one in (pair.first, pair.second) for item in one.items.values()
  ]
  known = [score for score in scores if score is not None]
  return bool(known) and all(0 <= score <= 1 for score in known)
