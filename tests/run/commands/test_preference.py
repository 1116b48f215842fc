"""Preferences from rows to a run: the first loss is log 2, and a run whose policy is not its reference ends there."""

import json
import math

import pytest

from itune_jax.run import cli

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


@pytest.mark.full
def test_a_stored_reference_is_the_one_that_runs(tmp_path):
  """The same losses with and without a second pass, and a run of another base finds nothing."""
  (tmp_path / "stored.gin").write_text(
    "from __gin__ import dynamic_registration\nfrom itune_jax.run import views\n"
    "VIEWS = {'reference': @views.Stored()}\n"
  )
  assert cli.main(["prepare", *FLAGS, "--with_reference"]) == 0
  assert cli.main(["train", *FLAGS, f"--run_dir={tmp_path}/live"]) == 0
  stored = (*FLAGS, f"--gin_file={tmp_path}/stored.gin")
  assert cli.main(["train", *stored, f"--run_dir={tmp_path}/stored"]) == 0
  for live, kept in zip(steps(tmp_path / "live"), steps(tmp_path / "stored"), strict=True):
    assert kept["loss"] == pytest.approx(live["loss"], abs=1e-5)
  assert cli.main(["train", *stored, "--gin.specs.Model.seed=5", f"--run_dir={tmp_path}/other"]) == 2


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
