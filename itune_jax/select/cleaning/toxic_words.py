"""Rows with words that the user lists: the tier of a filter for toxicity that asks no model."""

import dataclasses
import functools
import os
import re
from typing import Literal

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import ranges
from itune_jax.select import row_texts
from itune_jax.select import select_protocol


@dataclasses.dataclass(frozen=True, kw_only=True)
class WordList(select_protocol.RowStep):
  """Drops or marks rows with so many words of a list.

  path: a text file with a word or phrase on each line, whole words, case does not count; behind a tab may stand its
  tier, a whole number, 1 without; lines that begin with # are remarks. tier: words of lower tiers are not looked at.
  least: so many of them make a row. fields: keys whose texts are looked at; every text without any. action: what
  becomes of such a row.
  """

  path: str
  tier: ranges.PositiveInt = 1
  least: int = 1
  fields: tuple[str, ...] = ()
  action: Literal["drop", "mark"] = "drop"

  def __post_init__(self):
    check.check_types(self)
    check.require(self.least > 0, f"WordList.least = {self.least}; it is 1 or more")

  def files(self) -> tuple[str, ...]:
    """The list, whose digest is part of what a selection is."""
    return (self.path,)

  def row(self, row: select_protocol.Row) -> select_protocol.Outcome:
    """The row, unless it has such words."""
    pattern = _pattern(self.path, self.tier)
    count = sum(len(pattern.findall(text)) for text in row_texts.each(row, self.fields))
    if count < self.least:
      return select_protocol.Outcome(row, marks=row_texts.lacks(row, self.fields))
    said = f"words of {os.path.basename(self.path)}"
    return select_protocol.Outcome(row, marks=(said,)) if self.action == "mark" else select_protocol.dropped(said)


@functools.lru_cache(8)
def _pattern(path: str, tier: int) -> re.Pattern[str]:
  """Raises InputError with the line of what is no word, and for a list without words of the tier."""
  words = []
  try:
    with open(path, encoding="utf-8-sig") as f:
      for number, line in enumerate(f, 1):
        word, tab, given = line.rstrip("\n").partition("\t")
        if not word.strip() or word.startswith("#"):
          continue
        if tab and not given.strip().isdigit():
          raise errors.InputError(f"{path}:{number}: the tier behind the tab is {given!r}; it is a whole number")
        if int(given or 1) >= tier:
          words.append(re.escape(word.strip()))
  except (OSError, UnicodeDecodeError) as e:
    raise errors.InputError(f"{path}: cannot be read ({e}); name a text file with a word on each line") from None
  check.require(words, f"{path}: it has no word of tier {tier} or more")
  return re.compile(rf"(?<!\w)(?:{'|'.join(sorted(words, key=len, reverse=True))})(?!\w)", re.IGNORECASE)
