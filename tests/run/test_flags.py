"""Slips on the command line: each is one line that says what was meant, and exit code 2."""

import itertools

import pytest

from itune_jax.core import errors
from itune_jax.run import cli
from itune_jax.run import flags
from itune_jax.run.commands import explain

TRAIN = ["train", "--gin_file=demo", "--run_dir=r"]


def refused(*argv):
  with pytest.raises(errors.InputError) as e:
    cli.find(argv[0]).parse(argv[1:])
  assert "\n" not in str(e.value) and "usage" not in str(e.value)
  return str(e.value)


@pytest.mark.parametrize(
  "argv,words",
  [
    ([*TRAIN, "--step=3"], "itune train has no --step; did you mean --steps?"),
    (["train", "--gin-file=demo"], "itune train has no --gin-file; did you mean --gin_file?"),
    ([*TRAIN, "--seed=3"], "itune train has no --seed; did you mean --gin.SEED=…?"),
    ([*TRAIN, "--colour", "3"], "itune train has no --colour; other values are --gin.NAME=VALUE"),
    ([*TRAIN, "--lora_rank", "3"], "itune train has no --lora_rank; here it is --gin.lora.Lora.rank=…"),
    ([*TRAIN, "--num-train-epochs", "3"], "itune train has no --num-train-epochs; here it is --epochs=…"),
    (["report", "--max_steps=3"], "itune report has no --max_steps; itune report --help lists what there is"),
    (["report", "--steps=3"], "itune report has no --steps; itune report --help lists what there is"),
    (["report", "--run_dir=r", "more"], "itune report: more is no flag"),
    (["train"], "itune train needs --gin_file and --run_dir"),
    (["export", "--out=o", "--format=hff"], "--format must be one of hf, peft, not 'hff'; did you mean hf?"),
    (["generate", "--prompt=x", "--n=z"], "--n must be a whole number, not 'z'"),
    (["generate", "--prompt=x", "--top_p=z"], "--top_p must be a number, not 'z'"),
    (["generate", "--prompt=x", "--n"], "--n stands without a value"),
    ([*TRAIN, "--data='x.jsonl'"], "--data='x.jsonl': the quotes are part of the value: write --data=x.jsonl"),
    (["eval", "--gin_file=demo", "--adapter", '"runs/a"'], "write --adapter=runs/a"),
    ([*TRAIN, "--steps=3", "--gin.STEPS=4"], "--steps and --gin.STEPS set the same value"),
    ([*TRAIN, "--peft=lora", "--gin.PEFT=()"], "--peft and --gin.PEFT set the same value"),
    ([*TRAIN, "--gin.schedule.Schedule.rate=1", "--gin.Schedule.rate=2"], "set the same value"),
    (
      ["generate", "--prompt=x", "--n=2", "--gin.decode.Decode.n=3"],
      "--n and --gin.decode.Decode.n set the same value",
    ),
  ],
)
def test_a_slip_is_one_line(argv, words):
  assert words in refused(*argv)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_flag_with_one_value_is_given_once(name):
  """Every flag of every command that is no list."""
  parser = cli.find(name).parser()
  single = [a for a in parser._actions if type(a).__name__ == "_StoreAction" and a.option_strings and a.dest != "_"]
  for action in single:
    flag = action.option_strings[0]
    pairs = ([f"{flag}=1", f"{flag}=2"], [flag, "1", f"{flag}=2"], [f"{flag}=1", flag, "2"])
    assert all(f"{flag} is given twice (1 and 2)" in refused(name, *pair) for pair in pairs)


def test_what_may_be_repeated_is():
  args = cli.find("merge").parse(["--adapter=a", "--adapter=b", "--weight=1", "--weight=2", "--out=o"])
  assert args.adapter == ["a", "b"] and args.weight == [1.0, 2.0]
  scoped = ["--gin.a/mixture.Source.limit=1", "--gin.b/mixture.Source.limit=2", "--gin.Source.limit=3"]
  assert len(cli.find("train").parse([*TRAIN[1:], *scoped]).overrides) == 3


def test_help_names_the_short_forms_that_a_command_reads():
  shown = {name: cli.find(name).parser().format_help() for name in ("train", "eval", "prepare", "inspect", "generate")}
  has = {name: {flag for flag in ("--limit", "--steps", "--data ", "--peft", "--val_data") if flag in text}
         for name, text in shown.items()}  # fmt: skip
  assert has["train"] == {"--limit", "--steps", "--data ", "--peft", "--val_data"}
  assert has["eval"] == {"--limit"} and has["prepare"] == has["inspect"] == {"--data ", "--val_data"}
  assert not has["generate"]
  assert cli.find("prepare").parse(["--gin_file=demo", "--steps=3"]).overrides == ["STEPS = 3"]


def test_a_command_is_suggested(capsys):
  assert cli.main(["trian"]) == 2 and "did you mean train?" in capsys.readouterr().err


def test_nothing_that_is_typed_prints_a_usage(capsys):
  words = ["--run_dir", "--run_dir=r", "--", "-x", "x", "--gin.", "--gin.STEPS", "--dry_run=3", "-", "--help=3"]
  for argv in itertools.product(("report", "plan"), words, words):
    code = cli.main(list(argv))
    err = capsys.readouterr().err
    assert code in (1, 2) and "usage" not in err and len(err.splitlines()) == 1, (argv, err)


def test_what_other_tools_call_it_is_called_so_here():
  """Every name that a refusal suggests is a flag of `itune train` or a value that there is."""
  known = cli.find("train").parser()._option_string_actions
  for ours in flags._ELSEWHERE:
    assert ours in known or explain.explained(ours.removeprefix("--gin."))


def test_help_says_defaults_once():
  said = " ".join(cli.find("merge").parser().format_help().split())
  assert "(of one adapter of any linear kind too) (default: hf)" in said
  assert said.count("(default: 1)") == 2 and "(default: [])" not in said and "(default: False)" not in said
