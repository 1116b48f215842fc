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
