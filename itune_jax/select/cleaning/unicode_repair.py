"""Text that was decoded wrongly ("â€™" for an apostrophe) is repaired by ftfy."""

import dataclasses
import functools
from typing import ClassVar

from itune_jax.core import lazy
from itune_jax.select.cleaning import text_step

ftfy = lazy.module("ftfy")


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnicodeRepair(text_step.TextStep):
  """Mojibake, and characters in parts, become what was meant (NFC). Quotes, ligatures and widths stay as they are."""

  mark: ClassVar[str] = "unicode repaired"

  def changed(self, text: str) -> str:
    """Of ASCII nothing can be wrong here."""
    return text if text.isascii() else ftfy.fix_text(text, _config())


@functools.lru_cache(1)
def _config():
  keep = dict.fromkeys(
    ("uncurl_quotes", "fix_latin_ligatures", "fix_character_width", "remove_control_chars", "fix_line_breaks"), False
  )
  return ftfy.TextFixerConfig(
    unescape_html=False, remove_terminal_escapes=False, normalization="NFC", explain=False, **keep
  )
