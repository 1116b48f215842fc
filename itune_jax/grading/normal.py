"""The one normaliser of answers: what is left when case, punctuation and spacing do not count."""

import re
import string
import unicodedata

_ASCII = frozenset(string.punctuation)
_DASHES = str.maketrans({"\u2212": "-", "\u2012": "-", "\u2013": "-"})  # minus, figure dash, en dash
_THOUSANDS = re.compile(r"(?<=\d)(?<!\d{4}),(?=(?:\d{3},)*\d{3}(?!\d)|(?:\d{2},)+\d{3}(?!\d))")
_SIGN = re.compile(r"(?<![^\W_])[-.](?=\d)|(?<![^\W_])-(?=\.\d)")
_RUN_ON = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "BOPOMOFO", "YI")


def normalised(text: str) -> str:
  """Lower case, no punctuation, single spaces: the normalisation of Super-NaturalInstructions, for every script.

  Letters keep their marks (vowel signs, accents in either form), and symbols that are no punctuation (emoji, currency
  signs beyond ASCII) stay. So does what makes a number another: what stands between two digits (1.5, 3/4, 12:30) but
  commas of thousands, and a minus or a point in front of one.
  """
  lowered = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())
  plain = _THOUSANDS.sub("", lowered.translate(_DASHES))
  signs = {found.start() for found in _SIGN.finditer(plain)}
  keeps = lambda i: i in signs or (plain[i - 1 : i].isdecimal() and plain[i + 1 : i + 2].isdecimal())
  return " ".join("".join(c for i, c in enumerate(plain) if not _is_punctuation(c) or keeps(i)).split())


def same(a: str, b: str) -> bool:
  """Whether two answers are the same when normalised; as they are, but for white space at the ends, where one of them
  would leave nothing."""
  left, right = normalised(a), normalised(b)
  return left == right if left and right else a.strip() == b.strip()


def contains(text: str, part: str) -> bool:
  """Whether the words of an answer stand in a text one behind the other, both normalised; as it is where nothing would
  be left of it. In scripts that write no spaces a word may begin and end anywhere."""
  words = normalised(part)
  if not words:
    return part.strip() in text
  begins = "" if _runs_on(words[0]) else r"(?<!\S)"
  ends = "" if _runs_on(words[-1]) else r"(?!\S)"
  return re.search(begins + re.escape(words) + ends, normalised(text)) is not None


def _runs_on(letter: str) -> bool:
  """Whether a letter is of a script that writes no spaces between words."""
  return unicodedata.name(letter, "").startswith(_RUN_ON)


def _is_punctuation(character: str) -> bool:
  return character in _ASCII or unicodedata.category(character).startswith("P")
