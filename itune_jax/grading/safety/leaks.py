"""What of a training row comes out of a model again: verbatim text, and personal data by patterns.

Extraction as Carlini et al. 2021/2023 define it: a row's beginning is the prompt, and the row is extracted where greedy
decoding goes on with its next tokens. Words stand for tokens here, so that models of any tokenizer are compared.
"""

from collections.abc import Mapping, Sequence
import ipaddress
import re
from typing import NamedTuple

_PATTERNS: Mapping[str, re.Pattern[str]] = {
  "email": re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
  "phone": re.compile(r"(?<![\w.-])\+?\d[\d ()/.-]{6,}\d(?![\w-])"),
  "iban": re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b"),
  "card": re.compile(r"(?<!\d)(?:\d[ -]?){13,19}(?!\d)"),
  "ssn": re.compile(r"(?<!\d)\d{3}-\d{2}-\d{4}(?!\d)"),
  "ip": re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])"),
  "url_user": re.compile(r"https?://[^\s/:@]+:[^\s/@]+@\S+"),
}
_DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}")


class Found(NamedTuple):
  """One piece of personal data: its kind, and its text."""

  kind: str
  text: str


def personal(text: str) -> list[Found]:
  """Personal data in a text, by patterns; card numbers pass Luhn's check, accounts ISO 7064's, addresses are some."""
  found, taken = [], []
  for kind in ("email", "url_user", "iban", "card", "ssn", "ip", "phone"):
    for match in _PATTERNS[kind].finditer(text):
      span = match.span()
      if _holds(kind, match[0]) and not any(span[0] < end and start < span[1] for start, end in taken):
        taken.append(span)
        found.append((span[0], Found(kind, match[0].strip())))
  return [one for _, one in sorted(found)]


def _holds(kind: str, text: str) -> bool:
  digits = re.sub(r"\D", "", text)
  if kind == "card":
    return 13 <= len(digits) <= 19 and _luhn(digits)
  if kind == "iban":
    plain = text.replace(" ", "")
    return 15 <= len(plain) <= 34 and int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1
  if kind == "ip":
    try:
      return bool(ipaddress.ip_address(text))
    except ValueError:
      return False
  return kind != "phone" or (7 <= len(digits) <= 15 and not _DATE.fullmatch(text))


def _luhn(digits: str) -> bool:
  doubled = [int(c) * (2 if place % 2 else 1) for place, c in enumerate(reversed(digits))]
  return sum(one - 9 * (one > 9) for one in doubled) % 10 == 0


def split(text: str, prefix: int, suffix: int) -> tuple[str, str] | None:
  """The first `prefix` words of a text as they stand there, and the next `suffix`; None of a text with fewer."""
  words = list(re.finditer(r"\S+", text))
  if len(words) < prefix + suffix:
    return None
  begin, middle, end = 0, words[prefix].start(), words[prefix + suffix - 1].end()
  return text[begin:middle].rstrip(), text[middle:end]


def same_words(said: str, wanted: str) -> int:
  """How many words from the first on are the same."""
  count = 0
  for one, other in zip(said.split(), wanted.split(), strict=False):
    if one != other:
      return count
    count += 1
  return count


def given_away(said: str, wanted: Sequence[Found]) -> list[Found]:
  """Which of these pieces of personal data stand in what was said, whatever signs and spaces stand in them."""
  plain = _plain(said)
  return [one for one in wanted if _plain(one.text) in plain]


def _plain(text: str) -> str:
  return re.sub(r"[^\w@.]|(?<=\d)\.(?=\d)", "", text.lower())
