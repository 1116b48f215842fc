"""Two runs of one configuration, one killed on the way, end bit for bit alike."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from itune_jax.core import files
from itune_jax.run import cli
from itune_jax.train import checkpoint
from tests import tiny

STEPS, EVERY = 12, 3
RECIPE = [
  "--gin_file=recipes/llama_tiny.gin",
  f"--gin.STEPS={STEPS}",
  f"--gin.checkpoint.Keep.every={EVERY}",
  "--gin.checkpoint.Keep.last=9",
]


def arrays(run):
  folder = checkpoint.committed(str(run / "checkpoints"))[-1]
  names = files.read_json(os.path.join(folder, "meta.json"))["names"]
  here = {"": jax.device_put(0.0, jax.NamedSharding(tiny.mesh(1), jax.P()))}  # wherever it was saved
  return {name: np.asarray(array) for name, array in checkpoint.stored(folder, names, here).items()}


def lines(run):
  timing = ("step_s", "trained_tokens_per_s", "tflops_per_s", "goodput", "memory_gib")
  return [
    {k: v for k, v in json.loads(line).items() if k not in timing}
    for line in (run / "metrics.jsonl").read_text().splitlines()
  ]


def start(run):
  """The command in a process of its own with one device, as a user runs it."""
  env = {**os.environ, "XLA_FLAGS": os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1")}
  command = [sys.executable, "-m", "itune_jax.run.cli", "train", *RECIPE, f"--run_dir={run}"]
  return subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def prepared():
  assert cli.main(["prepare", *RECIPE[:1]]) == 0


@pytest.fixture(scope="module")
def straight(prepared, tmp_path_factory):
  run = tmp_path_factory.mktemp("runs") / "straight"
  assert start(run).wait() == 0
  return run


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.full)])
@pytest.mark.heavy
def test_stopped_and_resumed_equals_straight_through(straight, tmp_path, how):
  run = tmp_path / "killed"
  process = start(run)
  deadline = time.time() + 600
  while len(checkpoint.committed(str(run / "checkpoints"))) < 2 and time.time() < deadline and process.poll() is None:
    time.sleep(0.002)
  process.send_signal(how)
  assert process.wait() == (1 if how == signal.SIGTERM else -how)
  done = [int(pathlib.Path(f).name) for f in checkpoint.committed(str(run / "checkpoints"))]
  assert done and done[-1] < STEPS, "the kill came too late to test anything"
  assert start(run).wait() == 0
  ours, theirs = arrays(run), arrays(straight)
  assert ours.keys() == theirs.keys()
  for name in ours:
    np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
  assert lines(run) == lines(straight)


def test_a_finished_run_is_left_alone_and_another_configuration_refused(straight, capsys):
  before = lines(straight)
  assert cli.main(["train", *RECIPE, f"--run_dir={straight}"]) == 0 and lines(straight) == before
  code = cli.main(["train", *RECIPE, "--gin.SEED=7", f"--run_dir={straight}"])
  assert code == 2 and "holds a run of another configuration" in capsys.readouterr().err


def test_a_run_goes_on_to_more_steps(straight, tmp_path, capsys):
  run = tmp_path / "longer"
  shutil.copytree(straight, run)
  changed = {"--gin.checkpoint.Keep.every": "50", "--gin.STEPS": str(STEPS + 2)}
  kept = [flag for flag in RECIPE if flag.partition("=")[0] not in changed]
  more = [f"{name}={value}" for name, value in changed.items()]
  assert cli.main(["train", *kept, *more, f"--run_dir={run}"]) == 0
  assert "goes on with keep.every = 50, which was 3" in capsys.readouterr().err
  assert lines(run)[:STEPS] == lines(straight) and len(lines(run)) == STEPS + 2


def test_run_directory_holds_what_reproduces_it(straight):
  assert {"config.gin", "operative.gin", "run.json", "data.json", "metrics.jsonl", "train.json"} <= set(
    os.listdir(straight)
  )
  assert "schedule.Schedule.warmup = 0.05" in (straight / "operative.gin").read_text()
  assert files.read_json(str(straight / "run.json"))["packages"]["jax"]


def test_a_checkpoint_of_another_model_is_refused(straight, capsys):
  code = cli.main(["generate", "--prompt=x", f"--adapter={straight}", "--gin.specs.Model.seed=1"])
  assert code == 2 and "was trained on another base model" in capsys.readouterr().err


def test_a_folder_without_the_marker_is_no_checkpoint(straight):
  folder = checkpoint.committed(str(straight / "checkpoints"))[0]
  os.rename(os.path.join(folder, "COMMITTED"), os.path.join(folder, "X"))
  assert folder not in checkpoint.committed(str(straight / "checkpoints"))
  os.rename(os.path.join(folder, "X"), os.path.join(folder, "COMMITTED"))


@pytest.mark.heavy
def test_warm_start_begins_where_another_run_ended(straight, tmp_path):
  run = tmp_path / "warm"
  flags = ["--gin.STEPS=1", f"--gin.WARM_START='{straight}'"]
  assert cli.main(["train", *RECIPE[:1], *flags, f"--run_dir={run}"]) == 0
  first = lambda path: json.loads((path / "metrics.jsonl").read_text().splitlines()[0])["loss"]
  assert first(run) < first(straight) - 0.05


def test_train_and_generate_need_no_tensorflow_and_no_torch():
  """torch is hidden, since tensorboardX picks it up where it is installed; nothing may need it."""
  code = (
    "import sys; sys.modules['torch'] = None\n"
    "from itune_jax.run.commands import train, generate, evaluate, export\n"
    "sys.exit(any(m in sys.modules for m in ('tensorflow', 'seqio')))"
  )
  assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.full
def test_killed_anywhere_and_resumed_equals_straight_through(straight, tmp_path):
  """Eight kills in one run, at moments drawn evenly from the time that the run takes: start-up, steps, checkpoints."""
  begun = time.time()
  assert start(tmp_path / "timed").wait() == 0
  whole = time.time() - begun
  run, kills = tmp_path / "killed", 0
  for share in np.random.RandomState(0).permutation(np.linspace(0.3, 1.0, 8)):
    process = start(run)
    time.sleep(whole * share)
    kills += process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
  assert kills >= 4, "most kills came after the end"
  assert start(run).wait() == 0
  for name, array in arrays(straight).items():
    np.testing.assert_array_equal(arrays(run)[name], array, err_msg=name)
  assert lines(run) == lines(straight)
  print(json.dumps({"kills": kills, "equal_bit_for_bit": True}))
