"""The one grammar of numbers in answers.

A number is a sign (-, + or the minus sign U+2212, also in front of a currency sign), digits of any script, and a
decimal point with more of them; or a point and digits (.5). An exponent may follow (1e3). Thousands stand between
commas or narrow spaces (1,234,567; in the Indian way 12,34,567); commas at other places part numbers: "3,4" are two.
Comma and point may be those of Arabic, or of full width. A sign behind a digit or a letter is none: "10-5" ends in 5,
and so does a list's "- 5". Numbers are compared as they are written, not rounded: 12 is 12.0, and 0.1 is no other than
0.1.
"""

import decimal
import re

_SEPARATOR = "[,\u00a0\u2009\u202f\u066c\uff0c]"  # the last two are those of Arabic, and of full width
_POINT = "[.\u066b\uff0e]"
_WHOLE = rf"(?:\d{{1,3}}(?:{_SEPARATOR}\d{{3}})+(?!\d)|\d{{1,2}}(?:,\d{{2}})+,\d{{3}}(?!\d)|\d+)"
_NUMBER = re.compile(
  rf"(?:(?<![\w)\]])(?P<sign>[-+\u2212]))?(?<!\d)(?<!{_POINT})(?:[$€£¥₹]\s?)?"
  rf"(?P<number>{_WHOLE}(?:{_POINT}\d+)?|{_POINT}\d+)(?P<exponent>[eE][-+\u2212]?\d{{1,4}}(?!\w))?"
)
_WORK = decimal.Context(prec=decimal.MAX_PREC, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)


def all_of(text: str) -> list[decimal.Decimal]:
  """The numbers of a text, in order."""
  return [_value(match) for match in _NUMBER.finditer(text)]


def final(text: str) -> decimal.Decimal | None:
  """The first number behind the last `####`, or the last number of a text without one; None where there is none."""
  _, marker, behind = text.rpartition("####")
  found = all_of(behind if marker else text)
  return (found[0] if marker else found[-1]) if found else None


def _value(match: re.Match[str]) -> decimal.Decimal:
  whole = re.sub(_POINT, ".", re.sub(_SEPARATOR, "", match["number"]))
  sign = "-" if match["sign"] in ("-", "\u2212") else ""
  return _WORK.create_decimal(sign + whole + (match["exponent"] or "").replace("\u2212", "-"))
