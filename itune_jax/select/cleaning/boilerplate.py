"""Answers that are the boilerplate of another model."""

import dataclasses
import re

from itune_jax.core import check
from itune_jax.select import row_texts
from itune_jax.select import select_protocol

# What such answers begin with, as the filters of ShareGPT's and Alpaca's users list them.
PHRASES = (
  r"as an? (?:ai|artificial intelligence|large|machine learning)(?: language)?(?: model| assistant)?\b",
  r"as a (?:language model|chatbot|text-based)",
  r"i(?:'m| am) (?:just |only )?an? (?:ai|artificial intelligence|language model|large language model)\b",
  r"i(?:'m| am) (?:sorry|afraid),? (?:but )?(?:i|as an ai|that|this)(?: \w+)? ?"
  r"(?:can(?:no|')t|am not able|am unable|do(?:n't| not))",
  r"i (?:cannot|can't|am unable to|am not able to|won't) "
  r"(?:fulfil|fulfill|assist|comply|provide|help|generate|create|answer)",
  r"(?:my|the) (?:training data|knowledge) (?:only goes|cut-?off|was last updated)",
  r"(?:openai|anthropic|google)'s? (?:content )?(?:policy|policies|guidelines|use case)",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Refusals(select_protocol.RowStep):
  """Drops rows whose answer begins with the boilerplate of a refusal or of an AI's speech about itself.

  phrases: patterns, case does not count. within: so many characters of the answer are looked at, 0 for all. unless: a
  pattern; a row whose prompt it is found in is asking for it. action: "mark" keeps the row and counts it.
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
    if not re.search("|".join(self.phrases), start, re.IGNORECASE):
      return select_protocol.Outcome(row)
    if self.unless and re.search(self.unless, row_texts.get(row, row_texts.PROMPT)):
      return select_protocol.Outcome(row, marks=("boilerplate that was asked for",))
    if self.action == "mark":
      return select_protocol.Outcome(row, marks=("boilerplate refusal",))
    return select_protocol.dropped("boilerplate refusal")
