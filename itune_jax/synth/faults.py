"""Answers that are none: refused, cut off, in a loop, in another language. Each is named, so that each is counted."""

import collections
from collections.abc import Sequence
import dataclasses
import re
from typing import Any

from itune_jax.core import check
from itune_jax.core import jsontext
from itune_jax.core import ranges
from itune_jax.grading.ifeval import texts
from itune_jax.grading.safety import declined
from itune_jax.sampling import requests as requests_lib

_ENDED = {
  "length": "cut off",
  "content_filter": "refused by the endpoint",
  "failed": "the teacher gave no answer",
  "too_long": "the prompt leaves no room",
  "missing": "the teacher gave no answer",
}
# Letters of scripts that put no space between words, by how many of them there are to a word, about.
_UNSPACED = (
  (2, re.compile("[\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")),
  (4, re.compile("[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff]")),  # Thai, Lao, Tibetan, Burmese, Khmer
)
_HAN, _KANA = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"), re.compile("[\u3041-\u30fa]")
_RUN = 16  # letters, which are as long as four words
_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)```", re.S | re.I)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Faults:
  """Which answers of a teacher are dropped, and the thresholds.

  refusals: drops answers that begin as refusals do. repeated: most of a text's runs of four words, and of sixteen
  letters, that may stand in it before, as a share. loop_words: words from which on a text may be called a loop.
  language: the only language that is kept, as langdetect names it (`en`, `zh-cn`), "" for any. language_words: words
  from which on a language is told. Words of scripts without spaces are counted by their letters.
  """

  refusals: bool = True
  repeated: float = 0.5
  loop_words: ranges.PositiveInt = 24
  language: str = ""
  language_words: ranges.NonNegativeInt = 8

  def __post_init__(self):
    check.check_types(self)
    check.require(0 < self.repeated <= 1, f"Faults.repeated = {self.repeated}; it is a share, above 0 up to 1")
    known = ("", *texts.LANGUAGES)
    check.require(self.language in known, f"Faults.language = {self.language!r}; one of {', '.join(known[1:])}, or ''")

  def of(self, sample: requests_lib.Sample, language: str = "") -> str:
    """Why an answer is none; "" where it is one. language: asked for, in place of the value's own."""
    if sample.finish in _ENDED:
      return _ENDED[sample.finish]
    return "empty" if not sample.text.strip() and not sample.tool_calls else self.of_text(sample.text, language)

  def of_text(self, text: str, language: str = "") -> str:
    """The same of a text alone."""
    if not text.strip():
      return ""
    if self.refusals and declined.begins(text):
      return "refused"
    count = words(text)
    if count >= self.loop_words and repeats(text) > self.repeated:
      return "loops"
    wanted = language or self.language
    if wanted and count >= self.language_words and not _is_in(text, wanted):
      return "other language"
    return ""


def words(text: str) -> int:
  """How many words a text has: between spaces, and by their letters in scripts without them."""
  count = 0
  for letters, script in _UNSPACED:
    text, found = script.subn(" ", text)
    count += found // letters
  return count + len(text.split())


def repeats(text: str) -> float:
  """The share of a text's runs that stand in it before: of four words between spaces, or of sixteen letters, which
  loops in any script have."""
  letters = "".join(filter(str.isalpha, text))
  return max(_again(text.split(), 4), _again(letters, _RUN))


def _again(parts: Sequence[str], size: int) -> float:
  runs = collections.Counter(zip(*(parts[i:] for i in range(size)), strict=False))
  return 1 - len(runs) / runs.total() if runs else 0.0


def _is_in(text: str, wanted: str) -> bool:
  """Whether a text is in a language. Chinese of few letters is taken for Korean or for the other Chinese by
  langdetect, so letters of Han without any of Japan are what was wanted where that is Chinese."""
  told = texts.language(text)
  if told in (None, wanted) or not wanted.startswith("zh"):
    return told in (None, wanted)
  letters = sum(map(str.isalpha, text))
  is_chinese = 2 * len(_HAN.findall(text)) > letters and not _KANA.search(text)
  return is_chinese and told not in ("zh-cn", "zh-tw")


def json_in(text: str, kind: type = dict) -> Any:
  """The JSON value of an answer: all of it, its first fenced block, or what stands from its first bracket to its last.
  None for broken JSON, and for a value of another kind than `kind` (dict, list)."""
  opens, closes = ("{", "}") if kind is dict else ("[", "]")
  begins, ends = text.find(opens), text.rfind(closes)
  fenced = _FENCE.search(text)
  for part in (text, fenced[1] if fenced else "", text[begins : ends + 1] if begins >= 0 else ""):
    try:
      value = jsontext.loads(part, finite=True)
    except ValueError:
      continue
    if isinstance(value, kind):
      return value
  return None
