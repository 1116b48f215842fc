"""Fields that are missing, filled by rule."""

import dataclasses
import re
from typing import Literal

from itune_jax.core import check
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
    if row.get(self.key) not in (None, "", [], {}):
      return select_protocol.Outcome(row)
    if self.matching and not re.search(self.matching, str(row.get(self.of, ""))):
      return select_protocol.Outcome(row)
    names = _SLOT.findall(self.value)
    if any(not isinstance(row.get(name), (str, int, float)) or row.get(name) == "" for name in names):
      if self.lacking == "drop":
        return select_protocol.dropped(f"{self.key!r} is missing, and what it would be made of too")
      return select_protocol.Outcome(row, marks=(f"{self.key!r} still missing",))
    value = _SLOT.sub(lambda found: str(row[found[1]]), self.value)
    done = {self.key: value, "imputed": [*row.get("imputed", ()), self.key]}
    return select_protocol.Outcome({**row, **done}, marks=(f"{self.key!r} imputed",))
