"""A generator that is killed anywhere goes on, and its files are, byte for byte, those of one that was not."""

import os
import signal
import subprocess
import sys

import pytest

from itune_jax.core import errors
from itune_jax.synth import runner
from tests.parts import generator

FILES = ("rows.jsonl", "dropped.jsonl", "journal.jsonl", "manifest.json")


def go(folder, fault=lambda request: None, limits=runner.Limits(), batch=4, resume="if-possible", **more):
  one = generator.Grow(**more)
  return runner.run(one, generator.Hashes(fault), str(folder), identity={}, limits=limits, batch=batch, resume=resume)


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
  assert manifest["items"] == 10 and 0 < manifest["rows"] < 30 and manifest["dropped"]["seen before"] > 0
  assert manifest["candidates"] == 30 == manifest["rows"] + sum(manifest["dropped"].values())
  assert manifest["requests"] == 30 and manifest["tokens"]["answer"] == 30 and manifest["ended"] == "items"
  return contents(tmp_path / "whole")


@pytest.mark.heavy
@pytest.mark.parametrize("at", ["grow/4/2"])
def test_killed_and_resumed_gives_the_same_bytes(tmp_path, whole, at):
  program = f"from tests.synth import test_runner as t; t.go({str(tmp_path / 'cut')!r}, t.kill_at({at!r}))"
  assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
  asked = []
  go(tmp_path / "cut", lambda request: asked.append(request.id))
  assert contents(tmp_path / "cut") == whole
  assert "grow/4/1" not in asked and "grow/4/2" in asked, "what was answered before the kill is not asked again"
  assert go(tmp_path / "cut", kill_at("grow/0/0"))["items"] == 10, "a finished run asks nothing again"


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_no_batch_changes_a_byte(tmp_path, whole, batch):
  go(tmp_path / "other", batch=batch)
  assert contents(tmp_path / "other") == whole


def test_accepted_rows_are_exactly_as_many_and_a_run_goes_on_to_more(tmp_path, whole):
  """Extending a run, limit by limit, gives what one run gives; a limit may fall into the middle of an item."""
  rows = whole["rows.jsonl"].splitlines(keepends=True)
  for accept in range(1, len(rows) + 1, 2):
    found = go(tmp_path / "more", limits=runner.Limits(accept=accept))
    assert found["rows"] == accept and found["ended"] == "accepted"
    assert (tmp_path / "more" / "rows.jsonl").read_bytes() == b"".join(rows[:accept])
  go(tmp_path / "more")
  for name in FILES[:2]:
    assert (tmp_path / "more" / name).read_bytes() == whole[name]
  with pytest.raises(errors.InputError, match="rows already, and 1 are asked for"):
    go(tmp_path / "more", limits=runner.Limits(accept=1))


def test_candidates_and_tokens_end_a_run(tmp_path):
  found = [go(tmp_path / f"c{b}", limits=runner.Limits(candidates=7), batch=b) for b in (1, 8)]
  assert found[0] == found[1] and found[0]["candidates"] == 7 and found[0]["ended"] == "candidates"
  found = [go(tmp_path / f"t{b}", limits=runner.Limits(tokens=40), batch=b) for b in (1, 8)]
  assert found[0] == found[1] and found[0]["ended"] == "tokens" and 0 < found[0]["items"] < 10


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_half_written_lines_are_written_anew(tmp_path, whole, cut):
  """Killed while rows or a line of the journal were on their way to the disk."""
  for name in FILES[:3]:
    folder = tmp_path / name
    with pytest.raises(KeyboardInterrupt):
      go(folder, stop_at("grow/6/0"))
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data + whole[name][len(data) : len(data) + cut])
    (folder / "run.json.7.partial").write_text("{")
    go(folder)
    assert contents(folder) == whole


def test_other_values_damage_and_modes_are_refused(tmp_path):
  with pytest.raises(errors.InputError, match="holds no run to go on with"):
    go(tmp_path / "a", resume="always")
  go(tmp_path / "a", resume="never")
  with pytest.raises(errors.InputError, match="differs in generator"):
    go(tmp_path / "a", seed=1)
  with pytest.raises(errors.InputError, match="holds a run already"):
    go(tmp_path / "a", resume="never")
  assert go(tmp_path / "a", resume="always")["items"] == 10
  (tmp_path / "b").mkdir()
  (tmp_path / "b" / "notes.txt").write_text("mine")
  with pytest.raises(errors.InputError, match="is not empty"):
    go(tmp_path / "b")
  with pytest.raises(KeyboardInterrupt):
    go(tmp_path / "c", stop_at("grow/5/0"))
  (tmp_path / "c" / "rows.jsonl").write_text("{}\n")
  with pytest.raises(errors.InputError, match="damaged"):
    go(tmp_path / "c")
  with pytest.raises(errors.InputError, match="has no last item"):
    go(tmp_path / "d", count=0)
