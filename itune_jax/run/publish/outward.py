"""What of a manifest leaves this machine, and how tables of a card are written."""

from collections.abc import Iterable, Mapping, Sequence
import re
from typing import Any

# A text, or a flag's value, that is a path from the root, perhaps with blanks in it; and one inside of a longer text,
# up to its last component. Neither is the path of an address, nor a part of a longer name.
_WHOLE = re.compile(r"((?:--[\w.]+=)?)/[^,\n]*/([^/\n]+)")
_PATH = re.compile(r"""(?<![\w.:/…~-])/(?:[^\s/'",;:()\[\]{}=]+/)+""")


def public(value: Any) -> Any:
  """A value of JSON whose texts name no folder of this machine: of a path from the root its last component is left."""
  if isinstance(value, str):
    return f"{whole[1]}…/{whole[2]}" if (whole := _WHOLE.fullmatch(value)) else _PATH.sub("…/", value)
  if isinstance(value, Mapping):
    return {public(name): public(one) for name, one in value.items()}
  return [public(one) for one in value] if isinstance(value, (list, tuple)) else value


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
  """A table of Markdown; numbers with separators, bars and line ends inside of a cell kept out of its borders."""
  lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
  return "\n".join([*lines, *(f"| {' | '.join(map(_cell, row))} |" for row in rows)])


def _cell(value: Any) -> str:
  if value is None or value == "":
    return "—"
  if isinstance(value, int) and not isinstance(value, bool):
    return f"{value:,}"
  return " ".join(str(value).split()).replace("|", "\\|")


def folded(title: str, text: str, language: str = "") -> str:
  """A block of text that is closed until it is asked for; its fence is longer than any inside."""
  fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
  return f"<details><summary>{title}</summary>\n\n{fence}{language}\n{text.strip()}\n{fence}\n\n</details>"
