"""Formulas between one kind of delimiters, outside of code."""

import dataclasses
import re
from typing import ClassVar, Literal

from itune_jax.select.cleaning import text_step

_BRACKETS = re.compile(r"(?<!\\)\\\((.+?)(?<!\\)\\\)|(?<!\\)\\\[(.+?)(?<!\\)\\\]", re.DOTALL)
# A single dollar opens a formula only where none of it can be a price: no space inside, no digit behind.
_DOLLARS = re.compile(
  r"(?<![\\$])\$\$(.+?)(?<!\\)\$\$|(?<![\\$\w])\$(?![\s$])([^$\n]*?[^\s$\\])\$(?![\d$\w])", re.DOTALL
)
_FORMULA = re.compile(r"[\\^_={}<>+*/]|^[A-Za-z]$")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LatexDelimiters(text_step.TextStep):
  r"""Writes every formula between dollars ($x$, $$x$$) or brackets (\(x\), \[x\]).

  to: which of them. Between single dollars only what has a sign of a formula, or is one letter, is one.
  """

  to: Literal["dollars", "brackets"] = "dollars"
  mark: ClassVar[str] = "latex delimiters"

  def changed(self, text: str) -> str:
    """Nothing inside of a formula changes."""
    return text_step.outside_code(text, self._prose)

  def _prose(self, text: str) -> str:
    if self.to == "dollars":
      return _BRACKETS.sub(lambda m: f"${m[1]}$" if m[1] is not None else f"$${m[2]}$$", text)
    return _DOLLARS.sub(_bracketed, text)


def _bracketed(found: re.Match[str]) -> str:
  if found[1] is not None:
    return f"\\[{found[1]}\\]"
  return f"\\({found[2]}\\)" if _FORMULA.search(found[2]) else found[0]
