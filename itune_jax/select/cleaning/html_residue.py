"""What is left of web pages in texts: tags of formatting and entities, outside of code."""

import collections
import dataclasses
import html
import re
from typing import ClassVar

from itune_jax.core import check
from itune_jax.select import row_texts
from itune_jax.select import select_protocol
from itune_jax.select.cleaning import text_step

_BLOCKS = "p|div|br|hr|li|ul|ol|tr|table|tbody|thead|tfoot|h[1-6]|section|article|blockquote|dl|dt|dd"
_INLINE = "b|i|u|s|em|strong|span|font|a|td|th|small|big|center|img|sup|sub|nobr|wbr|strike|del|ins"
_VOID = frozenset(("br", "hr", "img", "wbr"))  # elements that are never closed
_OMITTED = frozenset(("p", "li", "tr", "td", "th", "dt", "dd", "tbody", "thead", "tfoot"))  # whose end may be left out
_VALUE = r"\s+[a-z][\w:.-]*\s*=\s*(?:\"[^\"<>]*\"|'[^'<>]*'|[^\s\"'<>`=]+)"
_FLAG = r"\s+(?:nowrap|noshade|compact|reversed|hidden|ismap)(?=[\s/>])"
_TAG = re.compile(
  rf"<(?P<end>/)?(?P<name>(?P<block>{_BLOCKS})|{_INLINE})(?=[\s/>])"
  rf"(?P<values>(?:{_VALUE}|{_FLAG})*)\s*(?P<whole>/)?>",
  re.I,
)
_NO_TEXT = "\0"  # stands for each character of code, in which nothing is looked for
_HIDDEN = re.compile(rf"<(script|style)(?:{_VALUE}|\s+(?:async|defer))*\s*>[^\0]*?</\1\s*>|<!--[^\0]*?-->", re.I)
_ENTITY = re.compile(r"&(?:[a-z]{2,8}|#\d{2,6}|#x[0-9a-f]{2,5});", re.I)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HtmlResidue(text_step.TextStep):
  """Takes tags of formatting out and writes entities as their characters. Code stays, and so do rows that are about it.

  A tag is one by its name and the form of its attributes, and by the tag that ends or begins its element: a `<b>` that
  nothing closes is a type or an inequality, and stays.

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
    return text_step.outside_code(_cut(text, "\n", ""), _read)


def _bare(text: str) -> str:
  return _cut(text, " ", " ")


def _read(text: str) -> str:
  return _ENTITY.sub(lambda found: html.unescape(found[0]).replace("\xa0", " "), text)


def _cut(text: str, block: str, inline: str) -> str:
  """A text with other text in place of its tags, and without what pages hide. Elements may have code in them, so all of
  the text is looked at in one piece."""
  seen = text_step.CODE.sub(lambda code: _NO_TEXT * len(code[0]), text)
  hidden = [(found.start(), found.end(), "") for found in _HIDDEN.finditer(seen)]
  for start, end, _ in hidden:
    seen = seen[:start] + _NO_TEXT * (end - start) + seen[end:]
  tags = [(one.start(), one.end(), block if one["block"] else inline) for one in _tags(seen)]
  parts, at = [], 0
  for start, end, instead in sorted(hidden + tags):
    parts += [text[at:start], instead]
    at = end
  return "".join([*parts, text[at:]])


def _tags(text: str) -> list[re.Match[str]]:
  """The tags of a text: those that end an element or never need an end, that have attributes, or that are ended. One
  whose end may be left out is a tag where others are."""
  found = list(_TAG.finditer(text))
  sure, open_ = set(), collections.defaultdict(list)
  for i, one in enumerate(found):
    name = one["name"].lower()
    if one["end"] or one["whole"] or one["values"] or name in _VOID:
      sure.add(i)
    if one["end"] and open_[name]:
      sure.add(open_[name].pop())
    elif not one["end"]:
      open_[name].append(i)
  return [one for i, one in enumerate(found) if i in sure or (sure and one["name"].lower() in _OMITTED)]
