"""Exact match and F1 of extracted spans, as SQuAD defines them, and what XQuAD of lm-eval makes of them.

SQuAD's normal form drops English articles and ASCII punctuation in every language; XQuAD is reported so too.
"""

import collections
from collections.abc import Sequence
import re
import string

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = frozenset(string.punctuation)


def normalised(text: str) -> str:
  """Lower case, without ASCII punctuation, then without articles, with single spaces."""
  return " ".join(_ARTICLES.sub(" ", "".join(c for c in text.lower() if c not in _PUNCTUATION)).split())


def exact(said: str, golds: Sequence[str]) -> bool:
  """Whether an answer is one of the right ones."""
  return normalised(said) in map(normalised, golds)


def f1(said: str, golds: Sequence[str]) -> float:
  """The best F1 of words against a right answer."""
  return max(_f1(normalised(said).split(), normalised(gold).split()) for gold in golds)


def _f1(said: list[str], gold: list[str]) -> float:
  if not said or not gold:
    return float(said == gold)
  both = sum((collections.Counter(said) & collections.Counter(gold)).values())
  if not both:
    return 0.0
  precision, recall = both / len(said), both / len(gold)
  return 2 * precision * recall / (precision + recall)
