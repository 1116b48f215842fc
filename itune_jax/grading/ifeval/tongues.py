"""Instructions of M-IFEval for Spanish and French, where they differ from the English ones (Dussolle et al.
2025; `instructions/*_instructions.py` of lightblue-tech/M-IFEval).

Relations are the words that rows have: "al menos" and "como máximo", "au moins" and "moins de", 以上 and 未満.
"""

from collections.abc import Mapping
import dataclasses
import re
import string
import unicodedata

from itune_jax.core import check
from itune_jax.grading.ifeval import instruction
from itune_jax.grading.ifeval import texts

AT_LEAST, AT_MOST, BELOW = ("al menos", "au moins", "以上"), ("como máximo",), ("moins de", "未満")
# Abbreviations that the official French code adds to Punkt's own.
ABBREVIATIONS = frozenset(
  (
    *("m", "mr", "mme", "mlle", "dir.", "dr", "dre", "drs", "dres", "prof", "pr"),
    *("cap", "lt", "adm.", "assoc.", "min.", "etc", "cf", "vs", "rép", "i.e", "c.-à-d"),
    *("ex", "e.g", "apr", "av", "j.c.", "j.-c.", "j.c", "j.-c", "av. è. c.", "è. c", "a.d"),
    *("av. n. è", "de n. è.", "env", "janv", "fév", "mar", "avr", "juil", "sept", "oct", "nov"),
    *("déc", "p.-ê.", "svp", "p.-v.", "p.v", "tél", "adj", "q.v", "p", "resp", "tel"),
    *("v", "vol", "nb", "n.b", "p.s", "ps", "p.p.s", "p.-s", "p-s"),
  )
)
_ACCENTS = re.compile(r"[àáâãäåçèéêëìíîïñòóôõöùúûüýÿÀÁÂÃÄÅÇÈÉÊËÌÍÎÏÑÒÓÔÕÖÙÚÛÜÝ]")
_TU = re.compile(r"\btu\b|\bte\b|\bt'\b|\btoi\b|\bton\b|\bta\b|\btes\b", re.IGNORECASE)


def compare(count: int, relation: str, bound: int) -> bool:
  """Whether a count stands in a relation to its bound."""
  return count >= bound if relation in AT_LEAST else count <= bound if relation in AT_MOST else count < bound


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counted(instruction.Instruction):
  """Something is counted and compared."""

  relation: str

  def __post_init__(self):
    super().__post_init__()
    known = (*AT_LEAST, *AT_MOST, *BELOW)
    check.require(self.relation in known, f"relation is {self.relation!r}; it is one of {', '.join(known)}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResponseLanguage(instruction.Instruction):
  """All is in one language; a text that has none to be told follows.

  An official French row names `zh`, which langdetect never answers (it says zh-cn): as there, no response follows it.
  """

  language: str

  def __post_init__(self):
    super().__post_init__()
    known = (*texts.LANGUAGES, "zh")
    check.require(self.language in known, f"language is {self.language!r}; langdetect knows {', '.join(known)}")

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return texts.language(response) in (self.language, None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frequency(Counted):
  """A keyword, a regular expression, is found so many times."""

  keyword: str
  frequency: int

  def __post_init__(self):
    super().__post_init__()
    instruction.require_patterns("keyword", [self.keyword.strip()])

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    found = len(re.findall(self.keyword.strip(), response, re.IGNORECASE))
    return compare(found, self.relation, self.frequency)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LetterFrequency(Counted):
  """A letter stands in the lower-cased response so many times."""

  letter: str
  let_frequency: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return compare(response.lower().count(self.letter.strip().lower()), self.relation, self.let_frequency)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberWords(Counted):
  """So many runs of word characters."""

  num_words: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return compare(len(texts.words(response)), self.relation, self.num_words)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrenchSentences(Counted):
  """So many sentences, as Punkt finds them in French."""

  num_sentences: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return compare(len(texts.sentences(response, "french", ABBREVIATIONS)), self.relation, self.num_sentences)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CapitalWords(Counted):
  """So many words in capitals alone, by NLTK's tokens."""

  capital_frequency: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return compare(sum(map(str.isupper, texts.tokens(response))), self.relation, self.capital_frequency)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lines(instruction.Instruction):
  """Exactly so many lines of a kind: a list's."""

  num_bullets: int
  PATTERN = r"^\s*\*[^\*].*$"

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return len(re.findall(self.PATTERN, response, re.MULTILINE)) == self.num_bullets


@dataclasses.dataclass(frozen=True, kw_only=True)
class OneOf(instruction.Instruction):
  """One of three answers stands in the response."""

  ANSWERS = ("Sí.", "No.", "Quizás.")

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return any(answer in response.strip() for answer in self.ANSWERS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OneOfFrench(OneOf):
  """The French three."""

  ANSWERS = ("Oui.", "Non.", "Peut-être.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Has(instruction.Instruction):
  """What a pattern finds is there and not blank between its marks."""

  PATTERN, MARKS = r"¿[^?]*\?", "¿?"

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    left, right = self.MARKS
    return any(found.lstrip(left).rstrip(right).strip() for found in re.findall(self.PATTERN, response))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exclaims(Has):
  """An exclamation between both of its marks."""

  PATTERN, MARKS = r"¡[^!]*\!", "¡!"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrenchTitle(Has):
  """A title between double hashes."""

  PATTERN, MARKS = r"##[^\n]+##", "##"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpanishPostscript(instruction.Instruction):
  """The mark of a postscript, in lower case."""

  postscript_marker: str

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    marker = self.postscript_marker.strip()
    pattern = {"P.D.": r"p\.\s?d\.", "Nota": "nota"}.get(marker, re.escape(marker.lower()))
    return re.search(pattern, response.lower()) is not None


@dataclasses.dataclass(frozen=True, kw_only=True)
class FirstWords(instruction.Instruction):
  """Exactly so many paragraphs, one of which begins with some words, without ASCII punctuation."""

  num_paragraphs: int
  nth_paragraph: int
  first_word: str

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    parts = [part.strip() for part in response.split("\n\n")]
    count = sum(map(bool, parts))
    chosen = parts[self.nth_paragraph - 1] if self.nth_paragraph <= count else ""
    return bool(chosen) and count == self.num_paragraphs and self._begins(chosen)

  def _begins(self, chosen: str) -> bool:
    wanted = self.first_word.strip().lower().split()
    words = ["".join(c for c in word if c not in string.punctuation).lower() for word in chosen.split()]
    return words[: len(wanted)] == wanted


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpanishEnd(instruction.Instruction):
  """The response ends with a phrase, without a full stop behind it."""

  end_phrase: str

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    text = response.strip().strip('"').lower()
    return text.removesuffix(".").endswith(self.end_phrase.strip().lower())


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpanishCapital(instruction.Instruction):
  """Spanish in capitals alone; marks of letters do not count."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    plain = (c for c in unicodedata.normalize("NFKD", response) if not unicodedata.combining(c))
    is_upper = all(c.isupper() or not c.isalpha() for c in plain)
    return is_upper and texts.language(response.lower()) in ("es", None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrenchCapital(instruction.Instruction):
  """French in capitals alone."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return response.isupper() and texts.language(response.lower()) in ("fr", None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpanishLower(instruction.Instruction):
  """Spanish without a capital."""

  CODE = "es"

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return response.islower() and texts.language(response) in (self.CODE, None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrenchLower(SpanishLower):
  """French without a capital."""

  CODE = "fr"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Between(instruction.Instruction):
  """All stands between two marks, of one of these pairs."""

  PAIRS = ('""', "''", "«»")

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    text = response.strip()
    return len(text) > 1 and any(text[0] == left and text[-1] == right for left, right in self.PAIRS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Without(instruction.Instruction):
  """What a pattern finds is not there."""

  PATTERN = r"\d"

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return not re.search(self.PATTERN, response)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoAccents(Without):
  """No letter with a mark."""

  PATTERN = _ACCENTS.pattern


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForbiddenChar(instruction.Instruction):
  """A character is not there, whatever its case."""

  forbidden_char: str

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return not re.search(re.escape(self.forbidden_char), response, re.IGNORECASE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class InformalAddress(instruction.Instruction):
  """The reader is addressed by tu."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return bool(_TU.search(response))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accents(instruction.Instruction):
  """Words that are there have their accents: a table from a word without to the word with them."""

  word_to_accentuate: Mapping[str, str]

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    for word in re.findall(r"\b\w+\b", response.lower()):
      bare = "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c))
      if self.word_to_accentuate.get(bare, word) != word:
        return False
    return True
