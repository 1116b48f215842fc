"""Instructions of M-IFEval that count Spanish words (Dussolle et al. 2025; `instructions/es_instructions.py`).

Words are the tokens of spaCy's Spanish tokenizer that are no punctuation. It consists of rules, which the package has;
the official code loads a model around it, whose trained parts these kinds do not ask.
"""

import dataclasses
import functools
import re

from itune_jax.core import lazy
from itune_jax.grading.ifeval import instruction
from itune_jax.grading.ifeval import tongues

spacy = lazy.module("spacy")

_TILDES = "áéíóúÁÉÍÓÚ"
_BULLETS = re.compile(r"(^\s*[\d]+\.\s*)|(^\s*[-*]\s*)", re.MULTILINE)


@functools.cache
def _tokenizer():
  return spacy.blank("es").tokenizer


def words(text: str) -> list[str]:
  """The tokens that are no punctuation; runs of white space are tokens, as there. Raises InputError without spaCy."""
  return [token.text for token in _tokenizer()(text) if not token.is_punct]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpanishNumberWords(tongues.Counted):
  """So many words, without the marks of lists."""

  num_words: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    text = _BULLETS.sub("", response).replace("\n", " ")
    return tongues.compare(len(words(text)), self.relation, self.num_words)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpanishCapitalWords(tongues.Counted):
  """So many words in capitals."""

  capital_frequency: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    found = sum(word.isupper() for word in words(response))
    return tongues.compare(found, self.relation, self.capital_frequency)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tildes(tongues.Counted):
  """So many words with an accent."""

  num_words: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    found = sum(any(letter in _TILDES for letter in word) for word in words(response))
    return tongues.compare(found, self.relation, self.num_words)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _WordsWith(instruction.Instruction):
  """Exactly so many words with a letter."""

  let_frequency: int
  LETTER = ""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return sum(self.LETTER in word.lower() for word in words(response)) == self.let_frequency


@dataclasses.dataclass(frozen=True, kw_only=True)
class Enie(_WordsWith):
  """Exactly so many words with ñ."""

  LETTER = "ñ"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dieresis(_WordsWith):
  """Exactly so many words with ü."""

  LETTER = "ü"
