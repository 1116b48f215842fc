"""Instructions of M-IFEval for Japanese (Dussolle et al. 2025; `instructions/ja_instructions.py`)."""

import dataclasses
import re
import unicodedata

from itune_jax.core import check
from itune_jax.grading.ifeval import instruction
from itune_jax.grading.ifeval import tongues

_KANJI = "\u4e00-\u9faf"


@dataclasses.dataclass(frozen=True, kw_only=True)
class KanaFrequency(tongues.LetterFrequency):
  """A hiragana and its katakana stand in the response so many times."""

  def __post_init__(self):
    super().__post_init__()
    check.require(len(self.letter) == 1 and "ぁ" <= self.letter <= "ん", f"letter is {self.letter!r}: one hiragana")

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    count = response.count(self.letter) + response.count(chr(ord(self.letter) + 96))
    return tongues.compare(count, self.relation, self.let_frequency)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberLetters(tongues.Counted):
  """So many characters."""

  num_letters: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return tongues.compare(len(response), self.relation, self.num_letters)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kanji(tongues.Counted):
  """So many kanji."""

  kanji_limit: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return tongues.compare(len(re.findall(f"[{_KANJI}]", response)), self.relation, self.kanji_limit)


@dataclasses.dataclass(frozen=True, kw_only=True)
class JapaneseBullets(tongues.Lines):
  """Lines that begin with one ・."""

  PATTERN = r"^\s*・[^・].*$"


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberedLines(instruction.Instruction):
  """Exactly so many lines that begin with a number and a full stop."""

  num_items: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return len(re.findall(r"^\s*\d+\.\s.*$", response, re.MULTILINE)) == self.num_items


@dataclasses.dataclass(frozen=True, kw_only=True)
class OneOfJapanese(tongues.OneOf):
  """The Japanese three."""

  ANSWERS = ("はい、そうです。", "いいえ、違います。", "どちらとも言えません。")


@dataclasses.dataclass(frozen=True, kw_only=True)
class JapaneseTitle(tongues.Has):
  """A title in 『』."""

  PATTERN, MARKS = r"『[^\n]+』", "『』"


@dataclasses.dataclass(frozen=True, kw_only=True)
class JapaneseHighlights(instruction.Instruction):
  """At least so many parts in 《》."""

  num_highlights: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    found = re.findall("《[^\\n《》]*》", response)
    return sum(bool(one.strip("《》").strip()) for one in found) >= self.num_highlights


@dataclasses.dataclass(frozen=True, kw_only=True)
class JapaneseSections(instruction.Instruction):
  """At least so many headings such as 第1章."""

  section_spliter: str
  num_sections: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    pattern = rf"\s?第[\d\uFF10-\uFF19]+{re.escape(self.section_spliter.strip())}\s?"
    return len(re.split(pattern, response)) > self.num_sections


@dataclasses.dataclass(frozen=True, kw_only=True)
class JapanesePostscript(instruction.Instruction):
  """The mark of a postscript, whatever its case."""

  postscript_marker: str

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    marker = self.postscript_marker.strip()
    pattern = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}.get(marker, re.escape(marker))
    return re.search(pattern, response, re.IGNORECASE) is not None


@dataclasses.dataclass(frozen=True, kw_only=True)
class JapaneseFirst(tongues.FirstWords):
  """The same by characters, behind opening brackets."""

  def _begins(self, chosen: str) -> bool:
    return chosen.lstrip("「").lstrip("『").startswith(self.first_word)


@dataclasses.dataclass(frozen=True, kw_only=True)
class JapaneseEnd(instruction.Instruction):
  """The response ends with a phrase, closing brackets aside."""

  end_phrase: str

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return response.strip().strip("」』").endswith(self.end_phrase.strip().strip("」』"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class JapaneseRepeat(instruction.Instruction):
  """The response begins with the prompt."""

  prompt_to_repeat: str

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return response.strip().startswith(self.prompt_to_repeat.strip())


@dataclasses.dataclass(frozen=True, kw_only=True)
class JapaneseBetween(tongues.Between):
  """All stands between 「 and 」."""

  PAIRS = ("「」",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoJapaneseComma(tongues.Without):
  """No 、."""

  PATTERN = "、"


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoJapanesePeriod(tongues.Without):
  """No 。."""

  PATTERN = "。"


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoHiragana(tongues.Without):
  """No hiragana."""

  PATTERN = "[ぁ-ゖ]"


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoKatakana(tongues.Without):
  """No katakana, of full or half width."""

  PATTERN = "[ァ-ヺｦ-ﾟ]"


@dataclasses.dataclass(frozen=True, kw_only=True)
class HiraganaOnly(instruction.Instruction):
  """Of letters hiragana alone."""

  PATTERN = re.compile("[ぁ-んー]")

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return all(self.PATTERN.match(c) or not unicodedata.category(c).startswith("L") for c in response)


@dataclasses.dataclass(frozen=True, kw_only=True)
class KatakanaOnly(HiraganaOnly):
  """Of letters katakana alone."""

  PATTERN = re.compile("[ァ-ンー・ｦ-ﾟ]")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Furigana(instruction.Instruction):
  """Each run of kanji has its reading in brackets behind it."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return len(re.findall(f"[{_KANJI}]+", response)) == len(re.findall(f"[{_KANJI}]+（[ぁ-ん]+）", response))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SameEnding(instruction.Instruction):
  """Each sentence outside of quotations ends with one word."""

  ending: str

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    text = re.sub("『.*?』", "", re.sub("「.*?」", "", response))
    return all(part.endswith(self.ending) for part in re.split("[。！？]", text) if part)
