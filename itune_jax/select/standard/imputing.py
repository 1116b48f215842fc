"""Fields that are missing, filled by rule."""

import dataclasses
import re
from typing import Literal

from itune_jax.core import check
from itune_jax.select import row_fields
from itune_jax.select import select_protocol

_SLOT = re.compile(r"\{(\w+)\}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Impute(select_protocol.RowStep):
  """Fills a key that a row lacks, or that is null or empty; `imputed` of the row names what was filled.

  key: which one. value: what is put there, in which {name} stands for the text of another key. matching: only rows are
  filled whose text under `of` this pattern is found in; all without one. of: that key. lacking: what becomes of a row
  that lacks it and cannot be filled, since a key of the value is missing too.
  """

  key: str
  value: str
  matching: str = ""
  of: str = ""
  lacking: Literal["keep", "drop"] = "keep"

  def __post_init__(self):
    check.check_types(self)
    check.regex(self.matching, "Impute.matching")
    check.require(bool(self.matching) == bool(self.of), "Impute: matching and of go together")

  def row(self, row: select_protocol.Row) -> select_protocol.Outcome:
    """The row with its key."""
    if not lacks(row, self.key):
      return select_protocol.Outcome(row)
    if self.matching and not re.search(self.matching, str(row.get(self.of, ""))):
      return select_protocol.Outcome(row)
    value = filled(self.value, row)
    if value is None:
      if self.lacking == "drop":
        return select_protocol.dropped(f"{self.key!r} is missing, and what it would be made of too")
      return select_protocol.Outcome(row, marks=(f"{self.key!r} still missing",))
    done = {self.key: value, "imputed": [*row_fields.list_in(row, "imputed"), self.key]}
    return select_protocol.Outcome({**row, **done}, marks=(f"{self.key!r} imputed",))


def lacks(row: select_protocol.Row, key: str) -> bool:
  """Whether nothing stands under a key: it is not there, null, or empty."""
  return row.get(key) in (None, "", [], {})


def filled(text: str, row: select_protocol.Row) -> str | None:
  """A text with {name} replaced by what stands under that key of the row; None where a key is missing or no text."""
  names = _SLOT.findall(text)
  if any(not isinstance(row.get(name), (str, int, float)) or row.get(name) == "" for name in names):
    return None
  return _SLOT.sub(lambda found: str(row[found[1]]), text)
