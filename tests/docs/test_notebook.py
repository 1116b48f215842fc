"""A notebook is its script, and it runs from its first cell to its last."""

import json
import time

import pytest

from scripts import docs_notebook
from tests.docs import blocks

SCRIPTS = sorted(docs_notebook.FOLDER.glob("*.py"))
TINY = {"ITUNE_RECIPE": "tiny_lora.gin", "ITUNE_STEPS": "3"}
OWN = {"ITUNE_RECIPE": "tiny_own.gin", "ITUNE_STEPS": "3"}
# What makes a notebook small, and a file that it leaves; `scripts/test.sh heavy` runs the first, `full` the others.
SMALL = {
  "quickstart": (TINY, "adapter/adapter_config.json"),
  "evaluation": ({"ITUNE_MODEL": "--gin_file=recipes/llama_tiny.gin"}, "compare.html"),
  "making_data": ({}, "made_hub/README.md"),
  "own_data": (OWN, "run/report.html"),
  "preferences": ({}, "simpo/run.json"),
  "peft_tour": ({"ITUNE_METHODS": "lora,dora,ia3"}, "merged/export_manifest.json"),
  "ablation": ({"ITUNE_SEEDS": "0"}, "methods/sweep.html"),
  "self_improvement": ({}, "round/compare.html"),
  "qlora": ({"ITUNE_STEPS": "2"}, "peft/adapter_config.json"),
  "tpu_pod": ({}, ""),
}
# Those whose outputs are kept.
PRINTED = {"making_data", "preferences"}


def code_of(path):
  return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_notebook_is_what_its_script_makes(script):
  path = script.with_suffix(".ipynb")
  text = path.read_text(encoding="utf-8")
  found = docs_notebook.notebook(script.read_text(encoding="utf-8"), docs_notebook.kept(path))
  assert text == found, "run scripts/docs_notebook.py"
  cells = json.loads(text)["cells"]
  assert "colab-badge" in "".join(cells[0]["source"])
  assert '"pip", "install"' in "".join(code_of(path)[0]["source"]) and len({cell["id"] for cell in cells}) == len(cells)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_notebook_shows_what_it_printed(script):
  """`python scripts/docs_notebook.py --run NAME` ran it to its end; no folder of a machine is in it."""
  path = script.with_suffix(".ipynb")
  shown = sum(bool(cell["outputs"]) for cell in code_of(path))
  assert shown >= 3 if script.stem in PRINTED else not shown
  assert not any(part in path.read_text(encoding="utf-8") for part in ("/root/", "/home/", "/work/", "/tmp/"))
  assert path.stat().st_size < 100_000


def test_there_is_one_of_each():
  names = {path.stem for path in SCRIPTS}
  assert names == set(SMALL) == {path.stem for path in docs_notebook.FOLDER.glob("*.ipynb")}


@pytest.mark.by_default(0, heavy=4)
@pytest.mark.parametrize("name", SMALL)
def test_it_runs(name, tmp_path):
  """Its cells one after the other in a fresh process, on a tiny model."""
  settings, there = SMALL[name]
  (tmp_path / "tiny_lora.gin").write_text(blocks.TINY_LORA)
  (tmp_path / "tiny_own.gin").write_text(blocks.TINY_LORA + 'include "data/jsonl.gin"\n')
  started = time.perf_counter()
  script = docs_notebook.FOLDER / f"{name}.py"
  printed = docs_notebook.run(script, str(tmp_path), {**settings, "ITUNE_FOLDER": str(tmp_path / name)})
  print(f"{name}: {time.perf_counter() - started:.1f} s")
  assert not there or (tmp_path / name / there).exists()
  assert list(printed) == [cell["id"] for cell in code_of(script.with_suffix(".ipynb"))]
