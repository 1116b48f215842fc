"""Rows of every format as messages: one name for each role, whatever it was called."""

import dataclasses
from typing import Any

from itune_jax.core import check
from itune_jax.data import example as example_lib
from itune_jax.data.readers import formats
from itune_jax.select import select_protocol


@dataclasses.dataclass(frozen=True, kw_only=True)
class AsMessages(select_protocol.RowStep):
  """Writes each row as `messages` (system, user, assistant, tool), with provenance and scores; keys that nothing reads
  are kept. Rows of no known format are dropped.

  kept: keys of the row that stay beside, all that nothing reads without any.
  """

  kept: tuple[str, ...] = ()

  def __post_init__(self):
    check.check_types(self)

  def row(self, row: select_protocol.Row) -> select_protocol.Outcome:
    """The row in the one format."""
    try:
      read = formats.parse(row)
    except example_lib.BadRow:
      return select_protocol.dropped("no known format, or a field is not what its format says")
    found: dict[str, Any] = read.to_json() | ({} if "id" in row else {"id": read.id})
    found["messages"] = [dict(message) for message in found["messages"]]
    others = {key: row[key] for key in row if key not in found and key in (self.kept or read.unread)}
    marks = () if "messages" in row else (f"from {formats.known(row)}",)
    return select_protocol.Outcome({**found, **others}, marks=marks)
