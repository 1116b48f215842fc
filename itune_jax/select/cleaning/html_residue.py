"""What is left of web pages in texts: tags of formatting and entities, outside of code."""

import dataclasses
import html
import re
from typing import ClassVar

from itune_jax.core import check
from itune_jax.select import row_texts
from itune_jax.select import select_protocol
from itune_jax.select.cleaning import text_step

_BLOCKS = re.compile(r"</?(?:p|div|br|hr|li|ul|ol|tr|table|tbody|thead|h[1-6]|section|article)\b[^<>]*/?>", re.I)
_INLINE = re.compile(r"</?(?:b|i|u|em|strong|span|font|a|td|th|small|big|center|img|sup|sub|nobr)\b[^<>]*/?>", re.I)
_HIDDEN = re.compile(r"<(script|style)\b[^<>]*>.*?</\1>|<!--.*?-->", re.I | re.S)
_ENTITY = re.compile(r"&(?:[a-z]{2,8}|#\d{2,6}|#x[0-9a-f]{2,5});", re.I)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HtmlResidue(text_step.TextStep):
  """Takes tags of formatting out and writes entities as their characters. Code stays, and so do rows that are about it.

  about: a pattern; a row with a text that it is found in is left as it is.
  """

  about: str = r"(?i)\b(?:x?html5?|xml|css|markup|tags?|javascript|web ?(?:page|site)s?|browser|svg|jsx)\b"
  mark: ClassVar[str] = "html removed"

  def __post_init__(self):
    super().__post_init__()
    check.regex(self.about, "HtmlResidue.about")

  def row(self, row: select_protocol.Row) -> select_protocol.Outcome:
    """The row, unless it is about HTML."""
    texts = list(row_texts.each(row))
    if not any("<" in text or "&" in text for text in texts):
      return select_protocol.Outcome(row)
    if any(re.search(self.about, _bare(text)) for text in texts):
      return select_protocol.Outcome(row, marks=("about html: left as it is",))
    return super().row(row)

  def changed(self, text: str) -> str:
    """Without tags and entities."""
    return text_step.outside_code(text, _stripped)


def _bare(text: str) -> str:
  return _INLINE.sub(" ", _BLOCKS.sub(" ", _HIDDEN.sub(" ", text)))


def _stripped(text: str) -> str:
  text = _INLINE.sub("", _BLOCKS.sub("\n", _HIDDEN.sub("", text)))
  return _ENTITY.sub(lambda found: html.unescape(found[0]).replace("\xa0", " "), text)
