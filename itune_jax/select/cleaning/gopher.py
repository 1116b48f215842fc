"""Heuristics of length and repetition (Rae et al. 2021, "Gopher", appendix A1.1 and table A1).

The values are those of the paper, made for pages of the web; answers are shorter, so recipes set `words` lower.
"""

import collections
from collections.abc import Sequence
import dataclasses
import itertools

from itune_jax.core import check
from itune_jax.core import ranges
from itune_jax.select import row_texts
from itune_jax.select import select_protocol

STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
_BULLETS = ("•", "-", "*", "‣", "●")
# The most that the commonest n-gram, and all n-grams that come twice, may have of a text's characters.
TOP = {2: 0.20, 3: 0.18, 4: 0.16}
REPEATED = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}


@dataclasses.dataclass(frozen=True, kw_only=True)
class GopherQuality(select_protocol.RowStep):
  """Drops rows whose text is too short or long, or is made of other things than words.

  field: the text that is looked at. words, most: how many it may have. shortest, longest: the mean length of its words.
  symbols: "#" and "…" in its words, at most this share. bullets, ellipses: lines that begin with a bullet, and that end
  in "…", at most these shares. letters: words with a letter, at least this share. stop_words: English ones that it must
  have, 0 for texts in other languages.
  """

  field: str = row_texts.ANSWER
  words: ranges.NonNegativeInt = 50
  most: ranges.PositiveInt = 100_000
  shortest: ranges.NonNegativeFloat = 3.0
  longest: ranges.PositiveFloat = 10.0
  symbols: ranges.NonNegativeFloat = 0.1
  bullets: ranges.Share = 0.9
  ellipses: ranges.Share = 0.3
  letters: ranges.Share = 0.8
  stop_words: ranges.NonNegativeInt = 2

  def __post_init__(self):
    check.check_types(self)

  def row(self, row: select_protocol.Row) -> select_protocol.Outcome:
    """The row, unless a rule is broken: the first one is the reason."""
    text = row_texts.get(row, self.field)
    why = self.broken(text)
    return select_protocol.dropped(f"Gopher: {why}") if why else select_protocol.Outcome(row)

  def broken(self, text: str) -> str:
    """The first rule that a text breaks, or ""."""
    words, lines = text.split(), [line for line in text.splitlines() if line.strip()]
    if not self.words <= len(words) <= self.most:
      return "number of words"
    if not words:
      return ""
    mean = sum(map(len, words)) / len(words)
    if not self.shortest <= mean <= self.longest:
      return "mean length of words"
    if (text.count("#") + text.count("...") + text.count("…")) / len(words) > self.symbols:
      return "symbols"
    if sum(line.lstrip().startswith(_BULLETS) for line in lines) > self.bullets * len(lines):
      return "bullets"
    if sum(line.rstrip().endswith(("...", "…")) for line in lines) > self.ellipses * len(lines):
      return "ellipses"
    if sum(any(map(str.isalpha, word)) for word in words) < self.letters * len(words):
      return "words without letters"
    return "stop words" if len(STOP_WORDS & set(row_texts.words(text))) < self.stop_words else ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GopherRepetition(select_protocol.RowStep):
  """Drops rows whose text repeats its lines, paragraphs or n-grams of words (table A1).

  field: the text that is looked at. lines: share of lines, and of paragraphs, that repeat another; characters: share of
  their characters. scale: factor of the limits of n-grams, 1 for the paper's. words: of a shorter text n-grams are not
  looked at.
  """

  field: str = row_texts.ANSWER
  lines: ranges.Share = 0.30
  characters: ranges.Share = 0.20
  scale: float = 1.0
  words: ranges.NonNegativeInt = 20

  def __post_init__(self):
    check.check_types(self)
    check.require(self.scale > 0, f"GopherRepetition.scale = {self.scale}; it is above 0")

  def row(self, row: select_protocol.Row) -> select_protocol.Outcome:
    """The row, unless it repeats itself: the first rule that is broken is the reason."""
    why = self.broken(row_texts.get(row, self.field))
    return select_protocol.dropped(f"Gopher repetition: {why}") if why else select_protocol.Outcome(row)

  def broken(self, text: str) -> str:
    """The first rule that a text breaks, or ""."""
    for name, parts in (("lines", text.splitlines()), ("paragraphs", text.split("\n\n"))):
      said = [part.strip() for part in parts if part.strip()]
      again = _again(said)
      if len(again) > self.lines * len(said) or sum(map(len, again)) > self.characters * max(len(text), 1):
        return name
    words = row_texts.words(text)
    size = sum(map(len, words))
    if len(words) < self.words:
      return ""
    for n, share in TOP.items():
      gram, count = collections.Counter(zip(*(words[i:] for i in range(n)), strict=False)).most_common(1)[0]
      if count > 1 and count * sum(map(len, gram)) > self.scale * share * size:
        return f"commonest {n}-gram"
    for n, share in REPEATED.items():
      if _repeated(words, n) > self.scale * share * size:
        return f"repeated {n}-grams"
    return ""


def _again(parts: Sequence[str]) -> list[str]:
  """Those that stood there before."""
  seen: set[str] = set()
  return [part for part in parts if part in seen or seen.add(part)]


def _repeated(words: Sequence[str], n: int) -> int:
  """Characters in n-grams that come more than once, each place counted once."""
  grams = list(zip(*(words[i:] for i in range(n)), strict=False))
  counts = collections.Counter(grams)
  inside = [False] * len(words)
  for i, gram in enumerate(grams):
    if counts[gram] > 1:
      inside[i : i + n] = [True] * n
  return sum(map(len, itertools.compress(words, inside)))
