"""Steps that change the texts of a row one by one."""

import abc
import collections
import dataclasses
import re
from typing import ClassVar

from itune_jax.core import check
from itune_jax.select import row_texts
from itune_jax.select import select_protocol

# Code in fences or between back-ticks, of which no step changes a letter.
CODE = re.compile(r"(?P<fence>```|~~~).*?(?:(?P=fence)|\Z)|`[^`\n]+`", re.DOTALL)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextStep(select_protocol.RowStep):
  """Changes texts. fields: keys whose texts are looked at; every text of the conversation without any."""

  fields: tuple[str, ...] = ()
  mark: ClassVar[str] = "changed"

  def __post_init__(self):
    check.check_types(self)

  @abc.abstractmethod
  def changed(self, text: str) -> str:
    """The text as it should be; itself where nothing is wrong."""

  def row(self, row: select_protocol.Row) -> select_protocol.Outcome:
    """The row with its texts changed, marked when one of them was."""
    touched = collections.Counter()

    def change(text: str) -> str:
      new = self.changed(text)
      touched["texts"] += new != text
      return new

    found = row_texts.mapped(row, change, self.fields)
    marks = (self.mark,) if touched["texts"] else row_texts.lacks(row, self.fields)
    return select_protocol.Outcome(found if touched["texts"] else row, marks=marks)


def outside_code(text: str, change) -> str:
  """A text of which what is no code is changed by a function of text."""
  parts, at = [], 0
  for code in CODE.finditer(text):
    parts += [change(text[at : code.start()]), code[0]]
    at = code.end()
  return "".join([*parts, change(text[at:])])


def prose(text: str) -> str:
  """A text without its code."""
  return CODE.sub(" ", text)
