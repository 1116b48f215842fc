"""Answers that are not there, repeat the question, or end in the middle."""

import dataclasses
import re

from itune_jax.core import check
from itune_jax.select import row_texts
from itune_jax.select import select_protocol
from itune_jax.select.cleaning import text_step

_STOPS = re.compile(r"[.!?。！？](?:\s|$)")
# What a line that is no prose begins with: an element of a list or outline, a step, a row of a table, a degree.
_LABEL = re.compile(
  r"[-*+•‣●|#>]|(?:\d{1,3}|[a-z]|[ivxlc]{1,6})[.):]\s?|(?:\w+ )?\d+ ?[.):-]\s|(?:[a-z]\.){2,}", re.IGNORECASE
)
# Code, formulas, addresses and tags at an end: none of them has to end in a full stop.
_NO_PROSE = re.compile(
  r"[=<>{}\\^~|]|\w[_(\[]\w|\w\(\)|;\Z|(?:^|\s)(?:[#@]\S+|\S*(?:://|www\.|\w@\w)\S*|\S+\.\w+/\S*)\Z"
)
_OPENING = "([{“‘«„「『（【"
_OPEN_WORDS = frozenset(
  (
    "a",
    "an",
    "the",
    "and",
    "or",
    "but",
    "of",
    "to",
    "in",
    "on",
    "for",
    "with",
    "that",
    "which",
    "is",
    "are",
    "by",
    "as",
  )
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unfinished(select_protocol.RowStep):
  """Drops rows whose answer is empty, is a copy of what was asked, or is cut off.

  cut: whether answers are looked at for being cut: a fence of code that is not closed, or prose whose last line ends in
  a comma, in a word such as "the", or in a word or number without an end though sentences and lines before it have
  one. Elements of lists, code, formulas, addresses and tags are no prose, and a name in capitals is more often an end
  than a cut. prose: words from which on an answer counts as that. copied: the share of the prompt's words that an
  answer must be to count as a copy, if it stands there word by word.
  """

  cut: bool = True
  prose: int = 20
  copied: float = 0.8

  def __post_init__(self):
    check.check_types(self)
    check.require(0 < self.copied <= 1, f"Unfinished.copied = {self.copied}; it is above 0 and at most 1")
    check.require(self.prose > 0, f"Unfinished.prose = {self.prose}; it counts words")

  def row(self, row: select_protocol.Row) -> select_protocol.Outcome:
    """The row, unless its answer is none."""
    read = row_texts.example(row)
    if read is None:
      return select_protocol.Outcome(row, marks=("no known format: answer not looked at",))
    if not read.answer.strip():
      if any(message.get("tool_calls") for message in read.messages):
        return select_protocol.Outcome(row)
      return select_protocol.dropped("empty answer")
    asked, said = row_texts.words(row_texts.get(row, row_texts.PROMPT)), row_texts.words(read.answer)
    if len(said) >= 3 and len(said) >= self.copied * len(asked) and f" {' '.join(said)} " in f" {' '.join(asked)} ":
      return select_protocol.dropped("answer copies the prompt")
    if self.cut and (why := self.cut_off(read.answer)):
      return select_protocol.dropped(why)
    return select_protocol.Outcome(row)

  def cut_off(self, answer: str) -> str:
    """Why an answer is cut, or ""."""
    text = answer.rstrip()
    if sum(line.lstrip().startswith("```") for line in text.splitlines()) % 2:
      return "cut off: open code fence"
    if text_step.CODE.search(text[-400:]) and text.endswith("`"):
      return ""
    *before, last = text.splitlines()
    words = last.split()
    if len(row_texts.words(text)) < self.prose or len(words) < 4 or not _is_prose(last):
      return ""  # a short answer, a heading, an element of a list: none of them has to end in a full stop
    if last.endswith((",", *_OPENING)) or words[-1].lower() in _OPEN_WORDS:
      return "cut off: middle of a sentence"
    lines = [line for line in before if line.strip()]
    bare = sum(line.rstrip()[-1].isalnum() for line in lines)
    if last[-1].isalnum() and not words[-1][0].isupper() and 2 * bare <= len(lines) and len(_STOPS.findall(text)) >= 2:
      return "cut off: no end of the sentence"
    return ""


def _is_prose(line: str) -> bool:
  """Whether a line is one that ends in a full stop; code is indented."""
  return not (line.startswith(("  ", "\t")) or _LABEL.match(line) or _NO_PROSE.search(line))
