"""Answers that are the boilerplate of another model."""

import dataclasses
import re

from itune_jax.core import check
from itune_jax.grading.safety import declined
from itune_jax.select import row_texts
from itune_jax.select import select_protocol

# What such answers begin with, as the filters of ShareGPT's and Alpaca's users list them, without what people say too.
PHRASES = (
  rf"(?:\A|[.!?\n])\W*{declined.REFUSAL}",
  declined.AS_MACHINE,
  declined.IS_MACHINE,
  r"\bmy (?:training data|knowledge) (?:only goes|cut-?off|was last updated)",
  r"\b(?:i|my|me|(?:your|this) (?:request|prompt))\b[^.!?\n]{0,99}\b(?:against|violat\w+|compl(?:y|ies|iance) with|"
  r"accordance with) (?:openai|anthropic|google)(?:'s?)? (?:content |usage |use case )?(?:polic|guideline)",
)
_QUOTED = re.compile(r"\"[^\"\n]*(?:\"|\Z)|“[^”\n]*(?:”|\Z)|„[^“”\n]*(?:[“”]|\Z)|«[^»\n]*(?:»|\Z)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Refusals(select_protocol.RowStep):
  """Drops rows whose answer begins with the boilerplate of a refusal or of an AI's speech about itself.

  phrases: patterns, case does not count; what stands in quotation marks is somebody's speech, in which none is looked
  for. within: so many characters of the answer are looked at, 0 for all. unless: a pattern; a row whose prompt it is
  found in is asking for it. action: "mark" keeps the row and counts it.
  """

  phrases: tuple[str, ...] = PHRASES
  within: int = 200
  unless: str = r"(?i)\b(?:are you|who are you|an ai\b|language model|chatgpt)"
  action: str = "drop"

  def __post_init__(self):
    check.check_types(self)
    check.regex("|".join(self.phrases), "Refusals.phrases")
    check.regex(self.unless, "Refusals.unless")
    check.require(self.action in ("drop", "mark"), f"Refusals.action = {self.action!r}: drop or mark")
    check.require(self.within >= 0, f"Refusals.within = {self.within}; it counts characters")

  def row(self, row: select_protocol.Row) -> select_protocol.Outcome:
    """The row, unless it refuses."""
    answer = row_texts.get(row, row_texts.ANSWER).replace("’", "'")
    start = answer[: self.within] if self.within else answer
    if not re.search("|".join(self.phrases), _QUOTED.sub('""', start), re.IGNORECASE):
      return select_protocol.Outcome(row)
    if self.unless and re.search(self.unless, row_texts.get(row, row_texts.PROMPT)):
      return select_protocol.Outcome(row, marks=("boilerplate that was asked for",))
    if self.action == "mark":
      return select_protocol.Outcome(row, marks=("boilerplate refusal",))
    return select_protocol.dropped("boilerplate refusal")
