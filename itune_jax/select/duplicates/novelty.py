"""Novelty by ROUGE-L, as Self-Instruct (Wang et al. 2023) and Alpaca (Taori et al. 2023) filter what they generate.

The longest common subsequence is rapidfuzz's: F1 of ROUGE-L is its normalised Indel similarity. Pairs at the threshold
are computed once more, since the originals' floats decide there: 2pr / (p + r) of an F1 of exactly 7/10 is now and then
above 0.7.
"""

from collections.abc import Iterable, Iterator, Sequence
import dataclasses
import fractions
import itertools
import re
from typing import Literal

import numpy as np

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import lazy
from itune_jax.select import row_texts
from itune_jax.select import select_protocol
from itune_jax.select import stages

process = lazy.module("rapidfuzz.process")
indel = lazy.module("rapidfuzz.distance.Indel")
lcs_seq = lazy.module("rapidfuzz.distance.LCSseq")

BATCH, POOL = 512, 8192  # texts that are compared at once, with so many of those that are kept
_NEAR = 1e-5  # rapidfuzz's matrix is float32
_NO_WORD = re.compile(r"[^a-z0-9]+")  # what separates words: rouge_score, without a stemmer


@dataclasses.dataclass(frozen=True, kw_only=True)
class RougeNovelty(select_protocol.Step):
  """Keeps, in the order of the input, the rows whose text has an F1 of ROUGE-L of at most the threshold with every row
  kept before. A text without a word of a-z and 0-9 is like no other, as it is in the originals, and is counted.

  field: the text that is compared: a key, or "@prompt", "@answer", "@all". threshold: the F1 that is still new. tie:
  who decides at the threshold: the floats of the package rouge_score, or the fractions themselves. workers: threads
  that compare.
  """

  field: str = "instruction"
  threshold: float = 0.7
  tie: Literal["rouge_score", "exact"] = "rouge_score"
  workers: int = 2

  def __post_init__(self):
    check.check_types(self)
    check.require(0 < self.threshold < 1, f"RougeNovelty.threshold = {self.threshold}; it is between 0 and 1")
    check.require(self.workers > 0, f"RougeNovelty.workers = {self.workers}; it is 1 or more")

  def apply(
    self, rows: Iterable[select_protocol.Row], notes: select_protocol.Notes
  ) -> Iterator[select_protocol.Outcome]:
    """The rows that are new when they come; the manifest has, for each other row, the kept one that it is too like."""
    pool, coded, alike, number = _Pool(), Coded(), [], 0
    notes |= {"alike": alike, "without_words": 0}
    stream, present = iter(rows), row_texts.Present(type(self).__name__, self.field)
    while batch := list(itertools.islice(stream, BATCH)):
      texts = [coded(present.text(row)) for row in batch]
      notes["without_words"] += texts.count("")
      found = self.like(texts, pool, number)
      for row, other in zip(batch, found, strict=True):
        if other is None:
          yield select_protocol.Outcome(row)
        else:
          alike.append({"dropped": stages.At(number), "like": stages.At(other)})
          yield select_protocol.dropped(f"ROUGE-L above {self.threshold}")
        number += 1
    present.require()

  def like(self, texts: Sequence[str], pool: "_Pool", first: int) -> list[int | None]:
    """For each text the number of a kept one that it is too like, or None; those that are new join the pool.

    texts: coded; first: the number of the first of them.
    """
    found: list[int | None] = [None] * len(texts)
    left = [i for i, text in enumerate(texts) if text]
    for start in range(0, len(pool.texts), POOL):
      kept = pool.texts[start : start + POOL]
      for n, at in self._close([texts[i] for i in left], kept):
        if found[left[n]] is None:
          found[left[n]] = pool.numbers[start + at]
      left = [i for i in left if found[i] is None]
    others: dict[int, list[int]] = {}
    for n, at in self._close([texts[i] for i in left], [texts[i] for i in left]):
      if at < n:
        others.setdefault(left[n], []).append(left[at])
    for i in left:
      found[i] = next((first + j for j in others.get(i, ()) if found[j] is None), None)
      if found[i] is None:
        pool.texts.append(texts[i])
        pool.numbers.append(first + i)
    return found

  def _close(self, texts: Sequence[str], kept: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Pairs (of texts, of kept) above the threshold, in order."""
    if not texts or not kept:
      return
    cutoff = self.threshold - _NEAR
    how = {"scorer": indel.normalized_similarity, "score_cutoff": cutoff, "dtype": np.float32, "workers": self.workers}
    matrix = process.cdist(texts, kept, **how)
    for n, at in zip(*(one.tolist() for one in np.nonzero(matrix)), strict=True):
      if matrix[n, at] > self.threshold + _NEAR or self.above(texts[n], kept[at]):
        yield n, at

  def above(self, new: Sequence, kept: Sequence) -> bool:
    """Whether the F1 of a pair is above the threshold, exactly as the tie rule has it."""
    common = lcs_seq.similarity(new, kept)
    if self.tie == "exact":
      return fractions.Fraction(2 * common, len(new) + len(kept)) > fractions.Fraction(str(self.threshold))
    precision, recall = common / len(kept), common / len(new)
    return common > 0 and 2 * precision * recall / (precision + recall) > self.threshold


class Coded:
  """Texts as strings of one character a word, which rapidfuzz compares quickest."""

  def __init__(self):
    self._codes: dict[str, str] = {}

  def __call__(self, text: str) -> str:
    """The words of a text, each by its character. Raises RunError for more words than Unicode has characters."""
    return "".join([self._codes.get(word) or self._new(word) for word in _NO_WORD.sub(" ", text.lower()).split()])

  def _new(self, word: str) -> str:
    code = len(self._codes) + 1
    code += 0x800 * (code >= 0xD800)  # halves of surrogate pairs are no characters
    if code > 0x10FFFF:
      raise errors.RunError("more than 1,112,063 different words: select parts of the rows one after the other")
    return self._codes.setdefault(word, chr(code))


class _Pool:
  """The texts that are kept, and their numbers."""

  def __init__(self):
    self.texts: list[str] = []
    self.numbers: list[int] = []
