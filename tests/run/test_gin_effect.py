"""No value is without effect: a command refuses what it would never read, and says who reads it."""

import pytest

from itune_jax.core import errors
from itune_jax.run import cli
from itune_jax.run import gin_setup


def parse(command, *argv):
  found, args = cli.find(command), cli.find(command).parse(argv)
  how = {"light": found.light, "without": found.without, "placeholders": found.placeholders, "command": command}
  return gin_setup.parse(found.gin, args.gin_file, args.overrides, **how)


@pytest.mark.parametrize(
  "command,given,words",
  [
    ("train", "DECODE=3", "train does not read it here: it would have no effect; what reads it is itune generate"),
    ("train", "EVAL_LIMIT=3", "evals/jsonl.gin"),
    ("train", "TEMPLATE=chatml", "here its value is --gin.specs.Model.chat_template=…"),
    ("train", "DATA=x.jsonl", "this recipe brings its own data: add --gin_file=data/jsonl.gin"),
    ("train", "STEP=3", "STEP is set, but nothing refers to it: it would have no effect; did you mean STEPS?"),
    ("train", "QUANTUM=3", "nothing refers to it: it would have no effect; known are"),
    ("train", "lora.Lora.rank=3", "nothing that is used here is a lora.Lora"),
    ("eval", "DECODE=3", "itune eval does not read it here"),
  ],
)  # fmt: skip
def test_what_a_command_never_reads_is_refused_on_its_line(command, given, words):
  more = ["--run_dir=r"] if command == "train" else []
  lora = ["--gin_file=peft/lora.gin", "--gin_file=peft/full.gin"] if "lora" in given else []
  with pytest.raises(errors.InputError) as e:
    parse(command, "--gin_file=llama_tiny", *lora, f"--gin.{given}", *more)
  assert words in str(e.value) and "REMAT" not in str(e.value).split("known are")[0]


@pytest.mark.parametrize("given", ["STEPS=3", "TEMPLATE=chatml"])
def test_a_command_without_a_recipe_takes_its_own_values_alone(given):
  with pytest.raises(errors.InputError, match="itune generate does not read it here"):
    parse("generate", "--prompt=x", f"--gin.{given}")
  parse("generate", "--prompt=x", "--gin.DECODE=@decode.Decode()")


@pytest.mark.parametrize("command", ["prepare", "train", "eval", "inspect"])
def test_all_commands_of_a_recipe_take_the_values_of_its_training_run(command):
  more = {"train": ["--run_dir=r"], "inspect": ["data"]}.get(command, [])
  values = ("STEPS=3", "SEED=1", "MICRO_BATCHES=2", "EVAL_LIMIT=4", "VAL_FRACTION=0.1", "lora.Lora.rank=2",
            "checkpoint.Keep.last=3", "decode.Decode.n=2", "DECODE=@decode.Decode()")  # fmt: skip
  parse(command, "--gin_file=demo", *(f"--gin.{value}" for value in values), *more)


def test_a_file_may_hold_values_for_other_commands(tmp_path):
  (tmp_path / "mine.gin").write_text('include "recipes/llama_tiny.gin"\nDECODE = 3\n')
  assert parse("train", f"--gin_file={tmp_path}/mine.gin", "--run_dir=r") == []
  (tmp_path / "mine.gin").write_text('include "recipes/llama_tiny.gin"\nDECOD = 3\n')
  with pytest.raises(errors.InputError, match=r"did you mean DECODE\?"):
    parse("train", f"--gin_file={tmp_path}/mine.gin", "--run_dir=r")


def test_a_file_of_which_nothing_is_read_is_told():
  assert parse("eval", "--gin_file=demo", "--gin_file=peft/dora.gin") == ["peft/dora.gin"]
  assert parse("eval", "--gin_file=demo", "--gin_file=overlays/qlora.gin") == []
  assert parse("train", "--gin_file=demo", "--gin_file=peft/dora.gin", "--run_dir=r") == []
  assert cli.find("eval").says_idle


@pytest.mark.parametrize(
  "text,words",
  [
    ("schedule.Schedule.rate = fast", "mine.gin, line 3: 'fast' is no value of gin; a text stands in quotes"),
    ("schedule.Schedule.rate = [1,", "a bracket or a quote is not closed"),
    ("schedule.Schedule.rate : 3", "line 3: this is no statement of gin"),
    ("schedule.Schedule.lr = 3", "schedule.Schedule has no 'lr'; it takes rate, kind, warmup, final (/"),
    ("schedule.Schedule.rat = 3", "schedule.Schedule has no 'rat'; did you mean rate? It takes rate"),
  ],
)
def test_a_file_that_is_no_gin_is_one_line_with_its_place(tmp_path, text, words):
  (tmp_path / "mine.gin").write_text(
    f"from __gin__ import dynamic_registration\nfrom itune_jax.optim import schedule\n{text}\n"
  )
  with pytest.raises(errors.InputError) as e:
    gin_setup.parse("train", ["llama_tiny", str(tmp_path / "mine.gin")], [])
  assert words in str(e.value) and "mine.gin" in str(e.value) and "\n" not in str(e.value)


def test_a_recipe_is_found_without_its_ending():
  assert gin_setup.parse("train", ["recipes/llama_tiny"], []) == gin_setup.parse("train", ["llama_tiny.gin"], [])
  with pytest.raises(errors.InputError, match="no such file; did you mean recipes/llama_tiny"):
    gin_setup.parse("train", ["recipes/llama_tny"], [])
