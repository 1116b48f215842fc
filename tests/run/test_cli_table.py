"""Every command: help that imports nothing heavy, flags that agree with how it starts, and a new one by two steps."""

import json
import os
import pathlib
import re
import subprocess
import sys
import time

import pytest

from itune_jax.run import cli

ROOT = pathlib.Path(__file__).parent.parent.parent
HEAVY = ("jax", "numpy", "tensorflow", "transformers", "gin", "rich")
# What a help text is printed by, in a process of its own; the last line is what it should not have imported.
HELP = f"""
import sys
from itune_jax.run import cli
try:
  cli.main(sys.argv[1:])
except SystemExit:
  pass
print([name for name in {HEAVY!r} if name in sys.modules])
"""


def python(*argv, **more):
  return subprocess.run([sys.executable, *argv], capture_output=True, text=True, check=False, cwd=ROOT, **more)


def seconds(*argv):
  """The best of three, as the machine has others to serve."""

  def once():
    started = time.perf_counter()
    assert python(*argv).returncode == 0
    return time.perf_counter() - started

  return min(once() for _ in range(3))


@pytest.mark.parametrize("argv", [["--help"], *([name, "--help"] for name in cli.COMMANDS)], ids=" ".join)
def test_help_imports_nothing_heavy(argv):
  *text, heavy = python("-c", HELP, *argv).stdout.splitlines()
  assert heavy == "[]" and text[0].startswith(f"usage: itune {'' if len(argv) == 1 else argv[0]}".rstrip())
  if len(argv) == 1:
    shown = " ".join(" ".join(text).split())
    assert all(" ".join(f"{name} {cli.find(name).help}".split()) in shown for name in cli.COMMANDS)


def test_help_is_quick():
  assert seconds("-m", "itune_jax.run.cli", "train", "--help") < 5 * seconds("-c", "pass") + 0.5


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_command_agrees_with_its_row(name):
  found = cli.find(name)
  flags = set(found.parser()._option_string_actions)
  assert found.name == name
  assert ("--gin_file" in flags) == bool(found.gin) and ("--cluster" in flags) == (found.starts == "cluster")
  assert not found.gin or (ROOT / "gin_configs" / "runs" / f"{found.gin}.gin").exists()
  module, _, function = found.work.partition(":")
  source = ROOT / (module.replace(".", "/") + ".py")
  assert f"\ndef {function}(args: command.Args)" in source.read_text()


def test_commands_that_print_a_result_are_those_of_the_page():
  """As docs/command_line.md says; the others print what a person asked for."""
  text = {"generate", "config", "recipes", "lm_eval"}
  for name in cli.COMMANDS:
    module, _, function = cli.find(name).work.partition(":")
    source = (ROOT / (module.replace(".", "/") + ".py")).read_text()
    assert (f"def {function}(args: command.Args) -> None" in source) == (name in text), name


def test_gin_values_of_a_command_that_reads_none_are_refused(capsys):
  assert cli.main(["report", "--run_dir=x", "--gin.STEPS=3"]) == 2
  assert "--gin.STEPS=3: itune report reads no gin values" in capsys.readouterr().err


def test_a_command_is_added_as_the_documentation_says(tmp_path):
  section = (ROOT / "docs" / "extend.md").read_text().split("\n## Add a command\n")[1].split("\n## ")[0]
  module, row = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
  assert len(module.splitlines()) <= 40
  (tmp_path / "lines.py").write_text(module)
  (tmp_path / "data.jsonl").write_text('{"a": 1}\n\n{"a": 2}\n')
  program = (
    "import sys\nfrom itune_jax.run import cli, commands\nfrom itune_jax.run.cli import COMMANDS\n"
    f"commands.__path__.append({str(tmp_path)!r})\n{row}\nsys.exit(cli.main())"
  )
  data = f"--data={tmp_path}/data.jsonl"
  done = python("-c", program, "lines", data)
  assert json.loads(done.stdout.splitlines()[-1])["rows"] == 2 and done.returncode == 0, done.stderr
  few = python("-c", program, "lines", data, "--at_least=3")
  assert few.returncode == 2 and few.stderr == "itune: 2 rows, and --at_least=3\n" and not few.stdout
  none = python("-c", program, "lines", "--data=nowhere.jsonl")
  assert none.returncode == 1 and none.stderr == "itune: nowhere.jsonl: No such file or directory\n"
  assert "count the rows of files" in python("-c", program, "--help").stdout


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_pipe_ends_a_command_quietly(tmp_path, unbuffered):
  """As a shell has it, of which the reader has gone before the command prints."""
  (tmp_path / "metrics.jsonl").write_text("".join(json.dumps({"step": k, "loss": 1.0}) + "\n" for k in (1, 2)))
  reads, writes = os.pipe()
  os.close(reads)
  command = [sys.executable, "-m", "itune_jax.run.cli", "report", f"--run_dir={tmp_path}"]
  env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
  done = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, text=True, check=False, env=env, cwd=ROOT)
  os.close(writes)
  assert done.returncode == 141 and done.stderr == f"wrote {tmp_path}/report.html\n"


def test_a_pipe_that_broke_elsewhere_is_an_error(capsys, monkeypatch):
  def broken(args):
    raise BrokenPipeError(32, "Broken pipe", "a socket")

  monkeypatch.setattr("itune_jax.run.commands.report.from_flags", broken)
  assert cli.main(["report", "--run_dir=x"]) == 1
  assert capsys.readouterr().err == "itune: a socket: Broken pipe\n"
