"""Notebooks from their scripts: `python scripts/docs_notebook.py` writes notebooks/NAME.ipynb beside notebooks/NAME.py.

A script is in the percent format: `# %%` begins a cell of code, `# %% [markdown]` a cell of text. `--run NAME …` runs
notebooks, each in a fresh process and folder, and keeps what their cells printed; without it outputs of cells that did
not change stay.
"""

import argparse
import ast
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from typing import Any

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "notebooks"
_LONGEST = 60  # lines of one output; of more the middle is left out


def cells(script: str) -> list[dict[str, Any]]:
  """The cells of a script, without outputs."""
  pieces = re.split(r"^# %%(.*)\n", script, flags=re.MULTILINE)[1:]
  pairs = zip(pieces[::2], pieces[1::2], strict=True)
  return [_cell(n, head.strip(), body.strip("\n")) for n, (head, body) in enumerate(pairs)]


def notebook(script: str, outputs: dict[str, list] | None = None) -> str:
  """The notebook of a script, as the text of its file. outputs: of cells of code, by their ids."""
  made = cells(script)
  for n, cell in enumerate(one for one in made if one["cell_type"] == "code"):
    if found := (outputs or {}).get(cell["id"]):
      cell |= {"execution_count": n + 1, "outputs": found}
  kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
  whole = {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
  return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def kept(path: pathlib.Path) -> dict[str, list]:
  """The outputs of a notebook by the ids of its cells."""
  found = json.loads(path.read_text(encoding="utf-8"))["cells"] if path.exists() else []
  return {cell["id"]: cell["outputs"] for cell in found if cell.get("outputs")}


def run(script: pathlib.Path, folder: str, settings: dict[str, str] | None = None) -> dict[str, list]:
  """Runs a script cell by cell in a fresh process and an empty folder; returns the outputs by the ids of cells.

  settings: further variables of the environment. Raises CalledProcessError, with what was printed, when a cell fails.
  """
  codes = [cell for cell in cells(script.read_text(encoding="utf-8")) if cell["cell_type"] == "code"]
  given = json.dumps([[cell["id"], "".join(cell["source"])] for cell in codes])
  path = os.pathsep.join(filter(None, (str(FOLDER.parent), os.environ.get("PYTHONPATH", ""))))
  env = {**os.environ, "PYTHONPATH": path, **(settings or {})}
  env.pop("XLA_FLAGS", None)  # eight devices are the tests', not a reader's
  driver = [sys.executable, __file__, "--cells"]
  done = subprocess.run(driver, input=given, capture_output=True, text=True, check=False, cwd=folder, env=env)
  if done.returncode:
    raise subprocess.CalledProcessError(done.returncode, script.name, done.stdout, done.stderr)
  return json.loads(done.stdout)


def _cell(number: int, head: str, body: str) -> dict[str, Any]:
  text = head == "[markdown]"
  body = re.sub(r"^# ?", "", body, flags=re.MULTILINE) if text else re.sub(r"  # noqa: E402.*", "", body)
  name = hashlib.sha256(f"{number}{body}".encode()).hexdigest()[:8]
  cell = {"cell_type": "markdown" if text else "code", "id": name, "metadata": {}, "source": body.splitlines(True)}
  return cell if text else cell | {"execution_count": None, "outputs": []}


def _run_cells() -> None:
  """The process of `run`: cells come as JSON on stdin, outputs go as JSON to stdout, whatever cells print there."""
  given, space, outputs = json.load(sys.stdin), {"__name__": "__main__"}, {}
  answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
  for name, code in given:
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out, tempfile.TemporaryFile("w+", encoding="utf-8") as err:
      os.dup2(out.fileno(), 1)
      os.dup2(err.fileno(), 2)
      try:
        value = _executed(code, space)
      except BaseException:
        sys.stdout.flush()
        for stream in (out, err):
          stream.seek(0)
          answer.write(stream.read())
        answer.flush()
        os.dup2(answer.fileno(), 2)
        raise
      sys.stdout.flush()
      sys.stderr.flush()
      outputs[name] = [*_stream("stdout", out), *_stream("stderr", err), *_result(value)]
  json.dump(outputs, answer)
  answer.flush()


def _executed(code: str, space: dict[str, Any]) -> Any:
  """Runs a cell; returns the value of its last line, if that is an expression."""
  tree = ast.parse(code)
  last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
  exec(compile(tree, "cell", "exec"), space)
  return eval(compile(ast.Expression(last.value), "cell", "eval"), space) if last is not None else None


def _stream(name: str, file) -> list[dict[str, Any]]:
  file.seek(0)
  return [{"name": name, "output_type": "stream", "text": lines}] if (lines := _lines(file.read())) else []


def _result(value: Any) -> list[dict[str, Any]]:
  if value is None:
    return []
  shown = value if isinstance(value, str) else json.dumps(value, indent=1, default=repr, ensure_ascii=False)
  return [
    {"data": {"text/plain": _lines(shown)}, "execution_count": None, "metadata": {}, "output_type": "execute_result"}
  ]


def _lines(text: str) -> list[str]:
  """Lines as a notebook holds them, without folders of this machine."""
  text = text.replace(str(FOLDER.parent), "…").replace(os.path.expanduser("~"), "~").replace(os.getcwd() + "/", "")
  lines = text.rstrip().splitlines(True)
  return lines if len(lines) <= _LONGEST else [*lines[: _LONGEST - 10], "…\n", *lines[-9:]]


def main() -> None:
  """As the module says."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--run", nargs="+", default=[], metavar="NAME", help="run these, and keep what they print")
  parser.add_argument("--cells", action="store_true", help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.cells:
    _run_cells()
    return
  for path in sorted(FOLDER.glob("*.py")):
    target, outputs = path.with_suffix(".ipynb"), kept(path.with_suffix(".ipynb"))
    if path.stem in args.run:
      with tempfile.TemporaryDirectory() as folder:
        try:
          outputs = run(path, folder)
        except subprocess.CalledProcessError as e:
          sys.exit(f"{path.name} ended with an error:\n{e.output[-3000:]}\n{e.stderr[-2000:]}")
    target.write_text(notebook(path.read_text(encoding="utf-8"), outputs), encoding="utf-8")
    print(f"wrote {target}")


if __name__ == "__main__":
  main()
