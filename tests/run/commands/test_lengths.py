"""How long a run is, and what validates it: passes over the data, held-out rows, and where their loss is seen."""

import json

import pytest

from itune_jax.core import errors
from itune_jax.run import cli
from itune_jax.run.commands import train
from itune_jax.run.report import page

TINY = ["--gin_file=recipes/llama_tiny.gin", "--gin.starter/mixture.Source.limit=60"]


@pytest.mark.heavy
def test_a_validated_run_of_one_pass_shows_its_curve(tmp_path, capsys):
  flags = [*TINY, "--val_fraction=0.2", "--epochs=1", "--gin.VAL_EVERY=1"]
  assert cli.main(["prepare", *flags]) == 0
  kept = json.loads(capsys.readouterr().out)["sources"][0]["kept"]
  assert 60 > kept > 35
  assert cli.main(["train", *flags, f"--run_dir={tmp_path}/run"]) == 0
  out = capsys.readouterr()
  steps = int(json.loads(out.out.splitlines()[-1])["steps"])
  lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
  losses = [line["validation/loss"] for line in lines if "validation/loss" in line]
  assert steps == max(line["step"] for line in lines) and len(losses) == steps
  assert out.err.count("validation/loss") == steps and f"step {steps}: checkpoint" in out.err
  rows = json.loads((tmp_path / "run" / "run.json").read_text())["facts"]
  assert steps - 1 < rows["steps"] / rows["epochs"] <= steps
  path, _ = page.write(str(tmp_path / "run"))
  with open(path, encoding="utf-8") as f:
    assert "validation/loss over" in f.read()


@pytest.mark.parametrize(
  "steps,epochs,words",
  [
    (0, 0, "set one of them"),
    (3, 2, "set one of them"),
    (1e3, 0, "STEPS must be a positive integer, not 1000.0"),
    (0, -1, "EPOCHS must be a positive number, not -1"),
  ],
)
def test_exactly_one_length_is_given(steps, epochs, words, monkeypatch):
  given = dict.fromkeys(train.Train.__dataclass_fields__, None) | {"steps": steps, "epochs": epochs}
  with pytest.raises(errors.InputError, match=words):
    train.Train(**given)


def test_a_plan_opens_no_data(capsys):
  plan = ["plan", "--gin_file=recipes/llama3_8b_lora_qv.gin", "--topology=none:1", "--dry_run"]
  assert cli.main(plan) == 2
  said = capsys.readouterr().err
  assert "DATA" not in said and "none" in said
