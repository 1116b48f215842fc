"""Suites as a command runs them: stopped at any moment they end with the same bytes; what is done is reused."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from itune_jax.core import errors
from itune_jax.evals import official
from itune_jax.evals import suite as suite_lib
from itune_jax.run import cli
from itune_jax.run import suites
from itune_jax.sampling import requests

TABLE = """
name = "capitals"
file = "rows.jsonl"
ask = "generate"
question = "What is the capital of {land}?"
answer = "capital"
check = "exact"
"""


@pytest.fixture
def own(tmp_path):
  """The folder of a user's own benchmark."""
  folder = tmp_path / "capitals"
  folder.mkdir()
  (folder / "benchmark.toml").write_text(TABLE)
  rows = [{"land": f"Land {i}", "capital": f"C{i % 3}"} for i in range(12)]
  (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  return str(folder)


class Dying(requests.Responder):
  """Answers, and is interrupted before one of its answers."""

  def __init__(self, dies=-1):
    self.asked, self.dies = 0, dies

  def answer(self, given, progress=lambda n: None):
    return self.answer_each(given, lambda response: None, progress)

  def answer_each(self, given, done, progress=lambda n: None):
    found = []
    for request in given:
      if self.asked == self.dies:
        raise KeyboardInterrupt
      self.asked += 1
      text = f"C{len(str(request.conversation)) % 3}"
      found.append(requests.Response(request.id, (requests.Sample(text, "stop", (1,), (-1.0,)),)))
      done(found[-1])
    return found


def _files(folder):
  """All but what it cost, which is another each time."""
  return {name: pathlib.Path(folder, name).read_bytes() for name in sorted(os.listdir(folder)) if name != "costs.json"}


def _run(suite, responder, out, who=None, **how):
  return suites.run(suite, responder, who or {"weights": 1}, str(out), lambda n: None, **how)


def test_stopped_at_any_answer_it_goes_on_and_ends_with_the_same_bytes(own, tmp_path):
  suite = suite_lib.Suite(names=(own,))
  figures = _run(suite, Dying(), tmp_path / "whole")
  whole = _files(tmp_path / "whole")
  assert sorted(whole) == ["capitals.json", "capitals.jsonl", "capitals.key"]
  for dies in range(12):
    out = tmp_path / str(dies)
    with pytest.raises(KeyboardInterrupt):
      _run(suite, Dying(dies), out)
    rest = Dying()
    assert _run(suite, rest, out) == figures and rest.asked == 12 - dies
    assert _files(out) == whole


def test_what_is_done_is_reused_and_nothing_else_is_replaced(own, tmp_path):
  suite = suite_lib.Suite(names=(own,))
  figures = _run(suite, Dying(), tmp_path / "out")
  again = Dying()
  assert _run(suite, again, tmp_path / "out") == figures and again.asked == 0
  fewer = suite_lib.Suite(names=(own,), common=official.Settings(limit=3))
  for other, who in ((fewer, {"weights": 1}), (suite, {"weights": 2})):
    with pytest.raises(errors.InputError, match="holds capitals of other (settings|weights): give --overwrite"):
      _run(other, Dying(), tmp_path / "out", who)
  assert _run(fewer, Dying(), tmp_path / "out", overwrite=True)["capitals/items"] == 3


@pytest.mark.heavy
def test_stored_answers_and_a_model_on_the_command_line(own, tmp_path, capsys):
  (tmp_path / "said.jsonl").write_text(
    "".join(json.dumps({"prompt": f"What is the capital of Land {i}?", "response": "C1"}) + "\n" for i in range(10))
    + json.dumps({"id": "who knows", "response": "C1"})
    + "\n"
  )
  assert cli.main(["eval", f"--suite={own}", f"--responses={tmp_path / 'said.jsonl'}"]) == 0
  found = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
  assert found["n"] == 10 and found["of"] == 12 and found["missing"] == 2 and found["unmatched"] == 1
  assert found["accuracy"] == pytest.approx(100 * 3 / 10)
  flags = ["--gin_file=recipes/llama_tiny.gin", f"--suite={own}", "--limit=3", "--max_new_tokens=4"]
  assert cli.main(["eval", *flags, f"--out={tmp_path / 'out'}"]) == 0
  first = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
  assert first["capitals/items"] == 3 and "capitals/cut_off" in first
  before = _files(tmp_path / "out")
  assert cli.main(["eval", *flags, f"--out={tmp_path / 'out'}"]) == 0
  assert "not asked again" in capsys.readouterr().err and _files(tmp_path / "out") == before


@pytest.mark.full
def test_killed_at_ten_moments_it_ends_with_the_same_bytes(own, tmp_path):
  flags = ["eval", "--gin_file=recipes/llama_tiny.gin", f"--suite={own}", "--max_new_tokens=24"]
  command = lambda out: [sys.executable, "-m", "itune_jax.run.cli", *flags, f"--out={out}"]
  env = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}  # one device, as the recipe has
  started = time.monotonic()
  subprocess.run(command(tmp_path / "whole"), check=True, capture_output=True, env=env)
  took = time.monotonic() - started
  for i in range(10):
    out = tmp_path / str(i)
    process = subprocess.Popen(command(out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
    time.sleep(took * (0.4 + 0.06 * i))
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run(command(out), check=True, capture_output=True, env=env)
    assert _files(out) == _files(tmp_path / "whole")
