"""Flags: short forms are the macros that they say, and nothing is empty by accident."""

import os
import subprocess
import sys

import pytest

from itune_jax.core import errors
from itune_jax.run import cli
from itune_jax.run import gin_setup
from itune_jax.run import macros
from itune_jax.run import quiet
from itune_jax.run import recipes
from itune_jax.run.commands import explain
from itune_jax.run.commands import train


def parse(name, *argv):
  return cli.find(name).parse(list(argv))


def test_short_forms_are_lines_of_gin():
  args = parse(
    "train",
    "--gin_file=demo",
    "--run_dir=r",
    "--data=a 'b'.jsonl",
    "--base=org/model",
    "--steps=1e3",
    "--peft=dora",
    "--gin.SEED=3",
  )
  lines = ["BASE = 'org/model'", "DATA = \"a 'b'.jsonl\"", "STEPS = 1e3"]
  assert sorted(args.overrides[:-1]) == lines and args.overrides[-1] == "SEED = 3"
  assert args.gin_file[0] == "demo" and args.gin_file[1].endswith("gin_configs/peft/dora.gin")


@pytest.mark.parametrize("name,macro", [(n, m) for n, m in macros.MACROS.items() if m.flag])
def test_help_says_which_macro_a_short_form_sets(name, macro):
  shown = " ".join(cli.find("train").parser().format_help().split())
  assert f"--{macro.flag}" in shown and f"(sets {name})" in shown


@pytest.mark.parametrize(
  "name,flags",
  [
    ("train", ["--gin_file=demo", "--run_dir="]),
    ("train", ["--gin_file=demo", "--run_dir", " "]),
    ("train", ["--gin_file=demo", "--run_dir=r", "--data="]),
    ("eval", ["--gin_file=demo", "--adapter="]),
    ("export", ["--out", ""]),
    ("generate", ["--prompt=hi", "--adapter", ""]),
  ],
)
def test_an_empty_value_is_refused(name, flags):
  with pytest.raises(errors.InputError, match="is empty"):
    parse(name, *flags)


def test_held_out_rows_of_the_users_own_are_asked_at_the_end_of_training():
  flags = ["--gin_file=smollm2_lora", "--gin_file=overlays/own_eval.gin", "--data=a.jsonl"]
  args = cli.find("train").parse([*flags, "--eval_data=b.jsonl", "--check=contains", "--run_dir=x"])
  assert {"EVAL_DATA = 'b.jsonl'", "CHECK = 'contains'"} <= set(args.overrides)
  gin_setup.parse(args.gin, args.gin_file, args.overrides)
  (one,) = gin_setup.call(train.Train).evals
  assert (one.items.source.path, one.items.default_check, one.every) == ("b.jsonl", "contains", -1)
  assert one.decode.temperature == 0


def test_a_prompt_may_be_empty_and_a_name_is_not_cut():
  assert parse("generate", "--prompt=").prompt == [""]
  with pytest.raises(errors.InputError, match="no --run; did you mean --run_dir"):
    parse("train", "--gin_file=demo", "--run=r")


def test_unknown_parts_are_said_with_those_there_are():
  with pytest.raises(errors.InputError, match=r"--peft=lora_plus: no such part; there are adalora, bitfit"):
    parse("train", "--gin_file=demo", "--run_dir=r", "--peft=lora_plus")


def test_recipes_say_what_they_need():
  assert recipes.needs("recipes/any_lora.gin") == ["BASE", "DATA"] and recipes.needs("recipes/demo.gin") == []
  assert set(macros.MACROS) >= {name for one in recipes.entries() for name in recipes.needs(one.name)}


@pytest.mark.parametrize(
  "name,words",
  [
    ("STEPS", ["optimizer steps", "--steps=", "train.Train.steps", "set to 60 by gin_configs/recipes/demo.gin"]),
    ("schedule.Schedule.rate", ["float = 0.0001", "learning rate", "set to 1e-3 by gin_configs/peft/lora.gin"]),
    ("steps", ["STEPS: optimizer steps"]),
    ("lora.Lora.rank", ["lora.Lora.rank: int = 8", "the width of the two factors"]),
    (
      "lora.Lora",
      ["lora.Lora.rank: int = 8", "    r, the width of the two factors", "lora.Lora.init: one of 'uniform'"],
    ),
    ("Packing.row_length", ["feed.Packing.row_length: int = 2048"]),
    ("train/mixture.Source.stride", ["mixture.Source.stride: int = 1", "every so many-th"]),
  ],
)
def test_values_are_explained(name, words):
  shown = "\n".join(explain.explained(name))
  assert all(word in shown for word in words), shown


@pytest.mark.parametrize(
  "name,says",
  [
    ("STEP", "did you mean STEPS"),
    ("schedule.Schedule.lr", "has no 'lr'"),
    ("nothing.Nothing", "nothing is called so"),
    ("rank", r"several classes may have it: ask for lora\.Lora\.rank, "),
    ("demo", r"is no value but a file, recipes/demo\.gin"),
    ("peft/lora.gin", r"is no value but a file, peft/lora\.gin"),
  ],
)
def test_what_is_not_there_is_not_explained(name, says):
  with pytest.raises(errors.InputError, match=says):
    explain.explained(name)


def test_a_machine_without_devices_asks_for_none(monkeypatch):
  monkeypatch.setattr(quiet.os.path, "exists", lambda path: False)
  monkeypatch.setattr(quiet, "_makers", lambda: iter(["0x8086"]))
  for name in ("TPU_NAME", "TPU_WORKER_ID", "TPU_ACCELERATOR_TYPE"):
    monkeypatch.delenv(name, raising=False)
  assert quiet.platforms_here() == "cpu"
  monkeypatch.setattr(quiet, "_makers", lambda: iter(["0x8086", "0x1ae0"]))
  assert quiet.platforms_here() == ""


@pytest.mark.heavy
def test_other_libraries_say_nothing(tmp_path):
  """A bare environment, as a new user's: libtpu is installed here, and is not asked."""
  environment = {name: os.environ[name] for name in ("HOME", "PATH", "PYTHONPATH") if name in os.environ}
  run = [sys.executable, "-m", "itune_jax.run.cli"]
  for argv in (
    ["prepare", "--gin_file=llama_tiny"],
    ["train", "--gin_file=llama_tiny", "--steps=1", f"--run_dir={tmp_path}/run"],
    ["generate", f"--adapter={tmp_path}/run", "--prompt=hi", "--max_new_tokens=1"],
  ):
    done = subprocess.run([*run, *argv], env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
    ours = ("mixture ", "wrote ", "training ", "step 1: ", "train: ", "prepare ", "loaded ")
    assert done.returncode == 0, done.stderr
    assert all(line.startswith(ours) for line in done.stderr.splitlines() if line.strip()), done.stderr


def test_values_of_a_module_of_ones_own_are_explained(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", list(sys.path))
  text = [
    "import dataclasses",
    "@dataclasses.dataclass",
    "class Smooth:",
    '  """A loss.',
    "",
    "  epsilon: of the smoothing.",
  ]
  (tmp_path / "explained_loss.py").write_text("\n".join([*text, '  """', "  epsilon: float = 0.1", ""]))
  assert cli.main(["config", "--import=explained_loss", "explained_loss.Smooth.epsilon"]) == 0
  assert "explained_loss.Smooth.epsilon: float = 0.1\n  of the smoothing" in capsys.readouterr().out
  assert cli.main(["config", "Smooth.epsilon"]) == 2
