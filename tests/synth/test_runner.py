"""A generator that is killed anywhere goes on, and its files are, byte for byte, those of one that was not."""

import os
import signal
import subprocess
import sys

import pytest

from itune_jax.core import errors
from itune_jax.synth import runner
from tests.parts import generator

FILES = ("rows.jsonl", "journal.jsonl", "manifest.json")


def go(folder, fault=lambda request: None, **more):
  return runner.run(generator.Grow(), generator.Hashes(fault), str(folder), identity={"generator": "grow", **more})


def contents(folder):
  return {name: (folder / name).read_bytes() for name in FILES}


def kill_at(request_id):
  def fault(request):
    if request.id == request_id:
      os.kill(os.getpid(), signal.SIGKILL)

  return fault


def stop_at(request_id):
  def fault(request):
    if request.id == request_id:
      raise KeyboardInterrupt

  return fault


@pytest.fixture
def whole(tmp_path):
  manifest = go(tmp_path / "whole")
  assert manifest["batches"] == 10 and 0 < manifest["rows"] < 30 and manifest["dropped"]["seen before"] > 0
  return contents(tmp_path / "whole")


@pytest.mark.parametrize("at", ["0/0", "4/2", "9/1"])
def test_killed_and_resumed_gives_the_same_bytes(tmp_path, whole, at):
  program = f"from tests.synth import test_runner as t; t.go({str(tmp_path / 'cut')!r}, t.kill_at({at!r}))"
  assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
  go(tmp_path / "cut")
  assert contents(tmp_path / "cut") == whole
  assert go(tmp_path / "cut", kill_at("0/0"))["batches"] == 10, "a finished run asks nothing again"


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_half_written_lines_are_written_anew(tmp_path, whole, cut):
  """Killed while rows or a line of the journal were on their way to the disk."""
  for name in FILES[:2]:
    folder = tmp_path / name
    with pytest.raises(KeyboardInterrupt):
      go(folder, stop_at("6/0"))
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data + whole[name][len(data) : len(data) + cut])
    go(folder)
    assert contents(folder) == whole


def test_other_values_and_damage_are_refused(tmp_path):
  go(tmp_path / "a")
  with pytest.raises(errors.InputError, match="differs in seed"):
    go(tmp_path / "a", seed=1)
  (tmp_path / "b").mkdir()
  (tmp_path / "b" / "notes.txt").write_text("mine")
  with pytest.raises(errors.InputError, match="is not empty"):
    go(tmp_path / "b")
  with pytest.raises(KeyboardInterrupt):
    go(tmp_path / "c", stop_at("5/0"))
  (tmp_path / "c" / "rows.jsonl").write_text("{}\n")
  with pytest.raises(errors.InputError, match="damaged"):
    go(tmp_path / "c")
