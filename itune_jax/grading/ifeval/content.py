"""Instructions about what a response holds: keywords, letters, placeholders, a postscript.

Keywords are regular expressions, as in the official code, which does not escape them.
"""

import dataclasses
import re

from itune_jax.core import check
from itune_jax.grading.ifeval import instruction
from itune_jax.grading.ifeval import texts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Existence(instruction.Instruction):
  """Each keyword is found, whatever its case."""

  keywords: tuple[str, ...]

  def __post_init__(self):
    super().__post_init__()
    instruction.require_patterns("keywords", self.keywords)

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return all(re.search(keyword, response, re.IGNORECASE) for keyword in self.keywords)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frequency(instruction.Instruction):
  """A keyword is found so many times, within other words too."""

  keyword: str
  frequency: int
  relation: instruction.Relation

  def __post_init__(self):
    super().__post_init__()
    instruction.require_patterns("keyword", [self.keyword.strip()])

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    found = sum(1 for _ in re.finditer(self.keyword.strip(), response, re.IGNORECASE))
    return instruction.compare(found, self.relation, self.frequency)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForbiddenWords(instruction.Instruction):
  """None of these is found as a word of its own."""

  forbidden_words: tuple[str, ...]

  def __post_init__(self):
    super().__post_init__()
    instruction.require_patterns("forbidden_words", map(_word, self.forbidden_words))

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return not any(re.search(_word(word), response, re.IGNORECASE) for word in self.forbidden_words)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LetterFrequency(instruction.Instruction):
  """A character stands in the lower-cased response so many times.

  For a character outside of a-z (two official rows name `!` and `#`) the official code draws a letter at random; here
  the character that the row names is counted.
  """

  letter: str
  let_frequency: int
  let_relation: instruction.Relation

  def __post_init__(self):
    super().__post_init__()
    check.require(len(self.letter) == 1, f"letter is {self.letter!r}; it must be one character")

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    count = response.lower().count(self.letter.lower())
    return instruction.compare(count, self.let_relation, self.let_frequency)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Placeholders(instruction.Instruction):
  """At least so many placeholders in square brackets, each on one line."""

  num_placeholders: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return len(re.findall(r"\[.*?\]", response)) >= self.num_placeholders


_POSTSCRIPTS = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Postscript(instruction.Instruction):
  """The mark of a postscript is found in the lower-cased response, anywhere; two marks are read with spaces as well."""

  postscript_marker: str

  def __post_init__(self):
    super().__post_init__()
    instruction.require_patterns("postscript_marker", [self._pattern])

  @property
  def _pattern(self) -> str:
    marker = self.postscript_marker.strip()
    return _POSTSCRIPTS.get(marker, marker.lower())

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return re.search(self._pattern, response.lower(), re.MULTILINE) is not None


@dataclasses.dataclass(frozen=True, kw_only=True)
class CapitalWords(instruction.Instruction):
  """So many words in capitals alone; what a hyphen joins is one word."""

  capital_frequency: int
  capital_relation: instruction.Relation

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    count = sum(token.isupper() for token in texts.tokens(response))
    return instruction.compare(count, self.capital_relation, self.capital_frequency)


def _word(pattern: str) -> str:
  return rf"\b{pattern}\b"
