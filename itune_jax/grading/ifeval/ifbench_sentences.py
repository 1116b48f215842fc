"""Constraints of IFBench about sentences (Pyatkin et al. 2025, arXiv 2507.02833): Punkt's, as NLTK finds them."""

import dataclasses
import itertools
import re

from itune_jax.grading.ifeval import ifbench_words
from itune_jax.grading.ifeval import instruction
from itune_jax.grading.ifeval import texts


def _ends(response: str) -> list[int]:
  """How many sentences end in a full stop, a question mark, an exclamation mark."""
  found = texts.sentences(response)
  return [sum(sentence.endswith(sign) for sentence in found) for sign in ".?!"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoToOne(instruction.Instruction):
  """Twice as many statements as questions."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    said, asked, _ = _ends(response)
    return said == 2 * asked


@dataclasses.dataclass(frozen=True, kw_only=True)
class Balanced(instruction.Instruction):
  """As many statements as questions and exclamations."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return len(set(_ends(response))) == 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Alliteration(instruction.Instruction):
  """Each sentence has more alliterating words than the one before."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    counts = [-1, *map(_alliterating, texts.sentences(response))]
    return all(a < b for a, b in itertools.pairwise(counts))


def _alliterating(sentence: str) -> int:
  """Words in runs of one first letter, all runs of a sentence added up."""
  firsts = [
    word.lstrip(ifbench_words.EDGES)[0] for word in sentence.lower().split() if word.lstrip(ifbench_words.EDGES)
  ]
  runs = [len(list(run)) for _, run in itertools.groupby(firsts)]
  return sum(run for run in runs if run > 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LastFirst(instruction.Instruction):
  """The last word of each sentence is the first of the next."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    for before, behind in itertools.pairwise(texts.sentences(response)):
      last, first = before.rstrip(ifbench_words.EDGES).split(), behind.lstrip(ifbench_words.EDGES).split()
      if not last or not first or last[-1].lower() != first[0].lower():
        return False
    return True


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeywordPlace(instruction.Instruction):
  """A keyword is the m-th word of the n-th sentence."""

  keyword: str
  n: int
  m: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    sentences = texts.sentences(response)
    if len(sentences) < self.n:
      return False
    words = [token for token in texts.tokens(sentences[self.n - 1]) if any(map(str.isalnum, token))]
    return len(words) >= self.m and words[self.m - 1].lower() == self.keyword.strip().lower()


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeywordSentence(instruction.Instruction):
  """A keyword stands in the N-th sentence."""

  word: str
  N: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    sentences = texts.sentences(response)
    pattern = rf"\b{re.escape(self.word)}\b"
    return len(sentences) >= self.N and re.search(pattern, sentences[self.N - 1], re.IGNORECASE) is not None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Growing(instruction.Instruction):
  """Each sentence has so many words more than the one before."""

  small_n: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    counts = [len(ifbench_words.bare(sentence).split()) for sentence in texts.sentences(response)]
    return all(b == a + self.small_n for a, b in itertools.pairwise(counts))
