"""Every block of code in the documentation is checked: commands parse, values build, rows are read, programs run."""

import argparse
import ast
import json
import os
import re
import runpy
import subprocess
import sys

import gin
from gin import config as gin_config
import pytest

from itune_jax.data.readers import readers
from itune_jax.evals.benchmarks import registry
from itune_jax.run import cli
from itune_jax.run import gin_setup
from itune_jax.run.commands import judging
from itune_jax.run.commands import train
from itune_jax.run.sweep import cells
from itune_jax.run.sweep import space
from tests.docs import blocks
from tests.objectives import table as objectives_table
from tests.peft import table as peft_table
from tests.synth import table as synth_table

# What is not run, and why.
SHOWN = {
  "export": "sets variables of the shell",
  "pip": "installs packages: a test that does would change the environment it runs in",
  "D=$ITUNE_DATA": "sets variables of the shell",
}
# The rows that a file of tests has by name.
TABLES = {
  "tests/peft/test_contract.py": peft_table.TABLE,
  "tests/objectives/test_contract.py": objectives_table.ALL_ROWS,
  "tests/synth/test_contract.py": synth_table.GENERATORS,
}
# Where the programs of a page run; test_examples.py and test_cli_table.py run theirs as contracts ask.
RUN_ELSEWHERE = ("docs/extend.md", "docs/methods.md")
# A program of the documentation takes minutes; here it runs on the tiny model.
SMALL = {"recipes/demo.gin": "tiny_lora.gin", '"STEPS": 30': '"STEPS": 2', "runs/mine": "runs/notebook"}


class Parsed(Exception):
  """Raised where a script would begin its work."""


@pytest.fixture(autouse=True)
def at_home(monkeypatch):
  monkeypatch.chdir(blocks.ROOT)


@pytest.mark.parametrize("block", blocks.BLOCKS, ids=str)
def test_a_block_is_of_a_language_that_is_checked(block):
  """A block without a language is a drawing, a formula or the output of a program."""
  assert block.language in ("", "bash", "python", "gin", "jsonl", "csv", "toml")
  assert block.language or not any(line.startswith(("itune ", "pip ", "import ")) for line in block.text.splitlines())


@pytest.mark.parametrize("block", blocks.in_language("bash"), ids=str)
def test_commands_parse_and_their_values_build(block, monkeypatch):
  for words in blocks.commands(block):
    checked(words, monkeypatch)


def checked(words, monkeypatch):
  """Raises for a command that would be refused before its work begins."""
  program, *rest = words
  if program in SHOWN:
    return
  if program == "itune":
    itune(rest)
  elif words[1:3] == ["-m", "pytest"]:
    assert any((blocks.ROOT / word).is_file() for word in words[3:]), "the file of the tests"
    assert "-k" not in words or words[-1].strip("[]") in TABLES[words[-3]], "a row of its table"
  elif program == "bash":
    assert (blocks.ROOT / rest[0]).exists() and all(
      weight in ("parity", "full", "heavy", "beam", "gpu") for weight in rest[1:]
    )
  elif program == "python":
    script(rest, monkeypatch)
  elif words[1:3] == ["-m", "mkdocs"]:
    assert rest[2:] == ["build", "--strict"], "what test_site.py runs"
  else:
    raise AssertionError(f"{program} is neither checked nor an exception: {' '.join(words)}")


def itune(words):
  """Flags and values of a command; a run is made, and not started."""
  found = cli.find(words[0])
  args = found.parse(words[1:])
  if not args.gin:
    return
  gin_setup.parse(args.gin, args.gin_file, args.overrides, imports=args.imports, placeholders=found.placeholders)
  defined = {scope for scope, name in gin_config._CONFIG if name == "gin.macro"}
  used = set(re.findall(r"%([A-Z][A-Z0-9_]*)", gin.config_str()))
  if vars(args).get("responses"):
    used &= {"EVALS"}  # stored answers need no model
  if vars(args).get("macro_MANIFEST") or args.gin == "eval":
    used -= {"DATA"}  # the recipe's files are not asked for, and an evaluation reads no training data
  assert used <= defined, f"nothing sets {used - defined}"
  if args.gin == "train":
    gin_setup.call(train.Train)


def script(words, monkeypatch):
  """A script up to where it has read its flags; the itune command behind them is checked as one."""
  path = blocks.ROOT / words[0]
  if path.name == "local.py":
    return itune(words[2:])
  if "--" in words:
    itune(words[words.index("--") + 1 :])
  parse = argparse.ArgumentParser.parse_args

  def stop(self, *args, **more):
    parse(self, *args, **more)
    raise Parsed

  with monkeypatch.context() as patch:
    patch.syspath_prepend(str(path.parent))
    patch.setattr(sys, "argv", words)
    patch.setattr(argparse.ArgumentParser, "parse_args", stop)
    with pytest.raises(Parsed):
      runpy.run_path(str(path), run_name="__main__")
  return None


@pytest.mark.parametrize("page", blocks.PAGES, ids=lambda page: str(page.relative_to(blocks.ROOT)))
def test_commands_in_the_text_have_the_flags_that_it_gives_them(page, monkeypatch):
  for words in blocks.inline(page):
    if words[:2] == ["itune", "lines"]:
      continue  # the command that docs/extend.md adds; test_cli_table.py adds it too
    if words[0] == "itune":
      known = cli.find(words[1]).parser()._option_string_actions
      given = {word.split("=")[0] for word in words[2:] if word.startswith("--") and not word.startswith("--gin.")}
      assert given <= set(known), f"{' '.join(words)}: {given - set(known)}"
    elif "…" not in words:
      checked(words, monkeypatch)


@pytest.mark.parametrize("block", blocks.in_language("gin"), ids=str)
def test_a_part_of_the_documentation_builds(block, tmp_path):
  (tmp_path / "part.gin").write_text(block.text)
  if "import lora_fa" in block.text:  # the method of the same page, as a file beside the recipe
    (code,) = (one.text for one in blocks.in_language("python") if "class LoraFa(" in one.text)
    (tmp_path / "lora_fa.py").write_text(code)
  gin_setup.parse("train", ["recipes/smollm2_lora.gin", str(tmp_path / "part.gin")], ["DATA = 'x.jsonl'"])
  assert gin_setup.call(train.Train)
  gin.clear_config()


@pytest.mark.parametrize("block", blocks.in_language("jsonl"), ids=str)
def test_rows_of_the_documentation_are_read(block, tmp_path):
  (tmp_path / "rows.jsonl").write_text(block.text)
  judged = {'"chosen"': "preference", '"label"': "unpaired", '"responses"': "ranked", '"labels"': "stepwise"}
  named = next((name for key, name in judged.items() if key in block.text), "auto")
  found = readers.examples(str(tmp_path / "rows.jsonl"), format=named)
  assert len(found) == len(block.text.splitlines())
  assert all(json.loads(line) for line in block.text.splitlines())


def _of_page(*pages):
  return [block for block in blocks.in_language("toml") if block.page in [f"docs/guides/{page}.md" for page in pages]]


_SWEEPS, _PANELS = _of_page("sweep", "first_ablation"), _of_page("judges")


@pytest.mark.parametrize("block", _SWEEPS, ids=str)
def test_a_sweep_of_the_documentation_is_read(block, tmp_path):
  (tmp_path / "sweep.toml").write_text(block.text)
  assert len(cells.cells(space.read(str(tmp_path / "sweep.toml")))) in (8, 18, 64)


@pytest.mark.parametrize("block", _PANELS, ids=str)
def test_a_panel_of_the_documentation_is_read(block, tmp_path, monkeypatch):
  (tmp_path / "panel.toml").write_text(block.text)
  monkeypatch.setenv("BIG_KEY", "k")
  asked = ["--suite=mt_bench", "--base=smollm2-135m-instruct", f"--judge={tmp_path}/panel.toml"]
  judge = judging.judge(cli.find("eval").parse(asked))
  assert judge is not None and len(judge.voices) == 4


@pytest.mark.parametrize(
  "block", [one for one in blocks.in_language("toml") if one not in (*_SWEEPS, *_PANELS)], ids=str
)
def test_a_benchmark_of_the_documentation_reads_its_table(block, tmp_path):
  """The table is the page's own; answers of the page are scored in tests/run/commands/test_own_benchmark.py."""
  (tmp_path / "benchmark.toml").write_text(block.text)
  table = next(one for one in blocks.in_language("csv") if one.page == block.page)
  (tmp_path / "questions.csv").write_text(table.text)
  assert len(list(registry.find(str(tmp_path)).benchmark(()).items())) == len(table.text.splitlines()) - 1


@pytest.mark.parametrize("block", blocks.in_language("python"), ids=str)
def test_a_program_of_the_documentation_is_python(block):
  ast.parse(block.text)


@pytest.mark.heavy
def test_programs_of_the_documentation_run(tmp_path):
  """One after the other, in one folder and one process of their own: some read what others wrote."""
  programs = [block for block in blocks.in_language("python") if block.page not in RUN_ELSEWHERE]
  assert len(programs) >= 4
  for n, block in enumerate(sorted(programs, key=lambda block: "api.train" not in block.text)):
    text = block.text
    for large, small in SMALL.items():
      text = text.replace(large, small)
    (tmp_path / f"{n} {block.page.replace('/', ' ')}").write_text(text)
  driver = "import sys\nfor path in sys.argv[1:]:\n  exec(compile(open(path).read(), path, 'exec'), {})"
  command = [sys.executable, "-c", driver, *map(str, sorted(tmp_path.iterdir()))]
  (tmp_path / "tiny_lora.gin").write_text(blocks.TINY_LORA)
  env = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
  env["PYTHONPATH"] = str(blocks.ROOT)
  done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=env)
  assert done.returncode == 0, done.stderr[-2000:]
