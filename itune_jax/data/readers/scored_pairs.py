"""Pairs as published sets write them, which `preferences` then reads.

Scores stand under other names; or several answers with a score each are there, of which the best and the worst are the
pair: UltraFeedback's `completions`, or `responses` with `scores` (Magpie: `rewards_armorm`).
"""

import dataclasses
from collections.abc import Mapping
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
  if not any(key in raw for key in preferences.SIDES):
    if "completions" in raw:
      raw = _of_best_and_worst(raw, completions(raw), ("completions",))
    elif "responses" in raw:
      key = next((key for key in _SCORES_OF_RESPONSES if not fields.is_null(raw.get(key))), "scores")
      raw = _of_best_and_worst(raw, _responses(raw, key), ("responses", key))
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


def _of_best_and_worst(
  raw: Mapping[str, Any], scored: list[tuple[float, str]], read: tuple[str, ...]
) -> dict[str, Any]:
  """The row as a pair. scored: (score, answer) of each."""
  best, worst = max(scored, key=lambda one: one[0]), min(scored, key=lambda one: one[0])
  if best[0] == worst[0]:
    raise fields.BadRow("a tie: all of its answers have one score, so none is preferred")
  own = {key: value for key, value in raw.items() if key not in read}
  return own | {"chosen": best[1], "rejected": worst[1], "score_chosen": best[0], "score_rejected": worst[0]}


def completions(raw: Mapping[str, Any]) -> list[tuple[float, str]]:
  """(score, answer) of UltraFeedback's completions.

  The score is the mean of the ratings by aspect: for some answers the overall score of the
  published set is ten times too large (a known fault of it)."""
  given = fields.transposed(raw["completions"])
  if not isinstance(given, (list, tuple)) or len(given) < 2:
    raise fields.BadRow("`completions` must be a list of two or more, each with a `response` and its ratings")
  scored = []
  for i, one in enumerate(given):
    if not isinstance(one, Mapping):
      raise fields.BadRow(f"`completions` {i} is {jsontext.shown(one)}; it must be an object")
    text = fields.text(one.get("response"), f"`response` of completion {i}")
    scored.append((_score(one, f"`completions` {i}"), text))
  return scored


def _responses(raw: Mapping[str, Any], key: str) -> list[tuple[float, str]]:
  given, scores = raw["responses"], raw.get(key)
  if not isinstance(given, (list, tuple)) or not isinstance(scores, (list, tuple)):
    raise fields.BadRow(f"`responses` and `{key}` must be lists: an answer and its score each")
  if len(given) != len(scores) or len(given) < 2:
    raise fields.BadRow(f"it has {len(given)} `responses` and {len(scores)} of `{key}`; a pair is of two or more")
  numbers = [one.get("score") if isinstance(one, Mapping) else one for one in scores]
  texts = [fields.text(one, f"`responses` {i}") for i, one in enumerate(given)]
  return [(fields.number(one, f"`{key}` {i}"), text) for i, (one, text) in enumerate(zip(numbers, texts, strict=True))]


_SCORES_OF_RESPONSES = ("scores", "rewards_armorm", "rewards", "ratings")


_UNRATED = ("", "N/A", "NA", "NONE")


def _number(given: str, where: str) -> float:
  """A rating that stands there as text. Raises BadRow."""
  try:
    return fields.number(float(given), where)
  except ValueError:
    raise fields.BadRow(f"{where} is {jsontext.shown(given)}; it must be a number, or N/A") from None


def _score(completion: Mapping[str, Any], where: str) -> float:
  ratings = []
  aspects = completion.get("annotations")
  for aspect in aspects.values() if isinstance(aspects, Mapping) else ():
    given = aspect.get("Rating") if isinstance(aspect, Mapping) else None
    if isinstance(given, str) and given.strip().upper() not in _UNRATED:
      ratings.append(_number(given, f"a rating of {where}"))
    elif isinstance(given, (int, float)) and not fields.is_null(given):
      ratings.append(fields.number(given, f"a rating of {where}"))
  if ratings:
    return sum(ratings) / len(ratings)
  for key in ("fine-grained_score", "overall_score", "score"):
    if not fields.is_null(completion.get(key)):
      return fields.number(completion[key], f"`{key}` of {where}")
  raise fields.BadRow(f"{where} has no score")
