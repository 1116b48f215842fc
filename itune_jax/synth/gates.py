"""What keeps a row out because of the rows before it: the same again, or nearly the same words (ROUGE-L above 0.7)."""

from collections.abc import Callable, Iterable, Mapping
import re
from typing import Any

from itune_jax.core import lazy
from itune_jax.grading import rouge

_process = lazy.module("rapidfuzz.process")
_indel = lazy.module("rapidfuzz.distance.Indel")

_NO_WORD = re.compile(r"[^a-z0-9]+")
LIMIT = 0.7  # of Self-Instruct and Alpaca
_FIRST = 0x100  # code points of words start here; surrogates are left out
_SURROGATES = range(0xD800, 0xE000)
Text = Callable[[Mapping[str, Any]], str]


class Gate:
  """Asked of candidates in order, and told each row that is kept; this one lets all through."""

  def admits(self, row: Mapping[str, Any]) -> str:
    """Why a row is not let through, "" where it is."""
    del row
    return ""

  def took(self, row: Mapping[str, Any]) -> None:
    """Takes note of a row that is kept."""


class Distinct(Gate):
  """Each text once, but for case and spacing. text: of a row."""

  def __init__(self, text: Text):
    self._text, self._seen = text, set[str]()

  def admits(self, row: Mapping[str, Any]) -> str:
    """Whether its text is new."""
    return "seen before" if self._of(row) in self._seen else ""

  def took(self, row: Mapping[str, Any]) -> None:
    """Keeps its text."""
    self._seen.add(self._of(row))

  def _of(self, row: Mapping[str, Any]) -> str:
    return " ".join(self._text(row).lower().split())


class Novel(Gate):
  """Keeps texts whose ROUGE-L with each before is at most `limit`; rows of one item with one text count once.

  F1 of the longest common subsequence of words is 2·LCS/(m + n), the normalised Indel similarity of texts in which each
  word is one character; where that is a tie with the limit, the arithmetic of rouge_score decides, as in the originals.
  text: of a row. before: texts that were there first, such as the seeds.
  """

  def __init__(self, text: Text, before: Iterable[str] = (), limit: float = LIMIT):
    self._text, self._limit = text, limit
    self._numbers: dict[str, int] = {}
    self._pool: list[str] = [self._coded(one) for one in before]
    self._last: tuple[Any, str] | None = None

  def admits(self, row: Mapping[str, Any]) -> str:
    """Whether it is new, or one of several of the text that was kept last."""
    return "" if self._is_last(row) else self.alike(self._text(row))

  def alike(self, text: str) -> str:
    """Why a text is not new."""
    coded = self._coded(text)
    if not self._pool:
      return ""
    options = {"scorer": _indel.normalized_similarity, "score_cutoff": self._limit - 1e-3}
    for _, score, k in _process.extract(coded, self._pool, limit=None, processor=None, **options):
      if score < self._limit - 1e-6:
        continue
      if score > self._limit + 1e-6 or rouge.rouge_l(list(coded), list(self._pool[k])) > self._limit:
        return "resembles an earlier one (ROUGE-L)"
    return ""

  def took(self, row: Mapping[str, Any]) -> None:
    """Keeps its text."""
    if not self._is_last(row):
      self._pool.append(self._coded(self._text(row)))
      self._last = (row["source"]["item"], self._text(row))

  def _is_last(self, row: Mapping[str, Any]) -> bool:
    return self._last == (row["source"]["item"], self._text(row))

  def _coded(self, text: str) -> str:
    """A text with a character for each word: lower case, letters and digits of ASCII, as rouge_score cuts it."""
    found = []
    for word in _NO_WORD.sub(" ", text.lower()).split():
      number = self._numbers.setdefault(word, len(self._numbers) + _FIRST)
      found.append(chr(number if number < _SURROGATES.start else number + len(_SURROGATES)))
    return "".join(found)
