"""The blocks of code on the pages of the documentation, and the commands in them."""

from collections.abc import Iterator
import dataclasses
import pathlib
import re
import shlex

ROOT = pathlib.Path(__file__).parent.parent.parent
PAGES = [
  ROOT / "README.md",
  ROOT / "gin_configs" / "README.md",
  ROOT / "experiments" / "peft_comparison" / "README.md",
  *sorted((ROOT / "docs").rglob("*.md")),
]
# A recipe with an adapter that trains in seconds.
TINY_LORA = 'include "recipes/llama_tiny.gin"\ninclude "peft/lora.gin"\n'
_ASSIGNED = re.compile(r"[A-Z_][A-Z_0-9]*=")


@dataclasses.dataclass(frozen=True)
class Block:
  """A fenced block: the page and the line where it begins, its language, and its text."""

  page: str
  line: int
  language: str
  text: str

  def __str__(self) -> str:
    return f"{self.page}:{self.line}"


def of(page: pathlib.Path) -> Iterator[Block]:
  """The blocks of a page, in order."""
  text = page.read_text(encoding="utf-8")
  for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
    line = text.count("\n", 0, found.start()) + 1
    yield Block(str(page.relative_to(ROOT)), line, found[1], found[2])


BLOCKS = [block for page in PAGES for block in of(page)]


def in_language(name: str) -> list[Block]:
  """The blocks of one language."""
  return [block for block in BLOCKS if block.language == name]


def commands(block: Block) -> Iterator[list[str]]:
  """The commands of a block of shell, word by word, without comments and variables that are set in front of them."""
  for line in block.text.replace("\\\n", " ").splitlines():
    words = shlex.split(line, comments=True)
    while words and _ASSIGNED.match(words[0]):
      words = words[1:]
    if words:
      yield words


def inline(page: pathlib.Path) -> list[list[str]]:
  """The commands between backticks in the text and tables of a page, word by word; "…" leaves something out of one."""
  text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
  found = re.findall(r"`((?:itune [a-z]|python [a-z]|bash [a-z])[^`]*)`", text)
  return [shlex.split(command) for command in found]
