"""The pages of docs/reference, made from the code: commands and flags, values and their meanings, recipes, the API.

`mkdocs build` calls this through scripts/docs_hook.py; nothing is committed. `python scripts/docs_reference.py FOLDER`
writes the pages as files.
"""

import argparse
import ast
from collections.abc import Callable, Iterable, Sequence
import dataclasses
import html
import inspect
import pathlib
import re
import sys
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from itune_jax import api  # noqa: E402
from itune_jax.run import cli  # noqa: E402
from itune_jax.run import command  # noqa: E402
from itune_jax.run import meanings as run_meanings  # noqa: E402
from scripts import docs_errors  # noqa: E402
from scripts import docs_meanings as meanings  # noqa: E402

# What the rooms of the package are for those who set values.
_ROOMS = {
  "run": "The run, and what commands take",
  "data": "Data",
  "peft": "Parameter-efficient methods",
  "objectives": "Losses",
  "optim": "Optimizers",
  "models": "Models with random weights",
  "nn": "Layers",
  "core": "Precision",
  "parallel": "Mesh",
  "train": "Checkpoints and stopping",
  "evals": "Evaluation",
  "grading": "Grading",
  "synth": "Making data",
  "select": "Choosing data",
  "sampling": "Generation",
}
_FOLDERS = {
  "recipes": "Recipes: whole runs, for `--gin_file`",
  "overlays": "Overlays: appended to any recipe by a second `--gin_file`",
  "models": "Models",
  "peft": "Methods",
  "data": "Data",
  "data/select": "Selections, for `itune select`",
  "objective": "Losses",
  "optim": "Optimizers",
  "mesh": "Meshes",
  "precision": "Precision",
  "remat": "What the backward pass finds saved",
  "evals": "Evaluators",
  "decode": "Generation",
  "synth": "Generators of data",
  "runs": "What each command binds",
}


def pages() -> dict[str, str]:
  """Every page by its path in docs."""
  made = {"commands": commands(), "values": values(), "recipes": recipes(), "api": api_page()}
  made["messages"] = docs_errors.page()
  return {f"reference/{name}.md": text for name, text in made.items()}


def commands() -> str:
  """Every command with its flags."""
  lines = [
    "# Commands",
    "",
    "`itune COMMAND --help` shows the same. Every command ends with one line of JSON on stdout.",
  ]
  lines += ["Progress goes to stderr. An error is one line: exit code 2 for bad input, 1 for a run that failed.", ""]
  for name in cli.COMMANDS:
    found = cli.find(name)
    lines += [f"## itune {name}", "", f"{found.help[0].upper()}{found.help[1:]}.".replace("?.", "?"), ""]
    rows = [(_code(_usage(a)), _code(_default(a)), _text(a.help or "")) for a in flags(found)]
    lines += _table(("flag", "default", "meaning"), rows)
  return "\n".join(lines)


def flags(found: command.Command) -> list[argparse.Action]:
  """The flags of a command, without `--help`."""
  shown = [a for a in found.parser()._actions if a.help != argparse.SUPPRESS]
  return [a for a in shown if not isinstance(a, argparse._HelpAction)]


def values() -> str:
  """Every value that a recipe or `--gin.NAME=VALUE` may set."""
  lines = ["# Values", "", "Any of these is set in a recipe, or on the command line: `--gin.lora.Lora.rank=8`."]
  lines += ["Text where text is wanted needs no quotes of gin: `--gin.DATA=mine.jsonl`.", ""]
  lines += [
    "## Names in capitals",
    "",
    "Recipes and parts set these; `runs/` of gin_configs binds them to the work.",
    "",
  ]
  rows = [(_code(m.name), _text(m.meaning), _text(_files(m.files))) for m in meanings.macros()]
  lines += _table(("name", "meaning", "set by"), rows)
  found = meanings.configurables()
  for room, title in _ROOMS.items():
    lines += [f"## {title}", ""]
    for one in (one for one in found if one.__module__.split(".")[1] == room):
      lines += [f"### {meanings.where(one)} {{ #{_anchor(one)} }}", "", f"`{one.__module__}.{one.__name__}`", ""]
      lines += [_text(meanings.summary(one)), ""]
      rows = [(_code(v.name), _code(v.type), _code(v.default), _text(v.meaning)) for v in meanings.values(one)]
      lines += _table(("value", "type", "default", "meaning"), rows)
  return "\n".join(lines)


def recipes() -> str:
  """Every file of gin_configs by its first line."""
  lines = ["# Recipes and parts", "", "Files of `gin_configs/`; a path is given without that folder.", ""]
  for folder, title in _FOLDERS.items():
    files = sorted((meanings.GIN / folder).glob("*.gin"))
    told = [(file, file.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")) for file in files]
    lines += [f"## {title}", ""]
    lines += _table(("file", "what it is"), [(_code(f"{folder}/{file.name}"), _text(text)) for file, text in told])
  return "\n".join(lines)


def api_page() -> str:
  """The notebook facade, `itune_jax.api`."""
  lines = ["# API", "", "`from itune_jax import api`: the same work in a notebook or a program of your own.", ""]
  for name, value, told in api_names():
    lines += _entry(name, value, told, 2)
    for method, function in _methods(value):
      lines += _entry(f"{name}.{method}", function, run_meanings.doc(function), 3)
  return "\n".join(lines)


def api_names() -> list[tuple[str, Any, str]]:
  """Public names that api.py defines, in its order, with what it says of them."""
  tree = ast.parse(inspect.getsource(api))
  found = []
  for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
      found.append((node.name, ast.get_docstring(node) or ""))
    elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
      told = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and after.value.value
      found.append((node.targets[0].id, str(told or "")))
  return [(name, getattr(api, name), told) for name, told in found if not name.startswith("_")]


def _methods(value: Any) -> list[tuple[str, Callable]]:
  """The public methods of a class, in their order."""
  if not isinstance(value, type):
    return []
  return [(n, f) for n, f in vars(value).items() if inspect.isfunction(f) and not n.startswith("_")]


def _entry(name: str, value: Any, told: str, level: int) -> list[str]:
  lines = [f"{'#' * level} {name}", ""]
  if inspect.isfunction(value):
    lines += ["```python", f"{name.rpartition('.')[2]}{_signature(value)}", "```", ""]
  lines += [*_prose(told), ""]
  if isinstance(value, type) and dataclasses.is_dataclass(value):
    rows = [(_code(v.name), _code(v.type), _text(v.meaning)) for v in meanings.values(value)]
    lines += _table(("field", "type", "meaning"), rows)
  return lines


def _signature(function: Callable) -> str:
  signature = inspect.signature(function)
  given = [p for p in signature.parameters.values() if p.name != "self"]
  text = str(signature.replace(parameters=given))
  text = re.sub(r"\b(?!\d)(?:[a-z_]\w*\.)+(\w+)", r"\1", text).replace("'", "")
  if len(text) < 90:
    return text
  inner = ",\n  ".join(re.sub(r"\b(?:[a-z_]\w*\.)+(\w+)", r"\1", str(p)).replace("'", "") for p in given)
  return f"(\n  {inner},\n) -> {text.rpartition(' -> ')[2]}"


def _prose(told: str) -> list[str]:
  """A docstring as Markdown: `Args:` and `Raises:` become lists."""
  lines: list[str] = []
  for paragraph in inspect.cleandoc(told).split("\n\n"):
    head, _, rest = paragraph.partition("\n")
    if head in ("Args:", "Raises:", "Returns:"):
      items = [
        " ".join(item.split()) for item in re.split(r"\n(?=  \w)", f"\n{inspect.cleandoc(rest)}") if item.strip()
      ]
      lines += [f"**{head.removesuffix(':')}**", "", *(_text(item) for item in items), ""]
    else:
      lines += [_text(" ".join(paragraph.split())), ""]
  return lines


def _usage(action: argparse.Action) -> str:
  flag = action.option_strings[-1] if action.option_strings else str(action.metavar or action.dest)
  if flag.startswith("--gin."):
    return f"{flag}={action.metavar}"
  if not action.option_strings or action.nargs == 0:
    return "|".join(map(str, action.choices)) if action.choices and not action.option_strings else flag
  return f"{flag}={'|'.join(map(str, action.choices)) if action.choices else action.metavar or action.dest.upper()}"


def _default(action: argparse.Action) -> str:
  if action.required:
    return "required"
  return "" if action.default in (None, "", [], False, argparse.SUPPRESS) else str(action.default)


def _files(files: Sequence[str]) -> str:
  if len(files) > 4:
    return f"{len(files)} files of `{files[0].split('/')[0]}/`"
  return ", ".join(f"`{file}`" for file in files) or "you"


def _anchor(one: Callable) -> str:
  return meanings.where(one).replace(".", "-").lower()


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
  made = [f"| {' | '.join(row)} |" for row in rows]
  return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *made, ""] if made else []


def _code(text: str) -> str:
  return f"<code>{html.escape(text, quote=False).replace('|', '&#124;').replace('*', '&#42;')}</code>" if text else ""


def _text(text: str) -> str:
  """Prose for a cell or a paragraph: what Markdown would read as its own is written out, but for code."""
  plain = lambda part: html.escape(part, quote=False).replace("*", "&#42;").replace("_", "&#95;").replace("[", "&#91;")
  parts = re.split(r"(`[^`]*`)", text)
  made = "".join(_code(part[1:-1]) if part.startswith("`") and len(part) > 1 else plain(part) for part in parts)
  return made.replace("|", "&#124;")


if __name__ == "__main__":
  target = pathlib.Path(sys.argv[1])
  for path, text in pages().items():
    (target / path).parent.mkdir(parents=True, exist_ok=True)
    (target / path).write_text(text, encoding="utf-8")
