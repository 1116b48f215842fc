"""The notebook is its script, and its script runs."""

import json
import os
import subprocess
import sys

import pytest

from scripts import docs_notebook
from tests.docs import blocks

SCRIPTS = sorted(docs_notebook.FOLDER.glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_notebook_is_what_its_script_makes(script):
  text = script.with_suffix(".ipynb").read_text(encoding="utf-8")
  assert text == docs_notebook.notebook(script.read_text(encoding="utf-8")), "run scripts/docs_notebook.py"
  cells = json.loads(text)["cells"]
  code = [cell for cell in cells if cell["cell_type"] == "code"]
  assert not any(cell["outputs"] for cell in code) and '"pip", "install"' in "".join(code[0]["source"])
  assert "colab-badge" in "".join(cells[0]["source"])
  assert len({cell["id"] for cell in cells}) == len(cells)


def test_there_is_one():
  assert SCRIPTS and {path.stem for path in docs_notebook.FOLDER.glob("*.ipynb")} == {path.stem for path in SCRIPTS}


@pytest.mark.heavy
def test_the_quickstart_runs_from_its_notebook(tmp_path):
  """Its cells one after the other in a fresh process, on the tiny model."""
  cells = json.loads((docs_notebook.FOLDER / "quickstart.ipynb").read_text(encoding="utf-8"))["cells"]
  code = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
  (tmp_path / "tiny_lora.gin").write_text(blocks.TINY_LORA)
  small = {"ITUNE_RECIPE": "tiny_lora.gin", "ITUNE_STEPS": "3", "ITUNE_FOLDER": str(tmp_path / "quickstart")}
  env = {**os.environ, **small, "PYTHONPATH": str(blocks.ROOT)}
  env.pop("XLA_FLAGS", None)
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path, env=env
  )
  assert done.returncode == 0, done.stderr[-2000:]
  assert (tmp_path / "quickstart" / "adapter" / "adapter_config.json").exists()
  assert done.stdout.splitlines()[-1].endswith("report.html")


@pytest.mark.heavy
def test_the_evaluation_runs_from_its_notebook(tmp_path):
  """Its cells one after the other in a fresh process, on the tiny model."""
  cells = json.loads((docs_notebook.FOLDER / "evaluation.ipynb").read_text(encoding="utf-8"))["cells"]
  code = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
  small = {"ITUNE_MODEL": "--gin_file=recipes/llama_tiny.gin", "ITUNE_FOLDER": str(tmp_path / "evaluation")}
  env = {**os.environ, **small, "PYTHONPATH": str(blocks.ROOT)}
  env.pop("XLA_FLAGS", None)
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path, env=env
  )
  assert done.returncode == 0, done.stderr[-2000:]
  assert (tmp_path / "evaluation" / "compare.html").exists() and '"missing": 1' in done.stdout
