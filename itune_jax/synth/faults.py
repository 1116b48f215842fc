"""Answers that are none: refused, cut off, in a loop, in another language. Each is named, so that each is counted."""

import collections
import dataclasses
import re
from typing import Any

from itune_jax.core import check
from itune_jax.core import jsontext
from itune_jax.grading.ifeval import texts
from itune_jax.sampling import requests as requests_lib

_ENDED = {
  "length": "cut off",
  "content_filter": "refused by the endpoint",
  "failed": "the teacher gave no answer",
  "too_long": "the prompt leaves no room",
  "missing": "the teacher gave no answer",
}
_REFUSES = re.compile(
  r"^\W*(?:(?:i['\u2019]?m|i am) (?:very |so )?(?:sorry|afraid|unable|not able)|(?:sorry|unfortunately|apologies),?"
  r"(?: but)? (?:i|as an)\b|my apologies|i (?:cannot|can['\u2019]?t|can not|won['\u2019]?t|will not|must decline|"
  r"must refuse|apologi[sz]e)\b|as an? (?:ai|artificial|large language|language)\b)",
  re.I,
)
_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)```", re.S | re.I)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Faults:
  """Which answers of a teacher are dropped, and the thresholds.

  refusals: drops answers that begin as refusals do. repeated: most of a text's four-word runs that may stand in it
  before, as a share. loop_words: words from which on a text may be called a loop. language: the only language that is
  kept, as langdetect names it (`en`, `zh-cn`), "" for any. language_words: words from which on a language is told.
  """

  refusals: bool = True
  repeated: float = 0.5
  loop_words: int = 24
  language: str = ""
  language_words: int = 8

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
    if self.refusals and _REFUSES.match(text):
      return "refused"
    words = text.split()
    if len(words) >= self.loop_words and repeats(words) > self.repeated:
      return "loops"
    wanted = language or self.language
    if wanted and len(words) >= self.language_words and texts.language(text) != wanted:
      return "other language"
    return ""


def repeats(words: list[str]) -> float:
  """The share of a text's runs of four words that stand in it before."""
  runs = collections.Counter(zip(words, words[1:], words[2:], words[3:], strict=False))
  return 1 - len(runs) / runs.total() if runs else 0.0


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
