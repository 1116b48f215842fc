"""Data about persons, and secrets, by their patterns and check digits: masked, or the row is dropped."""

from collections.abc import Callable, Iterator
import dataclasses
import re
from typing import Literal, NamedTuple

from itune_jax.core import check
from itune_jax.select import row_texts
from itune_jax.select import select_protocol
from itune_jax.select.cleaning import card_numbers
from itune_jax.select.cleaning import phone_numbers


def iban(text: str) -> int:
  """The length of the international account number that a text begins with, else 0.

  ISO 13616: it is as long as its country's are, and modulo 97 it is 1.
  """
  places = [i for i, one in enumerate(text) if one not in " -"]
  size = _IBAN_LENGTHS.get(text[:2].upper(), len(text) + 1)
  if size > len(places):
    return 0
  plain = "".join(text[i] for i in places[:size]).upper()
  number = int("".join(str(int(one, 36)) for one in plain[4:] + plain[:4]))
  ends = size == len(places) or places[size] > places[size - 1] + 1  # a longer word is no number
  return places[size - 1] + 1 if ends and number % 97 == 1 else 0


def _iban_end(found: re.Match[str]) -> int:
  size = iban(found[0])
  return found.start() + size if size else 0


class Kind(NamedTuple):
  """What is looked for, and where in its text a find that is one ends; 0 if it is none."""

  pattern: re.Pattern[str]
  end: Callable[[re.Match[str]], int] = re.Match.end


_IBAN_LENGTHS = dict(
  AD=24, AE=23, AL=28, AT=20, AZ=28, BA=20, BE=16, BG=22, BH=22, BR=29, CH=21, CR=22, CY=28, CZ=24, DE=22, DK=18,
  DO=28, EE=20, ES=24, FI=18, FO=18, FR=27, GB=22, GE=22, GI=23, GL=18, GR=27, GT=28, HR=21, HU=28, IE=22, IL=23,
  IS=26, IT=27, JO=30, KW=30, KZ=20, LB=28, LI=21, LT=20, LU=20, LV=21, MC=27, MD=24, ME=22, MK=19, MT=31, MU=30,
  NL=18, NO=15, PK=24, PL=28, PS=29, PT=25, QA=29, RO=24, RS=22, SA=24, SE=24, SI=19, SK=24, SM=27, TN=24, TR=26,
  UA=29, VA=22, VG=24, XK=20,
)  # fmt: skip
_SECRETS = (
  r"\bAKIA[0-9A-Z]{16}\b",  # AWS
  r"\bgh[pousr]_[A-Za-z0-9]{36,}\b",  # GitHub
  r"\bgithub_pat_[A-Za-z0-9_]{60,}\b",
  r"\bsk-(?:proj-|ant-)?[A-Za-z0-9_-]{20,}\b",  # OpenAI, Anthropic
  r"\bhf_[A-Za-z0-9]{30,}\b",  # Hugging Face
  r"\bAIza[0-9A-Za-z_-]{35}\b",  # Google
  r"\bxox[abprs]-[0-9A-Za-z-]{10,}\b",  # Slack
  r"\bglpat-[0-9A-Za-z_-]{20,}\b",  # GitLab
  r"\b(?:sk|rk)_live_[0-9A-Za-z]{20,}\b",  # Stripe
  r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",  # JSON web tokens
  r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----[\s\S]*?(?:-----END (?:[A-Z]+ )*PRIVATE KEY-----|\Z)",
)
# In this order: what is masked by one is not looked at by the next.
KINDS = {
  "secret": Kind(re.compile("|".join(_SECRETS))),
  "email": Kind(
    re.compile(r"(?<![\w.+-])[A-Za-z0-9][\w.+%-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,24}\b")
  ),
  "iban": Kind(re.compile(r"\b[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}"), _iban_end),
  "card": Kind(card_numbers.PATTERN, card_numbers.end),
  "ssn": Kind(re.compile(r"(?<![\w.+-])(?!000|666|9)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\w-])")),
  "phone": Kind(phone_numbers.PATTERN, phone_numbers.end),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pii(select_protocol.RowStep):
  """Masks addresses of e-mail, numbers of cards (by issuer and check digit), of accounts (IBAN, modulo 97), of American
  social security (by their form) and of telephones, keys and tokens; or drops the row.

  kinds: which of them, of secret, email, iban, card, ssn, phone. action: "mask" writes the kind in angle brackets in
  their place. fields: keys whose texts are looked at; every text without any. spare: a pattern of what is left as it
  is.
  """

  kinds: tuple[str, ...] = tuple(KINDS)
  action: Literal["mask", "drop"] = "mask"
  fields: tuple[str, ...] = ()
  spare: str = r"(?i)@example\.(?:com|org|net)$"

  def __post_init__(self):
    check.check_types(self)
    check.regex(self.spare, "Pii.spare")
    unknown = [kind for kind in self.kinds if kind not in KINDS]
    check.require(not unknown, f"Pii.kinds: {', '.join(unknown)}; there are {', '.join(KINDS)}")

  def row(self, row: select_protocol.Row) -> select_protocol.Outcome:
    """The row without them, or none."""
    kinds: dict[str, None] = {}
    masked = row_texts.mapped(row, lambda text: self._masked(text, kinds), self.fields)
    if not kinds:
      return select_protocol.Outcome(row, marks=row_texts.lacks(row, self.fields))
    if self.action == "drop":
      return select_protocol.dropped(f"personal data: {', '.join(kinds)}")
    return select_protocol.Outcome(masked, marks=tuple(f"masked {kind}" for kind in kinds))

  def _masked(self, text: str, kinds: dict[str, None]) -> str:
    for name in KINDS:
      if name in self.kinds:
        parts, at = [], 0
        for start, end in _spans(text, KINDS[name]):
          if not self.spare or not re.search(self.spare, text[start:end]):
            parts += [text[at:start], f"<{name.upper()}>"]
            at = end
            kinds[name] = None
        text = "".join([*parts, text[at:]])
    return text


def _spans(text: str, kind: Kind) -> Iterator[tuple[int, int]]:
  """(start, end) of each one of a kind. What stands behind one is looked at again, since a pattern may have gone over
  the next one, and what is none may have gone over one that is."""
  at = 0
  while found := kind.pattern.search(text, at):
    end = kind.end(found)
    if end:
      yield found.start(), end
    at = end or found.start() + 1
