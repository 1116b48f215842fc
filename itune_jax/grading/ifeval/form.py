"""Instructions about the form of a response: its length, its parts, its marks."""

import dataclasses
import json
import re

from itune_jax.core import check
from itune_jax.grading.ifeval import instruction
from itune_jax.grading.ifeval import texts


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberSentences(instruction.Instruction):
  """So many sentences, as NLTK's Punkt finds them."""

  num_sentences: int
  relation: instruction.Relation

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return instruction.compare(len(texts.sentences(response)), self.relation, self.num_sentences)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberWords(instruction.Instruction):
  """So many words."""

  num_words: int
  relation: instruction.Relation

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return instruction.compare(len(texts.words(response)), self.relation, self.num_words)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberParagraphs(instruction.Instruction):
  """Exactly so many paragraphs between `***`, none of them blank; a divider at either end divides nothing."""

  num_paragraphs: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", response)]
    return all(parts[1:-1]) and sum(map(bool, parts)) == self.num_paragraphs


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParagraphFirstWord(instruction.Instruction):
  """Exactly so many paragraphs between empty lines, one of which begins with a word, whatever its case."""

  num_paragraphs: int
  nth_paragraph: int
  first_word: str

  def __post_init__(self):
    super().__post_init__()
    check.require(
      self.nth_paragraph <= self.num_paragraphs,
      f"nth_paragraph is {self.nth_paragraph}, and num_paragraphs {self.num_paragraphs}",
    )

  def follows(self, response: str) -> bool:
    """Whether a response does. Blank parts do not count as paragraphs, but they have a place."""
    parts = [part.strip() for part in response.split("\n\n")]
    chosen = parts[self.nth_paragraph - 1] if self.nth_paragraph <= len(parts) else ""
    if sum(map(bool, parts)) != self.num_paragraphs or not chosen:
      return False
    word = chosen.split()[0].lstrip("'").lstrip('"')
    first = re.split(r"[.,?!'\"]", word)[0]
    # Letter by letter, as officially: a capital sigma at a word's end has another small letter within the word.
    return "".join(letter.lower() for letter in first) == self.first_word.lower()


@dataclasses.dataclass(frozen=True, kw_only=True)
class BulletLists(instruction.Instruction):
  """Exactly so many lines that begin with one `*`, or with `-`."""

  num_bullets: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    stars = re.findall(r"^[^\S\n]*\*[^*].*$", response, re.MULTILINE)
    dashes = re.findall(r"^[^\S\n]*-", response, re.MULTILINE)
    return len(stars) + len(dashes) == self.num_bullets


@dataclasses.dataclass(frozen=True, kw_only=True)
class HighlightedSections(instruction.Instruction):
  """At least so many parts of a line between single stars and between double ones, counted apart: `***a***` is two."""

  num_highlights: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    single = [part.strip("*") for part in re.findall(r"\*[^\n*]*\*", response)]
    double = [part[2:-2] for part in re.findall(r"\*\*[^\n*]*\*\*", response)]
    return sum(bool(part.strip()) for part in single + double) >= self.num_highlights


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultipleSections(instruction.Instruction):
  """At least so many sections, each headed by the splitter and a number. The splitter is a regular expression."""

  section_spliter: str
  num_sections: int

  def __post_init__(self):
    super().__post_init__()
    instruction.require_patterns("section_spliter", [self._pattern])

  @property
  def _pattern(self) -> str:
    return rf"\s?{self.section_spliter.strip()}\s?\d+\s?"

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return len(re.split(self._pattern, response)) > self.num_sections


@dataclasses.dataclass(frozen=True, kw_only=True)
class Title(instruction.Instruction):
  """A title in double angular brackets, on one line and not blank."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return any(found.lstrip("<").rstrip(">").strip() for found in re.findall(r"<<[^\n]+>>", response))


@dataclasses.dataclass(frozen=True, kw_only=True)
class JsonFormat(instruction.Instruction):
  """JSON, Python's infinities included, as it is or within a fence of Markdown."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    text = response.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
      text = text.removeprefix(fence)
    try:
      json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
      return False
    return True


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConstrainedResponse(instruction.Instruction):
  """One of three answers stands in the response."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return any(answer in response for answer in ("My answer is yes.", "My answer is no.", "My answer is maybe."))
