"""`itune lm_eval` without lm-eval: flags are handed on, and what is missing is said. With it: tests/parity."""

from importlib import metadata

import pytest

from itune_jax.core import errors
from itune_jax.run import cli
from itune_jax.run.commands import lm_eval


def test_flags_are_handed_on_in_their_order():
  words = ["run", "--tasks", "a", "b", "--limit", "5", "--system_instruction", "", "--model_args", "base=x,tensor=2"]
  args = cli.find("lm_eval").parse([*words, "--log_json"])
  assert args.rest == words and args.log_json


@pytest.mark.parametrize("found, said", [(None, "is not installed"), ("0.4.9", "0.4.9 is too old"), ("0.4", "too old")])
def test_a_harness_that_is_missing_or_old_is_one_line(monkeypatch, capsys, found, said):
  def version(name):
    if name == "lm_eval" and found is None:
      raise metadata.PackageNotFoundError
    return found

  monkeypatch.setattr(lm_eval.metadata, "version", version)
  assert cli.main(["lm_eval", "--tasks", "x"]) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert said in line and "pip install 'lm-eval>=0.4.13'" in line


@pytest.mark.parametrize("found", ["0.4.13", "0.4.14.dev0", "0.5.0", "1.0"])
def test_newer_ones_are_taken(monkeypatch, found):
  monkeypatch.setattr(lm_eval.metadata, "version", lambda name: found)
  lm_eval._require_installed()


def test_unknown_flags_of_other_commands_are_still_refused():
  with pytest.raises(errors.InputError, match="--nothing"):
    cli.find("report").parse(["--run_dir=x", "--nothing"])
