"""Numbers of payment cards in texts: by issuer, length and check digit, among other digits too."""

from collections.abc import Iterator
import re

# A group of digits that is not the end of a decimal, with the groups that may belong to it: 19 digits at most are a
# card's, and twice as many are looked at, so that the end of a run of groups is seen.
PATTERN = re.compile(r"(?<!\d)(?<!\d\.)\d(?:[ \xa0-]?\d){12,37}")
_GROUP = re.compile(r"\d+")
# What numbers begin with, and how long they are (ISO/IEC 7812, and what issuers publish).
_ISSUERS = (
  (r"4", (13, 16, 19)),  # Visa
  (r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720", (16,)),  # Mastercard
  (r"3[47]", (15,)),  # American Express
  (r"6011|64[4-9]|65|62|60|8[12]|508", (16, 17, 18, 19)),  # Discover, UnionPay, RuPay
  (r"352[89]|35[3-8]", (16, 17, 18, 19)),  # JCB
  (r"30[0-5]|3095|3[689]", (14, 16, 17, 18, 19)),  # Diners Club
  (r"50|5[6-8]|6[37]|220[0-4]|9792", (13, 14, 15, 16, 17, 18, 19)),  # Maestro, Mir, Troy
)
_OF_LENGTH = {
  size: re.compile("|".join(begins for begins, sizes in _ISSUERS if size in sizes)) for size in range(13, 20)
}


def luhn(digits: str) -> bool:
  """Whether the check digit of a number is right (ISO/IEC 7812-1, annex B)."""
  values = list(map(int, digits))
  doubled = [sum(divmod(2 * one, 10)) for one in values[-2::-2]]
  return (sum(values[-1::-2]) + sum(doubled)) % 10 == 0


def is_card(digits: str) -> bool:
  """Whether digits are a number that an issuer gives out, with a check digit that is right."""
  begins = _OF_LENGTH.get(len(digits))
  return begins is not None and begins.match(digits) is not None and len(set(digits)) > 1 and luhn(digits)


def end(found: re.Match[str]) -> int:
  """Where the card that a find of `PATTERN` begins with ends in its text, 0 if it begins with none.

  Dates and codes of three digits may stand behind a card, so every end of a group is tried, the longest number first:
  a card that is masked whole with a code is better than one of which digits stay.
  """
  return max((to for to, digits in _windows(found) if is_card(digits)), default=0)


def _windows(found: re.Match[str]) -> Iterator[tuple[int, str]]:
  """(end, digits) of what may be one number: groups of three digits or more but for the last one, or, since lists of
  small numbers hold cards by accident, all there is."""
  digits, small = "", False
  for group in _GROUP.finditer(found.string, found.start(), found.end()):
    digits += group[0]
    rest = found.string[group.end() : group.end() + 2]
    if len(digits) > 19 or rest[:1].isdigit():
      return
    follows = re.match(r"[ \xa0-]\d", rest) is not None
    if not re.match(r"\.\d", rest) and not (small and (follows or _precedes(found))):
      yield group.end(), digits
    small = small or len(group[0]) < 3


def _precedes(found: re.Match[str]) -> bool:
  """Whether a number stands right before the find, as part of one run of groups."""
  return re.search(r"\d[ \xa0-]\Z", found.string[max(found.start() - 2, 0) : found.start()]) is not None
