"""Fences of code in one form: three back-ticks, and one name for each language."""

import dataclasses
import re
from typing import ClassVar

from itune_jax.select.cleaning import text_step

NAMES = {
  "py": "python", "python3": "python", "py3": "python", "js": "javascript", "node": "javascript", "ts": "typescript",
  "sh": "bash", "shell": "bash", "zsh": "bash", "c++": "cpp", "cc": "cpp", "c#": "csharp", "cs": "csharp",
  "golang": "go", "rs": "rust", "rb": "ruby", "yml": "yaml", "htm": "html", "md": "markdown", "tex": "latex",
}  # fmt: skip
_OPEN = re.compile(r"^([ ]{0,3})(`{3,}|~{3,})[ \t]*([\w+#.-]*)[ \t]*$", re.MULTILINE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CodeFences(text_step.TextStep):
  """Tildes become back-ticks, and the name of a language its usual one in lower case (`Python3`: `python`). What stands
  inside of a fence stays.

  close: whether a fence that is open at the end is closed.
  """

  close: bool = False
  mark: ClassVar[str] = "code fences"

  def changed(self, text: str) -> str:
    """Line by line: a fence ends with one of its own kind, as long or longer (CommonMark 4.5)."""
    lines, fence = [], ""
    for line in text.split("\n"):
      found = _OPEN.match(line)
      if found and not fence:
        fence, name = found[2], found[3].lower()
        line = f"{found[1]}{'`' * len(fence)}{NAMES.get(name, name)}"
      elif found and found[2][0] == fence[0] and len(found[2]) >= len(fence) and not found[3]:
        line, fence = f"{found[1]}{'`' * len(found[2])}", ""
      lines.append(line)
    if fence and self.close:
      lines.append("`" * len(fence))
    return "\n".join(lines)
