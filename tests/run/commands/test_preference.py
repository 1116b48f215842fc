"""Preferences from rows to a run: the first loss is log 2, and a run whose policy is not its reference ends there."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from itune_jax.run import cli
from itune_jax.train import checkpoint
from tests.run.commands import test_resume

FLAGS = ("--gin_file=recipes/preference.gin", "--gin_file=overlays/smoke_pairs.gin")


@pytest.mark.full
def test_the_first_loss_of_dpo_is_log_2(tmp_path):
  assert cli.main(["prepare", *FLAGS]) == 0
  assert cli.main(["train", *FLAGS, f"--run_dir={tmp_path}/run"]) == 0
  lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
  assert abs(lines[0]["loss"] - math.log(2)) <= 1e-6 and lines[0]["rewards/size"] <= 1e-6
  assert lines[2]["rewards/size"] > 0 and lines[0]["grad_norm"] > 0


@pytest.mark.full
def test_dropout_ends_the_run_and_saves_nothing(tmp_path, capsys):
  assert cli.main(["prepare", *FLAGS]) == 0
  code = cli.main(["train", *FLAGS, "--gin.lora.Lora.dropout=0.2", f"--run_dir={tmp_path}/run"])
  assert code == 1 and "policy and reference differ before the first step" in capsys.readouterr().err
  assert not list((tmp_path / "run").glob("checkpoints/*"))


UNPAIRED = ("--gin_file=recipes/kto.gin", "--gin_file=overlays/smoke_unpaired.gin")


def steps(folder):
  return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.full
@pytest.mark.parametrize("part,first", [("kto", 0.5), ("apo_unpaired", 0.5), ("bco", math.log(2))])
def test_the_first_loss_of_single_answers(part, first, tmp_path):
  assert cli.main(["prepare", *UNPAIRED]) == 0
  flags = (*UNPAIRED, f"--gin_file=objective/{part}.gin", f"--run_dir={tmp_path}/run")
  assert cli.main(["train", *flags]) == 0
  found = steps(tmp_path / "run")
  assert abs(found[0]["loss"] - first) <= 1e-6 and found[0]["rewards/size"] <= 1e-6 and found[2]["rewards/size"] > 0


@pytest.mark.heavy
def test_a_stored_reference_is_the_one_that_runs(tmp_path, capsys):
  """A run to its end: it begins at log 2, each step's loss is that of a second pass, and another base finds nothing."""
  stored = (*FLAGS, "--gin_file=overlays/reference_stored.gin")
  assert cli.main(["prepare", *FLAGS, "--with_reference"]) == 0
  assert cli.main(["train", *FLAGS, f"--run_dir={tmp_path}/live"]) == 0
  assert cli.main(["train", *stored, f"--run_dir={tmp_path}/stored"]) == 0
  live, kept = steps(tmp_path / "live"), steps(tmp_path / "stored")
  assert abs(kept[0]["loss"] - math.log(2)) <= 1e-5 and len(kept) == 3
  for one, other in zip(live, kept, strict=True):
    assert other["loss"] == pytest.approx(one["loss"], abs=1e-5)
    assert other["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-4)
  assert [int(f.name) for f in (tmp_path / "stored" / "checkpoints").iterdir()] == [3]
  capsys.readouterr()
  assert cli.main(["train", *stored, "--gin.specs.Model.seed=5", f"--run_dir={tmp_path}/other"]) == 2
  assert "there are some of another base" in capsys.readouterr().err


@pytest.mark.full
def test_a_reference_that_follows_is_saved_and_a_resumed_run_goes_on_bit_for_bit(tmp_path):
  assert cli.main(["prepare", *FLAGS]) == 0
  flags = (*FLAGS, "--gin_file=objective/tr_dpo.gin", "--gin.views.Following.every=1", "--gin_file=optim/ema.gin")
  assert cli.main(["train", *flags, "--steps=4", f"--run_dir={tmp_path}/whole"]) == 0
  for count in (2, 4):
    assert cli.main(["train", *flags, f"--steps={count}", f"--run_dir={tmp_path}/parts"]) == 0
  whole, parts = steps(tmp_path / "whole"), steps(tmp_path / "parts")
  assert [one["loss"] for one in parts][:2] == [one["loss"] for one in whole][:2]
  assert whole[1]["rewards/size"] < whole[3]["rewards/size"] * 10 and whole[0]["rewards/size"] <= 1e-6


KILLED = (*FLAGS, "--gin.STEPS=12", "--gin.checkpoint.Keep.every=3", "--gin.checkpoint.Keep.last=9")


def start(run, *more):
  """DPO in a process of its own with one device, as a user runs it."""
  env = {**os.environ, "XLA_FLAGS": os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1")}
  command = [sys.executable, "-m", "itune_jax.run.cli", "train", *KILLED, *more, f"--run_dir={run}"]
  return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def same(run, straight):
  ours, theirs = test_resume.arrays(run), test_resume.arrays(straight)
  assert ours.keys() == theirs.keys()
  for name in ours:
    np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
  assert test_resume.lines(run) == test_resume.lines(straight)


@pytest.mark.full
def test_killed_at_ten_moments_and_resumed_equals_straight_through(tmp_path):
  """SIGKILL at ten moments drawn from the time that a run takes (start-up, steps, saves), one run behind the other."""
  assert cli.main(["prepare", *FLAGS]) == 0
  begun = time.time()
  assert start(tmp_path / "straight").wait() == 0
  whole, run, kills = time.time() - begun, tmp_path / "killed", []
  for share in np.random.RandomState(0).permutation(np.linspace(0.35, 1.0, 10)):
    process = start(run)
    time.sleep(whole * share)
    if process.poll() is None:
      kills.append(len(checkpoint.committed(str(run / "checkpoints"))))
    process.send_signal(signal.SIGKILL)
    process.wait()
    if len(checkpoint.committed(str(run / "checkpoints"))) == 4:  # it is done: the other kills hit a run begun anew
      same(run, tmp_path / "straight")
      shutil.rmtree(run)
  assert start(run).wait() == 0
  same(run, tmp_path / "straight")
  print(json.dumps({"kills": len(kills), "checkpoints_there": kills, "equal_bit_for_bit": True}))
  assert len(kills) >= 5, "most kills came after the end"
