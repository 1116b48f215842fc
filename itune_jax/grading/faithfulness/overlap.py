"""BLEU and ROUGE of one answer with one reference, as TruthfulQA's figures take them.

BLEU is sacrebleu's of a corpus of one pair: international tokens, exponential smoothing, four orders (Papineni et al.
2002, Post 2018). ROUGE is rouge_score's F1 without stemming (Lin 2004).
"""

import collections
import math
import re
import unicodedata

from itune_jax.grading import rouge

_ORDERS = 4
_NO_WORD = re.compile(r"[^a-z0-9]+")


def bleu(said: str, reference: str) -> float:
  """From 0 to 100."""
  ours, wanted = international(said), international(reference)
  if not ours or not wanted:
    return 0.0
  correct, total = zip(*(_matches(ours, wanted, n) for n in range(1, _ORDERS + 1)), strict=True)
  if not any(correct) or not all(total):
    return 0.0
  smooth, logs = 1.0, 0.0
  for right, count in zip(correct, total, strict=True):
    smooth *= 1 if right else 2
    logs += math.log(100 * right / count if right else 100 / (smooth * count))
  brevity = 1.0 if len(ours) >= len(wanted) else math.exp(1 - len(wanted) / len(ours))
  return brevity * math.exp(logs / _ORDERS)


def international(text: str) -> list[str]:
  """Tokens by mteval-v14's international rule: signs stand alone, but for those between numbers."""
  found = _parted(text, lambda a, b: a[0] != "N" and b[0] == "P", lambda a, b: f"{a} {b} ")
  found = _parted(found, lambda a, b: a[0] == "P" and b[0] != "N", lambda a, b: f" {a} {b}")
  return "".join(f" {c} " if unicodedata.category(c)[0] == "S" else c for c in found).split()


def rouge_n(said: str, reference: str, n: int) -> float:
  """F1 of n-grams, from 0 to 1."""
  ours, wanted = (_grams(_words(text), n) for text in (said, reference))
  return _f1((ours & wanted).total(), ours.total(), wanted.total())


def rouge_l(said: str, reference: str) -> float:
  """F1 of the longest common subsequence, from 0 to 1."""
  return rouge.rouge_l(_words(said), _words(reference))


def _words(text: str) -> list[str]:
  return _NO_WORD.sub(" ", text.lower()).split()


def _grams(words: list[str], n: int) -> collections.Counter:
  return collections.Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def _matches(ours: list[str], wanted: list[str], n: int) -> tuple[int, int]:
  said = _grams(ours, n)
  return (said & _grams(wanted, n)).total(), said.total()


def _parted(text: str, fits, put) -> str:
  """Pairs of neighbours that fit are put anew, from left to right, none of which overlap."""
  found, place = [], 0
  while place < len(text):
    pair = text[place : place + 2]
    if len(pair) == 2 and fits(*map(unicodedata.category, pair)):
      found.append(put(*pair))
      place += 2
    else:
      found.append(text[place])
      place += 1
  return "".join(found)


def _f1(common: int, said: int, wanted: int) -> float:
  return 2 * common / (said + wanted) if common else 0.0
