"""The report of a run, its figures and its page in a real browser."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from itune_jax.core import contracts
from itune_jax.run import cli
from itune_jax.run.report import page as page_lib
from itune_jax.run import results

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
  """A small real run, with evaluations before and after made up."""
  run = tmp_path_factory.mktemp("report") / "run"
  recipe = ["--gin_file=recipes/llama_tiny.gin", "--gin.STEPS=6"]
  assert cli.main(["prepare", *recipe[:1]]) == 0 and cli.main(["train", *recipe, f"--run_dir={run}"]) == 0
  for label, right in (("before", 2), ("after", 9)):
    rows = [
      {
        "id": f"i{i}",
        "cluster": f"t{i % 4}",
        "domain": "sort" if i % 2 else "count",
        "prompt": f"Sort <b>{i}</b>",
        "answer": "a, b",
        "output": f"answer {i} & more",
        "correct": i < right,
        "stopped": True,
        **({"harmful": True} if i == 0 else {}),
      }
      for i in range(12)
    ]
    figure = contracts.Result("starter", "exact_match", right / 12, "", 0.1, 0.9, 12, 12)
    results.write(str(run), label, "starter", contracts.EvalResult([figure], rows))
  return run


def test_report_figures(run_dir, capsys):
  assert cli.main(["report", f"--run_dir={run_dir}"]) == 0
  line = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
  assert line["gain"] == pytest.approx(7 / 12) and line["gain_ci_low"] > 0 and line["report"].endswith("report.html")
  page = (run_dir / "report.html").read_text()
  assert page.count('<label class="veil">') == 3, "prompt and both answers of the one item that may be harmful"
  assert "parameters trained for 6 steps of" in page, "what it took, not what it was begun with"
  assert "methods: <code>Full</code>" in page and "command: <code>itune train --gin_file=recipes/llama_tiny" in page
  assert "&lt;b&gt;" in page and "<script" not in page and "http" not in re.sub(r"data:[^\"]+", "", page)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium to look at the page in a browser")
def test_report_in_a_browser(run_dir, tmp_path):
  path, _ = page_lib.write(str(run_dir))
  dom = subprocess.run(
    [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path}/p", "--dump-dom", f"file://{path}"],
    capture_output=True,
    text=True,
    timeout=120,
    check=True,
  ).stdout
  for part in (
    'id="charts"',
    'id="evals"',
    'id="samples"',
    'id="data"',
    'id="operative"',
    "gain-starter",
    "+58.3",
    "on 12 held-out items",
  ):
    assert part in dom, part
  assert dom.count("<figure>") == 3
  shot = tmp_path / "shot.png"
  subprocess.run(
    [
      CHROMIUM,
      *FLAGS,
      f"--user-data-dir={tmp_path}/q",
      "--window-size=1100,1600",
      f"--screenshot={shot}",
      f"file://{path}",
    ],
    capture_output=True,
    timeout=120,
    check=True,
  )
  pixels = _png(shot)
  assert pixels.shape[:2] == (1600, 1100)
  dark, blue = (pixels[..., :3].mean(-1) < 110).mean(), ((pixels[..., 2] > 120) & (pixels[..., 0] < 90)).mean()
  assert 0.002 < dark < 0.4, "text is there, and is not everything"
  assert blue > 0.0002, "the curves are drawn"


def _png(path):
  from matplotlib import image

  return (image.imread(path) * 255).astype(np.uint8)
