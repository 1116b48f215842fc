"""BM25 (Robertson and Zaragoza 2009) over passages that lie in memory, with Lucene's form of the rarity of a word."""

import collections
from collections.abc import Callable, Sequence
import math
import re

import numpy as np

K1, B = 1.5, 0.75
_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
  """The words of a text in lower case."""
  return _WORD.findall(text.lower())


class Index:
  """Passages by their words.

  score(q, d) = Σ over words w of q of ln(1 + (N - n_w + ½)/(n_w + ½)) · f·(k₁ + 1) / (f + k₁·(1 - b + b·|d|/mean|d|)),
  with f how often w stands in d, and n_w in how many passages it stands. Equal scores go by the passages' order.
  """

  def __init__(self, passages: Sequence[str], tokens: Callable[[str], list[str]] = words, k1: float = K1, b: float = B):
    """Raises ValueError without a passage."""
    if not passages:
      raise ValueError("there is no passage to look in")
    self._tokens, self._size = tokens, len(passages)
    counts = [collections.Counter(tokens(one)) for one in passages]
    lengths = np.array([one.total() for one in counts], np.float64)
    norms = k1 * (1 - b + b * lengths / max(lengths.mean(), 1e-9))
    found: dict[str, list[tuple[int, float]]] = {}
    for place, one in enumerate(counts):
      for word, f in one.items():
        found.setdefault(word, []).append((place, f * (k1 + 1) / (f + norms[place])))
    self._weights: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for word, pairs in found.items():
      places, values = zip(*pairs, strict=True)
      rarity = math.log(1 + (self._size - len(pairs) + 0.5) / (len(pairs) + 0.5))
      self._weights[word] = np.array(places), rarity * np.array(values)

  def scores(self, query: str) -> np.ndarray:
    """Of all passages [N]; a word that stands twice in the query counts twice."""
    found = np.zeros(self._size)
    for word, times in collections.Counter(self._tokens(query)).items():
      if word in self._weights:
        places, values = self._weights[word]
        found[places] += times * values
    return found

  def best(self, query: str, k: int, among: Sequence[int] | None = None) -> list[int]:
    """The places of the k best passages, the best first. among: places that are looked at, all of them without."""
    scores = self.scores(query)
    places = np.arange(self._size) if among is None else np.asarray(among, np.int64)
    return [int(one) for one in places[np.argsort(-scores[places], kind="stable")][:k]]
