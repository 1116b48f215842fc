"""Tasks of SeqIO and datasets of Grain through the commands: what prepare reads, training needs no TensorFlow for."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from itune_jax.train import checkpoint
from tests.run.commands import test_resume

HERE = pathlib.Path(__file__).parent.parent.parent / "data"
# Its last line is what was imported of what costs so much.
CODE = """
import sys
from itune_jax.run import cli
code = cli.main(sys.argv[1:])
print([name for name in ("tensorflow", "seqio", "tensorflow_datasets") if name in sys.modules])
sys.exit(code)
"""


def command(folder, *argv):
  done = subprocess.run(
    [sys.executable, "-c", CODE, *argv],
    cwd=folder,
    env={**os.environ, "ITUNE_CACHE": str(folder / "cache"), "MY_LINES": str(folder)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr[-2000:]
  *_, result, imported = done.stdout.strip().splitlines()
  return json.loads(result), imported, done.stderr


@pytest.mark.heavy
def test_a_mixture_of_seqio_is_prepared_and_trained_without_tensorflow(tmp_path, smollm2_path):
  pytest.importorskip("seqio", reason="SeqIO is not installed: the extra prep installs it")
  shutil.copy(HERE / "my_seqio_tasks.py", tmp_path / "door_tasks.py")
  (tmp_path / "lines.tsv").write_text("a\tb\nc d\te\n")
  models = tmp_path / "cache" / "models"
  models.mkdir(parents=True)
  os.symlink(os.path.dirname(smollm2_path), models / "smollm2-135m-instruct")
  flags = ["--gin_file=llama_tiny", "--gin_file=data/jsonl.gin", "--data=seqio:my_mixture"]
  flags += ["--import=door_tasks", "--gin.feed.Packing.rows=4", "--gin.feed.Packing.row_length=512"]
  result, imported, _ = command(tmp_path, "prepare", *flags)
  assert "seqio" in imported and set(result["rates"]) == {"my_function", "my_lines"}
  assert result["rates"]["my_function"] == pytest.approx(0.62801, abs=1e-4) and not any(
    s["dropped"] for s in result["sources"]
  )
  result, imported, said = command(tmp_path, "train", *flags, f"--run_dir={tmp_path / 'run'}", "--dry_run")
  assert imported == "[]" and "door_tasks: it imports seqio, so it registers data" in said


GRAIN = [
  *test_resume.RECIPE,
  "--import=tests.data.my_grain_data",
  "--gin.mixture.Mixture.sources=()",
  "--gin.mixture.Mixture.grain='tests.data.my_grain_data:streamed'",
  "--gin.feed.Packing.window=40",
]


def start(run):
  env = {**os.environ, "XLA_FLAGS": os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1")}
  line = [sys.executable, "-m", "itune_jax.run.cli", "train", *GRAIN, f"--run_dir={run}"]
  return subprocess.Popen(line, env=env, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


@pytest.mark.full
def test_a_run_on_a_dataset_of_grain_that_was_killed_ends_the_same(tmp_path):
  straight, run = tmp_path / "straight", tmp_path / "killed"
  assert start(straight).wait() == 0
  process = start(run)
  deadline = time.time() + 600
  while len(checkpoint.committed(str(run / "checkpoints"))) < 2 and time.time() < deadline and process.poll() is None:
    time.sleep(0.002)
  process.send_signal(signal.SIGKILL)
  process.wait()
  done = [int(pathlib.Path(f).name) for f in checkpoint.committed(str(run / "checkpoints"))]
  assert done and done[-1] < test_resume.STEPS, "the kill came too late to test anything"
  assert start(run).wait() == 0
  ours, theirs = test_resume.arrays(run), test_resume.arrays(straight)
  for name in theirs:
    np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
  assert test_resume.lines(run) == test_resume.lines(straight)
