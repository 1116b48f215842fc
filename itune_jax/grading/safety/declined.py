"""How answers of chat models decline and speak about themselves, as patterns.

Case does not count, and apostrophes are ASCII. Benchmarks have lists of their own (`refusals`), which are crude and
stay as published. These patterns say which rows are dropped, so what a person may say as well is none: a word such as
"can't" or "sorry" needs what is declined.
"""

import re

_AI = (
  r"(?:an? )?(?:ai|artificial intelligence|large language|language|machine learning|text-based)"
  r"(?: language)?(?: model| assistant| system| chat ?bot| program)?(?: (?:ai|model|assistant))?"
)
# What may stand behind the name of a machine; another noun would make it the name of somebody's trade.
_NO_TRADE = (
  r"(?=\s*(?:[^\w\s-]|\Z)|\s+(?:i|my|and|but|so|that|who|which|with|without|by|from|trained|developed|created|designed|"
  r"made|programmed|built|here|not)\b)"
)
_SORRY = (
  r"(?:(?:i'm|i am) (?:\w+ )?(?:sorry|afraid)|sorry|apologies|my apologies|i (?:do |must )?apologi[sz]e|unfortunately|"
  r"regrettably)\b"
)
_NOT = (
  r"\bi(?:'m| am| \w+ly| just)? ?(?:can't|cannot|can not|won't|will not|(?:not able|unable|not allowed|not permitted|"
  r"not comfortable|not going)(?: to)?|don't feel comfortable|must (?:decline|refuse) to|have to (?:decline|refuse) to)"
)
_PLAIN = (
  r"help(?! but\b| \w*(?:ing|self)\b)|assist|provid\w+|answer|fulfil\w*|comply|complying|generat\w+|creat\w+|engage in|"
  r"support (?:this|that|your)|accommodate|do (?:that|this)\b(?! \w+(?: \w+)? again)|"
  r"(?:complete|process|respond to|share|write|discuss|continue|carry out|perform) (?:with )?(?:this|that|such|your)"
)
# Verbs that people too cannot do something by: only an apology before them makes a refusal.
_REGRETTED = (
  r"discuss|write|recommend|describe|explain|translate|offer (?:you )?(?:advice|guidance|help)|give you|tell you"
)
_SPOKEN = r"(?![^.!?\n]{0,200}\b(?:said|says|replied|asked|whispered|told|cried|shouted|answered)\b)"

# An answer's first sentence declines; an apology may be one of its own.
REFUSAL = (
  rf"(?:{_SORRY}(?:[^.!?\n]{{0,80}}?[,.;:!–—-])?\s*(?:but |that |however,? )?(?:as {_AI}{_NO_TRADE},? )?"
  rf"{_NOT} (?:{_PLAIN}|{_REGRETTED})|{_NOT} (?:{_PLAIN})|\bi (?:must|have to|respectfully) (?:decline|refuse)\b)"
  rf"{_SPOKEN}"
)
AS_MACHINE = rf"\bas {_AI}{_NO_TRADE}(?=[^.!?\n]{{0,200}}\b(?:i|my|me)\b)"
IS_MACHINE = rf"\b(?:i'm|i am) (?:just |only |merely )?(?=an? ){_AI}{_NO_TRADE}"
_BEGINS = re.compile(rf"[^\w\"“”'‘«]*(?:{REFUSAL}|{AS_MACHINE})", re.IGNORECASE)


def begins(text: str) -> bool:
  """Whether a text begins by declining, or by speaking as a machine; not where it begins with somebody's speech."""
  return _BEGINS.match(text[:600].replace("’", "'")) is not None
