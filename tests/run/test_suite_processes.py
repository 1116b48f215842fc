"""A suite in two processes: the texts and figures of one, and one line when either is lost."""

import os
import pathlib
import sys
import time

import pytest

from itune_jax.evals.benchmarks.utility import mmlu
from tests.evals.benchmarks import fixtures
from tests.run import several

MODEL = ("--gin_file=recipes/llama_tiny.gin", "--gin_file=mesh/auto.gin")
NAMES = ("gsm8k", "mmlu", "perplexity", "super_ni")


def start(out, data, processes, new):
  """`itune eval --suite` as so many processes, with four devices in all; stderr of each in a file beside `out`."""
  line = [sys.executable, "-m", "itune_jax.run.cli", "eval", *MODEL, f"--suite={','.join(NAMES)}", f"--out={out}"]
  line += [f"--data_dir={data}", f"--max_new_tokens={new}", "--limit=8"]
  return several.start(out, line, processes)


def rows(out):
  return {name: fixtures.lines(out / f"{name}.jsonl") for name in NAMES}


@pytest.mark.full
def test_two_processes_say_what_one_says_and_a_lost_one_ends_both(tmp_path):
  data = tmp_path / "data"
  for make in (
    fixtures.gsm8k,
    lambda folder: fixtures.mmlu(folder, mmlu.CATEGORIES),
    fixtures.texts,
    fixtures.super_ni,
  ):
    make(data)
  for name, processes in (("one", 1), ("two", 2)):
    running = start(tmp_path / name, data, processes, 24)
    assert [p.wait(300) for p in running] == [0] * processes, pathlib.Path(f"{tmp_path}/{name}.0.err").read_text()[
      -900:
    ]
  assert not pathlib.Path(f"{tmp_path}/two.1.out").read_text()  # the first one prints, and writes
  assert sorted(os.listdir(tmp_path / "two")) == sorted(os.listdir(tmp_path / "one"))
  one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
  apart = 0.0
  for name in NAMES:
    assert len(one[name]) == len(two[name]) > 0
    for a, b in zip(one[name], two[name], strict=True):
      for key in ("logprobs", "logprob"):  # sums of float32 in another order
        numbers = lambda row, key=key: row.pop(key, [])
        mine, theirs = numbers(a), numbers(b)
        assert mine == pytest.approx(theirs, rel=1e-5)
        pairs = zip(mine, theirs, strict=True) if isinstance(mine, list) else [(mine, theirs)]
        apart = max([apart, *(abs(x - y) for x, y in pairs)])
      values = a.pop("values"), b.pop("values")
      assert values[0] == pytest.approx(values[1], rel=1e-5) and a == b
  told = several.figures(tmp_path / "one")
  assert several.figures(tmp_path / "two") == pytest.approx(told, rel=1e-5)
  print(
    f"{len(told)} figures of {sum(map(len, one.values()))} rows; log-likelihoods differ by {apart:.2g} nats at most"
  )

  lost = tmp_path / "lost"
  running, journal = start(lost, data, 2, 400), lost / "answers.partial.jsonl"
  deadline = time.time() + 300
  while not journal.exists():
    assert time.time() < deadline and all(p.poll() is None for p in running)
    time.sleep(0.02)
  running[1].kill()
  started = time.time()
  assert running[0].wait(120) != 0
  said = [line for line in pathlib.Path(f"{lost}.0.err").read_text().splitlines() if line.startswith("itune:")]
  assert len(said) == 1, said
  print(f"after {time.time() - started:.1f} s: {said[0]}")
