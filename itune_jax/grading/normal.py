"""The one normaliser of answers: what is left when case, punctuation and spacing do not count."""

import string
import unicodedata

_ASCII = frozenset(string.punctuation)


def normalised(text: str) -> str:
  """Lower case, no punctuation, single spaces: the normalisation of Super-NaturalInstructions, for every script.

  Letters keep their marks (vowel signs, accents in either form), and symbols that are no punctuation (emoji, currency
  signs beyond ASCII) stay.
  """
  lowered = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())
  return " ".join("".join(c for c in lowered if not _is_punctuation(c)).split())


def same(a: str, b: str) -> bool:
  """Whether two answers are the same when normalised; as they are, but for white space at the ends, where one of them
  would leave nothing."""
  left, right = normalised(a), normalised(b)
  return left == right if left and right else a.strip() == b.strip()


def contains(text: str, part: str) -> bool:
  """Whether the words of an answer stand in a text one behind the other, both normalised; as it is where nothing would
  be left of it."""
  words = normalised(part)
  return f" {words} " in f" {normalised(text)} " if words else part.strip() in text


def _is_punctuation(character: str) -> bool:
  return character in _ASCII or unicodedata.category(character).startswith("P")
