"""The comparison of methods from end to end on the tiny model: resumable, with a table, a plot and JSON."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.full
ROOT = pathlib.Path(__file__).parent.parent.parent


def test_two_methods_two_rates_two_seeds(tmp_path):
  recipe = tmp_path / "tiny.gin"
  parts = ("recipes/llama_tiny.gin", "decode/greedy.gin", "evals/comparison.gin")
  numbers = "STEPS = 2\nEVAL_STRIDE = 24\ndecode.Decode.max_new_tokens = 4\nUNRELATED = 'starter:heldout'\n"
  recipe.write_text("".join(f'include "{part}"\n' for part in parts) + numbers)
  argv = [sys.executable, str(ROOT / "experiments" / "peft_comparison" / "run.py"), f"--out={tmp_path / 'out'}"]
  argv += [f"--recipe={recipe}", "--unrelated=starter:heldout", "--methods", "lora", "ia3", "--rates=2", "--seeds=2"]
  env = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=1", "PYTHONPATH": str(ROOT)}
  run = lambda: subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
  first = run()
  assert first.returncode == 0, first.stderr[-2000:]
  said = json.loads(first.stdout.strip().splitlines()[-1])
  assert said["methods"] == 2
  rows = {row["method"]: row for row in json.loads((tmp_path / "out" / "comparison.json").read_text())}
  assert rows["lora"]["over_lora"] == [0, 0, 0] and rows["lora"]["seeds"] == rows["ia3"]["seeds"] == 2
  assert rows["lora"]["trainable_parameters"] > rows["ia3"]["trainable_parameters"] > 0
  assert (tmp_path / "out" / "comparison.png").stat().st_size > 5000
  times = {path: path.stat().st_mtime for path in (tmp_path / "out").rglob("cell.json")}
  assert len(times) == 2 * (2 + 1)
  assert run().returncode == 0 and {path: path.stat().st_mtime for path in times} == times  # nothing was done again
