"""ROUGE-1, ROUGE-L and normalised exact match, as the official script of Super-NaturalInstructions computes them.

Source: yizhongw/Tk-Instruct, src/compute_metrics.py (MIT), over the package rouge_score: F1 on lower-case words of
a-z and 0-9, those of more than three letters stemmed (Porter, NLTK's form); the best over all references counts. In the
cross-lingual track the words are pieces of GPT-2's tokenizer without the marks of spaces. Lin 2004 for the measure.
The longest common subsequence is rapidfuzz's; the arithmetic and its order are those of rouge_score.
"""

import collections
from collections.abc import Callable, Sequence
import functools
import re
import string
from typing import NamedTuple

from itune_jax.core import lazy

porter = lazy.module("nltk.stem.porter")
lcs_seq = lazy.module("rapidfuzz.distance.LCSseq")

Tokens = Callable[[str], list[str]]

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_NO_WORD = re.compile(r"[^a-z0-9]+")
_SPACE = "\u0120"  # how GPT-2's vocabulary writes a space in front of a piece


class Scores(NamedTuple):
  """F1 of single words and of the longest common subsequence, and exact match, each with the best reference."""

  rouge1: float
  rouge_l: float
  exact_match: bool


def stemmed(text: str) -> list[str]:
  """The words of a text: lower case, ASCII letters and digits alone, stemmed where longer than three."""
  return [_stem(word) if len(word) > 3 else word for word in _NO_WORD.sub(" ", text.lower()).split()]


def pieces(tokenize: Callable[[str], Sequence[str]]) -> Tokens:
  """The words of the cross-lingual track. tokenize: gives GPT-2's pieces as its vocabulary has them."""
  return lambda text: [piece.lstrip(_SPACE) for piece in tokenize(text)]


def scores(prediction: str, references: Sequence[str], tokens: Tokens = stemmed) -> Scores:
  """The scores of a prediction. Raises ValueError without a reference."""
  if not references:
    raise ValueError("there is no reference to score by")
  said = tokens(prediction)
  wanted = [tokens(reference) for reference in references]
  return Scores(
    max(rouge_1(said, one) for one in wanted),
    max(rouge_l(said, one) for one in wanted),
    any(same(prediction, reference) for reference in references),
  )


def rouge_1(prediction: Sequence[str], reference: Sequence[str]) -> float:
  """F1 of the words that two lists share, as often as both have them."""
  common = collections.Counter(prediction) & collections.Counter(reference)
  return _f1(common.total(), len(prediction), len(reference))


def rouge_l(prediction: Sequence[str], reference: Sequence[str]) -> float:
  """F1 of the longest common subsequence of two lists of words."""
  numbers: dict[str, int] = {}
  said, wanted = ([numbers.setdefault(word, len(numbers)) for word in words] for words in (prediction, reference))
  return _f1(lcs_seq.similarity(said, wanted), len(said), len(wanted))


def normalised(text: str) -> str:
  """Lower case, without ASCII's punctuation, single spaces: the official normalisation, which keeps articles."""
  return " ".join(text.lower().translate(_NO_PUNCTUATION).split())


def same(prediction: str, reference: str) -> bool:
  """Exact match of the normalised texts."""
  return normalised(prediction) == normalised(reference)


def _f1(common: int, said: int, wanted: int) -> float:
  if not common:
    return 0.0
  precision, recall = common / said, common / wanted
  return 2 * precision * recall / (precision + recall)


@functools.lru_cache(1)
def _stemmer():
  return porter.PorterStemmer()


@functools.lru_cache(1 << 16)
def _stem(word: str) -> str:
  return _stemmer().stem(word)
