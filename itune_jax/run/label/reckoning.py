"""Figures of labelling: how far people agree, which system they prefer, and how far judges agree with them."""

from collections.abc import Mapping, Sequence
import itertools
import math
from typing import Any

from itune_jax.core import errors
from itune_jax.grading.statistics import agreement
from itune_jax.grading.statistics import metrics
from itune_jax.grading.statistics import pair_metrics
from itune_jax.grading.statistics import pairwise_strengths
from itune_jax.run.label import picking
from itune_jax.run.label import saying
from itune_jax.run.label import settling
from itune_jax.run.label import sheets

_LEVELS: Mapping[str, agreement.Level] = {"rating": "ordinal", "label": "nominal", "preference": "nominal"}


def among_people(said: saying.Said) -> dict[str, Any]:
  """Krippendorff's α of all annotators (ordinal for ratings, nominal else), and Cohen's κ of each two (of ratings with
  quadratic weights). None where too few answered the same items, and for answers in words, whose likeness each row
  bears itself."""
  names = said.annotators
  if said.sheet.kind == "answer":
    return {"alpha": None, "kappa": {}}
  by_item = said.by_item()
  values = {name: [_value(by_item, item.id, name) for item in said.sheet.items] for name in names}
  weights: agreement.Weights = "quadratic" if said.sheet.kind == "rating" else ""
  level = _LEVELS[said.sheet.kind]
  kappa = {
    f"{a}, {b}": _figure(lambda a=a, b=b: agreement.cohen(values[a], values[b], weights))
    for a, b in itertools.combinations(names, 2)
  }
  return {"alpha": _figure(lambda: agreement.krippendorff([values[name] for name in names], level)), "kappa": kappa}


def of_people(said: Sequence[saying.Said], found: Mapping[str, settling.Controls]) -> dict[str, Any]:
  """By annotator: answers, controls and how many were right, the median of seconds, and of decided preferences the
  share that took the first side, with its interval: people who do not look prefer a place."""
  told: dict[str, Any] = {}
  for name in found:
    own = [one for sheet in said for one in sheet.answers if one.annotator == name]
    seconds = sorted(one.seconds for one in own if one.seconds is not None)
    told[name] = {
      "answers": len(own),
      "controls": found[name].seen,
      "right": found[name].right,
      "seconds": seconds[len(seconds) // 2] if seconds else None,
    }
    sides = [one.side for one in own if one.side in sheets.SIDES]
    if sides:
      told[name]["first_side"] = _shown(metrics.Mean()([float(side == sheets.SIDES[0]) for side in sides], _own(sides)))
  return told


def strengths(said: Sequence[saying.Said]) -> list[dict[str, Any]]:
  """Bradley-Terry strengths of the systems of all preferences, with intervals over items; [] where there are none.
  Every answer is a comparison; a tie is half a win for each; controls do not count."""
  games = []
  for one in said:
    if one.sheet.kind != "preference":
      continue
    items = {item.id: item for item in one.sheet.items if item.gold is None}
    for answer in one.answers:
      if answer.item in items:
        first, second = sorted(system for system, _ in items[answer.item].sides)
        worth = 0.5 if answer.value == sheets.TIE else float(answer.value == first)
        games.append(pairwise_strengths.Game(first, second, worth, answer.item))
  if not games:
    return []
  found = pairwise_strengths.strengths(games)
  return [{key: _finite(value) for key, value in one._asdict().items()} for one in found]


def judges(
  said: saying.Said, settled: Mapping[str, settling.Settled], columns: Sequence[str]
) -> dict[str, dict[str, Any]]:
  """How far each judge agrees with what people settled on: of labels and preferences the share of equal verdicts with
  its interval and Cohen's κ, of ratings Spearman's correlation with its interval and the mean difference.

  A judge is a column of the rows, or, of systems that were evaluated, each of their metrics: it prefers the answer of
  more. `missing` counts items of which it says nothing that the sheet knows. Raises InputError for a column that no row
  has.
  """
  names = dict.fromkeys([*columns, *(name for item in said.sheet.items for name in item.judges)])
  found = {name: _verdicts(name, said, settled) for name in names}
  for name in columns:
    if all(verdict is None for verdict, _, _ in found[name]) and found[name]:
      raise errors.InputError(f"--judge={name}: no settled row has a verdict there that is one of the sheet's values")
  return {name: _agreeing(said.sheet.kind, verdicts) for name, verdicts in found.items()}


def _verdicts(
  name: str, said: saying.Said, settled: Mapping[str, settling.Settled]
) -> list[tuple[Any, saying.Value, str]]:
  """(the judge's verdict or None, people's, item) of what was settled."""
  found = []
  for item in said.sheet.items:
    if item.id not in settled:
      continue
    verdict: Any = item.judges.get(name)
    if verdict is None and said.sheet.kind == "rating":
      number = picking.number(dict(item.row), name)
      verdict = None if math.isnan(number) else number
    elif verdict is None:
      given = item.row.get(name)
      known = {system for system, _ in item.sides} | {sheets.TIE} if item.sides else set(said.sheet.values)
      verdict = str(given) if isinstance(given, (str, int)) and str(given) in known else None
    found.append((verdict, settled[item.id].value, item.id))
  return found


def _agreeing(kind: sheets.Kind, verdicts: Sequence[tuple[Any, saying.Value, str]]) -> dict[str, Any]:
  known = [(verdict, value, id) for verdict, value, id in verdicts if verdict is not None]
  own: dict[str, Any] = {"items": len(known), "missing": len(verdicts) - len(known)}
  if not known:
    return own
  ids = [id for _, _, id in known]
  if kind == "rating":
    pairs = [(float(value), float(verdict)) for verdict, value, _ in known]
    higher = math.fsum(verdict - value for value, verdict in pairs) / len(pairs)
    return own | {"spearman": _shown(pair_metrics.Spearman()(pairs, ids)), "mean_difference": higher}
  same = metrics.Mean()([float(verdict == value) for verdict, value, _ in known], ids)
  first, second = [verdict for verdict, _, _ in known], [value for _, value, _ in known]
  return own | {"same": _shown(same), "kappa": _figure(lambda: agreement.cohen(first, second))}


def _value(by_item: Mapping[str, Mapping[str, saying.Answer]], item: str, name: str) -> saying.Value | None:
  answer = by_item.get(item, {}).get(name)
  return None if answer is None else answer.value


def _figure(make) -> float | None:
  """A figure, None where there is none to be made."""
  try:
    return _finite(make())
  except errors.InputError:
    return None


def _finite(value: Any) -> Any:
  return None if isinstance(value, float) and not math.isfinite(value) else value


def _shown(figure: metrics.Figure) -> dict[str, Any]:
  return {key: _finite(value) for key, value in figure._asdict().items()}


def _own(values: Sequence[Any]) -> list[str]:
  """A cluster for each."""
  return [str(i) for i in range(len(values))]
