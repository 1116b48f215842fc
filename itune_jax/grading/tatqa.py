"""TAT-QA's exact match, numeracy F1 and scale (Zhu et al. 2021), as the official `tatqa_metric.py` computes them.

An answer is a list of spans and a scale ("", thousand, million, billion, percent). Its spans are sorted and joined; a
number among them is rounded to two digits, multiplied by the scale, and written with four. A lone number without a
scale may also be a share that was meant in percent (0.2342 for 23.42 percent).
"""

from collections.abc import Sequence
import math
import re
import string
from typing import Any, NamedTuple

import numpy as np

SCALES = ("", "thousand", "million", "billion", "percent")
_WORTH = (("hundred", 100), ("thousand", 1000), ("million", 1_000_000), ("billion", 1_000_000_000), ("percent", 0.01))
_IGNORED = frozenset("'\"\\$€£¥%(),[]")
_PUNCTUATION = frozenset(string.punctuation)
_NUMBER = re.compile(r"([+-]?\d+(\.\d+)?)|([+-]?\.\d+)")
_NEGATIVE = re.compile(r"(\([\d.\s]+\))")
_PERCENT = re.compile(r"([\d.\s]+%)")
_SCALED = re.compile(r"([\d.]+\s?[a-zA-Z]+)")
_ARTICLES = re.compile(r"\b(a|an|the)\b")


class Verdict(NamedTuple):
  """Of one question: exact match and F1, and whether the scale is right, which counts for answers alone."""

  em: float
  f1: float
  scale: bool


def verdict(gold: Any, kind: str, gold_scale: str, said: Sequence[Any], scale: str | None) -> Verdict:
  """What an answer is worth. kind: the question's `answer_type`. said: the spans; nothing of an answer that is none.

  Of arithmetic and counting questions F1 is the exact match.
  """
  right = gold_spans(gold, kind)
  if not said or not right:
    return Verdict(0.0, 0.0, False)
  told = joined(said, scale or "")
  if len(said) == 1 and not scale and "%" not in str(said[0]) and is_number(str(said[0])):
    number = to_number(str(said[0]))
    texts = [told, *([f"{number:.4f}"] if number is not None else [])]
  else:
    texts = [told]
  em, f1 = max(_metrics(text, joined(right, gold_scale)) for text in texts)
  return Verdict(em, em if kind in ("arithmetic", "count") else f1, gold_scale == scale)


def gold_spans(gold: Any, kind: str) -> list[Any]:
  """The right answer as spans. Raises ValueError for one that its kind cannot have."""
  if kind in ("span", "multi-span"):
    if not isinstance(gold, list):
      raise ValueError(f"the answer of a {kind} question is a list of texts")
    return gold
  return [str(int(gold))] if kind == "count" else [str(gold)]


def joined(spans: Sequence[Any], scale: str) -> str:
  """Spans as one text, numbers in their scale. Spans must be of one type, or their order is none (TypeError)."""
  return " ".join(_in_scale(str(span), scale) for span in sorted(spans))


def _in_scale(text: str, scale: str) -> str:
  number = to_number(text) if is_number(text) else None
  if number is None:
    return f"{text} {scale}" if scale else text
  return f"{number if '%' in text else round(number, 2) * worth(scale):.4f}"


def _metrics(said: str, gold: str) -> tuple[float, float]:
  one, two = normalised(said), normalised(gold)
  return float(one == two), float(round(np.float64(_f1(set(one.split()), set(two.split()))), 2))


def _f1(said: set[str], gold: set[str]) -> float:
  both = len(said & gold)
  precision, recall = (both / len(bag) if bag else 1.0 for bag in (said, gold))
  return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def worth(scale: str) -> float:
  """What a word multiplies a number by: 1 where it is no scale."""
  return next((value for name, value in _WORTH if name in scale.lower()), 1)


def is_number(text: str) -> bool:
  """Whether a text is a number, alone or in front of a scale's word."""
  words = " ".join(map(_cleaned, text.split())).split()
  try:
    return bool(words) and not math.isnan(float(words[0])) and (len(words) < 2 or worth(words[1]) != 1)
  except ValueError:
    return False


def to_number(text: str) -> float | None:
  """The first number of a text: negative in brackets, a share before %, times its scale's word, with four digits."""
  found = _NUMBER.search(_cleaned(text))
  if found is None or not found[1]:
    return None
  scaled = _SCALED.search(text)
  number = float(found[1]) if "." in found[1] else int(found[1])
  sign = -1 if _NEGATIVE.search(text.strip()) else 1
  share = 0.01 if _PERCENT.search(text.strip()) else 1
  return round(number * (worth(scaled[0]) if scaled else 1) * sign * share, 4)


def normalised(text: str) -> str:
  """Word by word: lower case, without punctuation unless it is a number, numbers in one form, without articles."""
  words = []
  for word in text.split(" "):
    plain = word.lower()
    plain = plain if is_number(plain) else "".join(c for c in plain if c not in _PUNCTUATION)
    plain = str(to_number(plain)) if is_number(plain) else plain
    words.append(" ".join(_ARTICLES.sub(" ", plain).split()))
  return " ".join(word for word in words if word.strip()).strip()


def _cleaned(text: str) -> str:
  return "".join(c for c in text if c not in _IGNORED)
