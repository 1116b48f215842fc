"""Pairs as published sets write them: scores under other names, and UltraFeedback's `completions`, each with ratings,
of which the best and the worst are the pair. Then `preferences` reads them."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from itune_jax.core import jsontext
from itune_jax.data import example as example_lib
from itune_jax.data import fields
from itune_jax.data.readers import preferences

SCORES = ("margin", "score_chosen", "score_rejected")
_SCORE_NAMES = {  # as other sets call them
  **dict.fromkeys(("chosen_score", "chosen-rating", "chosen_rating"), "score_chosen"),
  **dict.fromkeys(("rejected_score", "rejected-rating", "rejected_rating"), "score_rejected"),
}


def parse(raw: Mapping[str, Any]) -> example_lib.Example:
  """The pair of a row. Raises BadRow by name."""
  if "completions" in raw and not any(key in raw for key in preferences.SIDES):
    raw = _scored(raw)
  return preferences.parse(_with_scores(raw))


def preferred(raw: Mapping[str, Any]) -> example_lib.Example:
  """The preferred side of a pair alone, to be learned as an answer. Raises BadRow."""
  pair = parse(raw)
  found = dataclasses.replace(pair, rejected=(), margin=None)
  object.__setattr__(found, "unread", pair.unread)
  return found


def _with_scores(raw: Mapping[str, Any]) -> Mapping[str, Any]:
  """The row with its scores under one name each."""
  found = dict(raw)
  for key, name in _SCORE_NAMES.items():
    if key in found and not fields.is_null(found[key]):
      if name in found and found[name] != found[key]:
        raise fields.BadRow(f"`{key}` and `{name}` differ")
      found[name] = found.pop(key)
  return found


def _scored(raw: Mapping[str, Any]) -> Mapping[str, Any]:
  """The pair of the best and the worst of scored completions. The score is the mean of the ratings by aspect: for some
  answers the overall score of the published set is ten times too large (a known fault of it)."""
  given = raw["completions"]
  if not isinstance(given, (list, tuple)) or len(given) < 2:
    raise fields.BadRow("`completions` must be a list of two or more, each with a `response` and its ratings")
  scored = []
  for i, one in enumerate(given):
    if not isinstance(one, Mapping):
      raise fields.BadRow(f"`completions` {i} is {jsontext.shown(one)}; it must be an object")
    scored.append(
      (_score(one, f"`completions` {i}"), fields.text(one.get("response"), f"`response` of completion {i}"))
    )
  best, worst = max(scored, key=lambda one: one[0]), min(scored, key=lambda one: one[0])
  own = {key: value for key, value in raw.items() if key not in ("completions", *_UNUSED)}
  sides = {"chosen": best[1], "rejected": worst[1], "score_chosen": best[0], "score_rejected": worst[0]}
  return {**own, **sides}


_UNUSED = ("models", "correct_answers", "incorrect_answers")  # of UltraFeedback, beside its completions


def _score(completion: Mapping[str, Any], where: str) -> float:
  ratings = []
  aspects = completion.get("annotations")
  for aspect in aspects.values() if isinstance(aspects, Mapping) else ():
    given = aspect.get("Rating") if isinstance(aspect, Mapping) else None
    if isinstance(given, str) and given.strip().isdigit():
      ratings.append(float(given))
    elif isinstance(given, (int, float)) and not fields.is_null(given):
      ratings.append(fields.number(given, f"a rating of {where}"))
  if ratings:
    return sum(ratings) / len(ratings)
  for key in ("fine-grained_score", "overall_score", "score"):
    if not fields.is_null(completion.get(key)):
      return fields.number(completion[key], f"`{key}` of {where}")
  raise fields.BadRow(f"{where} has no score")
