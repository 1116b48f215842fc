"""`itune synth` on a model in two processes: the bytes of one, one line when either is lost, and a kill that loses
nothing."""

import os
import pathlib
import subprocess
import sys
import time

import pytest

from scripts.launch import local

FLAGS = (
  "--gin_file=models/llama_tiny.gin",
  "--gin_file=synth/arithmetic.gin",
  "--gin.calculations.Arithmetic.limit=12",
  "--batch=5",
)
FILES = ("rows.jsonl", "dropped.jsonl", "manifest.json")


def start(out, processes, candidates):
  port = local.free_port()
  line = [sys.executable, "-m", "itune_jax.run.cli", "synth", *FLAGS, f"--candidates={candidates}", f"--out={out}"]
  flags = os.environ.get("XLA_FLAGS", "").replace("device_count=8", f"device_count={4 // processes}")
  running = []
  for i in range(processes):
    cluster = [f"--cluster=127.0.0.1:{port},{processes},{i}"] if processes > 1 else []
    with open(f"{out}.{i}.err", "w", encoding="utf-8") as err:
      environment = {**os.environ, "XLA_FLAGS": flags}
      running.append(subprocess.Popen([*line, *cluster], env=environment, stderr=err, stdout=subprocess.DEVNULL))
  return running


def contents(out):
  return {name: (out / name).read_bytes() for name in FILES}


@pytest.mark.full
def test_two_processes_make_what_one_makes_and_a_lost_one_ends_both(tmp_path):
  assert [p.wait(240) for p in start(tmp_path / "one", 1, 20)] == [0]
  assert [p.wait(240) for p in start(tmp_path / "two", 2, 20)] == [0, 0]
  assert contents(tmp_path / "two") == contents(tmp_path / "one")

  running, journal = start(tmp_path / "lost", 2, 4000), tmp_path / "lost" / "journal.jsonl"
  deadline = time.time() + 200
  while not (journal.exists() and journal.read_bytes().count(b"\n") > 5):
    assert time.time() < deadline and all(p.poll() is None for p in running)
    time.sleep(0.05)
  running[1].kill()
  assert running[0].wait(240) != 0
  said = [line for line in pathlib.Path(f"{tmp_path}/lost.0.err").read_text().splitlines() if line.startswith("itune:")]
  assert len(said) == 1, said
  print(said[0])
