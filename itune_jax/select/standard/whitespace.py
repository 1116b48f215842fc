"""Spaces and empty lines in one form, outside of code."""

import dataclasses
import re
from typing import ClassVar

from itune_jax.core import ranges
from itune_jax.select.cleaning import text_step

_SPACES = re.compile(r"[\u00a0\u2000-\u200a\u202f\u205f\u3000]")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Whitespace(text_step.TextStep):
  """Spaces of other widths become spaces, those at ends of lines go, and at most `empty` empty lines stand together.

  empty: so many empty lines may stand together. strip: whether the text begins and ends with no space.
  """

  empty: ranges.NonNegativeInt = 1
  strip: bool = True
  mark: ClassVar[str] = "whitespace"

  def changed(self, text: str) -> str:
    """The text in that form."""
    text = text_step.outside_code(text, self._prose)
    return text.strip() if self.strip else text

  def _prose(self, text: str) -> str:
    text = re.sub(r"[ \t]+(?=\n)", "", _SPACES.sub(" ", text))
    return re.sub(rf"\n{{{self.empty + 2},}}", "\n" * (self.empty + 1), text)
