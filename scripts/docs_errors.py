"""Every message that ends a command, and every reason for which a row is left out, read from the code.

`docs_reference.pages` makes the page of them; a test holds what docs/troubleshooting.md quotes against them.
"""

import ast
from collections.abc import Iterator, Mapping
import pathlib
import re
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
# How a message is raised, and what a command that says it ends with.
_RAISED = {
  "errors.InputError": "2",
  "check.require": "2",
  "errors.RunError": "1",
  "fields.BadRow": "row",
  "BadRow": "row",
}
VARIES = "…"


class Message(NamedTuple):
  """A message with "…" for what varies; the module that raises it; "2" (bad input), "1" (a failed run), or "row" (a row
  is left out, and counted under it)."""

  text: str
  module: str
  ends: str


def _constants() -> dict[str, str]:
  """Texts that modules of `core` name in capitals, of which messages are made too."""
  found = {}
  for path in (ROOT / "itune_jax" / "core").glob("*.py"):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
      if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        found |= {one.id: node.value.value for one in node.targets if isinstance(one, ast.Name)}
  return {name: text for name, text in found.items() if name.strip("_").isupper() and len(text) > 20}


def messages() -> list[Message]:
  """All of the package, by module, in the order of the code; those that say nothing fixed are left out."""
  found = []
  for path in sorted((ROOT / "itune_jax").rglob("*.py")):
    module = ".".join(path.relative_to(ROOT / "itune_jax").with_suffix("").parts)
    found += [Message(*one) for one in _of(ast.parse(path.read_text(encoding="utf-8")), module)]
  return list(dict.fromkeys(found))


def _of(tree: ast.AST, module: str) -> Iterator[tuple[str, str, str]]:
  helpers = {one.name: one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)}
  for node in ast.walk(tree):
    if not isinstance(node, ast.Call) or (kind := ast.unparse(node.func)) not in _RAISED:
      continue
    at = 1 if kind == "check.require" else 0
    for text in _said(node.args[at], helpers) if len(node.args) > at else ():
      if re.search(r"\w{2}", text):
        yield text, module, _RAISED[kind]


def _said(node: ast.AST, helpers: Mapping[str, ast.FunctionDef]) -> list[str]:
  """What a message may be; of one that a function of the same module makes, all that this returns."""
  if isinstance(node, ast.Call) and (made := helpers.get(ast.unparse(node.func).removeprefix("self."))):
    returned = [one.value for one in ast.walk(made) if isinstance(one, ast.Return) and one.value is not None]
    return [text for value in returned for text in _texts(value)]
  return _texts(node)


def _texts(node: ast.AST) -> list[str]:
  """What an expression may say: a text, a text with values in it, or either of two."""
  if isinstance(node, ast.Constant):
    return [str(node.value)]
  if isinstance(node, ast.JoinedStr):
    parts = [str(one.value) if isinstance(one, ast.Constant) else _value(one) for one in node.values]
    return [re.sub(f"{VARIES}+", VARIES, "".join(parts))]
  if isinstance(node, ast.IfExp):
    return [*_texts(node.body), *_texts(node.orelse)]
  if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
    return [a + b for a in _texts(node.left) for b in _texts(node.right)]
  return [VARIES]


def _value(node: ast.AST) -> str:
  """What stands in place of a value within a text: one of `_constants`, or "…"."""
  said = ast.unparse(node.value).rpartition(".")[2] if isinstance(node, ast.FormattedValue) else ""
  return _CONSTANTS.get(said, VARIES)


_CONSTANTS = _constants()


def page() -> str:
  """The page of all of them, a table for each room."""
  lines = [
    "# Messages",
    "",
    "Every line that may end a command, as the code has it; … stands for what varies. *2* is bad",
  ]
  lines += ["input, *1* a run that failed. *Row* is a row of data that is left out, and counted under this reason.", ""]
  lines += ["[Troubleshooting](../troubleshooting.md) has the frequent ones with cause and cure.", ""]
  rooms: dict[str, list[Message]] = {}
  for one in messages():
    rooms.setdefault(one.module.partition(".")[0], []).append(one)
  for room, found in sorted(rooms.items()):
    lines += [f"## {room}", "", "| message | ends with | said by |", "|---|---|---|"]
    lines += [f"| {_shown(one.text)} | {one.ends} | {one.module} |" for one in found] + [""]
  return "\n".join(lines)


def _shown(text: str) -> str:
  """A message in a cell: nothing in it is Markdown or HTML."""
  plain = " ".join(text.split())
  return "".join(f"&#{ord(mark)};" if mark in "|<>&*_`[]{}\\" else mark for mark in plain)
