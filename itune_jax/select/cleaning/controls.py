"""Characters that nobody sees: controls, widths of zero, marks of direction, tags that hide words."""

import dataclasses
import re
from typing import ClassVar

from itune_jax.select.cleaning import text_step

_CONTROL = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
_HIDDEN = r"\u00ad\u200b\u2060-\u2064\ufeff\ufff9-\ufffb\ufdd0-\ufdef\ufffe\uffff"
_DIRECTION = r"\u202a-\u202e\u2066-\u2069"  # overrides, which show other words than there are (CVE-2021-42574)
_GONE = re.compile(f"[{_CONTROL}{_HIDDEN}{_DIRECTION}]")
# Tags of Unicode write hidden ASCII; behind the black flag they are the flags of regions.
_TAGS = re.compile(r"(?<![\U0001f3f4\U000e0020-\U000e007f])[\U000e0000-\U000e007f]+")
# A joiner belongs between letters of scripts that join, and in emoji; beside ASCII or space it is a stray.
_JOINER = re.compile(r"(?<![^\x00-\x7f\s])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f\s])")
_LINES = re.compile(r"\r\n?|\u2028|\u2029|\x85")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Controls(text_step.TextStep):
  """Removes control and zero-width characters, and makes every end of a line "\\n". Joiners stay where scripts and
  emoji need them."""

  mark: ClassVar[str] = "control characters removed"

  def changed(self, text: str) -> str:
    """Without what is not seen."""
    if text.isascii() and text.isprintable():
      return text
    text = _GONE.sub("", _LINES.sub("\n", text))
    return text if text.isascii() else _JOINER.sub("", _TAGS.sub("", text))
