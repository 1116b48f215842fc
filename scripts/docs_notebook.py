"""Notebooks from their scripts: `python scripts/docs_notebook.py` writes notebooks/NAME.ipynb beside notebooks/NAME.py.

A script is in the percent format: `# %%` begins a cell of code, `# %% [markdown]` a cell of text. Notebooks have no
outputs, so that what is committed is what is written here.
"""

import hashlib
import json
import pathlib
import re

FOLDER = pathlib.Path(__file__).parent.parent / "notebooks"


def notebook(script: str) -> str:
  """The notebook of a script, as the text of its file."""
  pieces = re.split(r"^# %%(.*)\n", script, flags=re.MULTILINE)[1:]
  cells = [
    _cell(n, head.strip(), body.strip("\n"))
    for n, (head, body) in enumerate(zip(pieces[::2], pieces[1::2], strict=True))
  ]
  kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
  made = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
  return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _cell(number: int, head: str, body: str) -> dict:
  text = head == "[markdown]"
  body = re.sub(r"^# ?", "", body, flags=re.MULTILINE) if text else body
  name = hashlib.sha256(f"{number}{body}".encode()).hexdigest()[:8]
  cell = {"cell_type": "markdown" if text else "code", "id": name, "metadata": {}, "source": body.splitlines(True)}
  return cell if text else cell | {"execution_count": None, "outputs": []}


if __name__ == "__main__":
  for path in sorted(FOLDER.glob("*.py")):
    path.with_suffix(".ipynb").write_text(notebook(path.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {path.with_suffix('.ipynb')}")
