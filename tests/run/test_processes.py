"""One run as several processes: the same figures, one agreed end, and no hang when one of them is lost."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from itune_jax.parallel import hosts
from itune_jax.run import cli
from itune_jax.train import checkpoint
from scripts.launch import local
from tests.run.commands import test_resume

STEPS = 24
MODEL = ["--gin_file=recipes/llama_tiny.gin", "--gin_file=mesh/auto.gin"]
RECIPE = [*MODEL, f"--gin.STEPS={STEPS}", "--gin.checkpoint.Keep.every=8"]


def start(run, processes, devices=4, flags=(), command="train"):
  """A command as so many processes with equal shares of `devices`; stderr of each in a file beside the run."""
  port = local.free_port()
  fake = os.environ["XLA_FLAGS"].replace("device_count=8", f"device_count={devices // processes}")
  line = [
    sys.executable,
    "-m",
    "itune_jax.run.cli",
    command,
    *(RECIPE if command == "train" else MODEL),
    *flags,
    f"--run_dir={run}",
  ]
  running = []
  for i in range(processes):
    cluster = [f"--cluster=127.0.0.1:{port},{processes},{i}"] if processes > 1 else []
    with open(f"{run}.{i}.err", "w", encoding="utf-8") as err:
      env = {**os.environ, "XLA_FLAGS": fake}
      # Where the tests run in the background of a shell, what they start would ignore Ctrl-C.
      heard = ["env", "--default-signal=INT", *line, *cluster]
      running.append(subprocess.Popen(heard, env=env, stderr=err, stdout=subprocess.DEVNULL))
  return running


def ended(running, seconds=240):
  return [p.wait(timeout=seconds) for p in running]


def said(run, index):
  return [line for line in pathlib.Path(f"{run}.{index}.err").read_text().splitlines() if line.startswith("itune:")]


def wait_for_lines(run, count, running):
  path, deadline = run / "metrics.jsonl", time.time() + 200
  while time.time() < deadline and all(p.poll() is None for p in running):
    if path.exists() and path.read_text().count("\n") >= count:
      return
    time.sleep(0.02)
  raise AssertionError("the run did not get that far: " + pathlib.Path(f"{run}.0.err").read_text()[-500:])


def losses(run):
  lines = test_resume.lines(run)
  assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
  return np.array([line["loss"] for line in lines])


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
  assert cli.main(["prepare", *RECIPE[:1]]) == 0
  run = tmp_path_factory.mktemp("runs") / "alone"
  assert ended(start(run, 1)) == [0]
  return run


@pytest.mark.parametrize(("then", "by"), [(1, signal.SIGTERM), pytest.param(4, signal.SIGINT, marks=pytest.mark.full)])
@pytest.mark.heavy
def test_stopped_in_two_processes_and_resumed_in_another_number_equals_one(alone, tmp_path, then, by):
  run = tmp_path / "run"
  running = start(run, 2)
  wait_for_lines(run, 3, running)
  for process in running if by == signal.SIGINT else running[1:]:  # a terminal tells all; either may be told
    process.send_signal(by)
  assert ended(running) == [1, 1]
  (first,), (second,) = said(run, 0), said(run, 1)
  (folder,) = checkpoint.committed(str(run / "checkpoints"))
  step = int(pathlib.Path(folder).name)
  assert first == second and f"step {step} is saved; the same command goes on from it" in first and step < STEPS
  assert ended(start(run, then)) == [0] * then
  ours, theirs = losses(run), losses(alone)
  error = np.abs(ours / theirs - 1)
  print(json.dumps({"resumed_at": step, "first_step_error": error[step], "last_error": error[-1]}))
  assert error[: step + 1].max() <= 1e-6 and error[-1] <= 1e-4
  same = ("trained_tokens", "padding_share", "weight", "learning_rate")
  # What several processes saved is read by one, and by anything that takes an adapter.
  assert test_resume.arrays(run).keys() == test_resume.arrays(alone).keys()
  assert cli.main(["generate", "--prompt=x", f"--adapter={run}", "--gin.decode.Decode.max_new_tokens=2"]) == 0
  for mine, other in zip(test_resume.lines(run), test_resume.lines(alone), strict=True):
    assert [mine[name] for name in same] == [other[name] for name in same]


@pytest.mark.full
def test_evaluators_find_in_two_processes_what_one_finds(alone, tmp_path):
  """Decoding, multiple choice by scores, and held-out loss: the same rows, whoever computes them."""
  flags = ["--gin_file=evals/starter_all.gin", "--gin_file=decode/greedy.gin", "--gin.EVAL_STRIDE=24"]
  flags += ["--gin.decode.Decode.max_new_tokens=8", f"--adapter={alone}"]
  for count in (1, 2):
    assert ended(start(tmp_path / f"in{count}", count, flags=flags, command="eval")) == [0] * count
  one, two = (tmp_path / f"in{count}" / "evals" / "eval" for count in (1, 2))
  names = sorted(path.name for path in one.iterdir())
  assert names == sorted(path.name for path in two.iterdir()) and len(names) == 6, (
    "figures and rows of three evaluators"
  )
  for name in (name for name in names if name.endswith(".json")):
    ours, theirs = (json.loads((folder / name).read_text()) for folder in (one, two))
    assert ours == pytest.approx(theirs, rel=1e-4)
  outputs = lambda folder: [json.loads(line)["output"] for line in (folder / "starter.jsonl").read_text().splitlines()]
  assert outputs(one) == outputs(two) and len(outputs(one)) > 4


PAIRS = ["--gin_file=peft/lora.gin", "--gin_file=data/pairs.gin", "--gin_file=objective/dpo.gin"]
PAIRS += [
  "--gin.DATA='starter:pairs'",
  "--gin.feed.Packing.rows=4",
  "--gin.STEPS=6",
  "--gin.schedule.Schedule.rate=1e-3",
]
SOURCES = """from __gin__ import dynamic_registration
from itune_jax.data import mixture
from itune_jax.select import mixing
MIXTURE = @mixture.Mixture()
mixture.Mixture.name = 'two'
mixture.Mixture.sources = (@one/mixture.Source(), @other/mixture.Source())
one/mixture.Source.name = 'one'
one/mixture.Source.path = 'starter:train'
one/mixture.Source.limit = 60
other/mixture.Source.name = 'other'
other/mixture.Source.path = 'starter:train'
other/mixture.Source.skip = 60
other/mixture.Source.limit = 60
MIXING = @mixing.ByLoss()
mixing.ByLoss.every = 2
mixing.ByLoss.step = 20.0
VAL_FRACTION = 0.2
"""


@pytest.mark.full
@pytest.mark.parametrize("what", ["pairs", "rates that change"])
def test_two_processes_give_the_losses_of_one(what, tmp_path):
  """DPO, and a mixture whose rates follow held-out losses: figures of each step, rates among them."""
  (tmp_path / "two.gin").write_text(SOURCES)
  flags = PAIRS if what == "pairs" else [f"--gin_file={tmp_path}/two.gin", "--gin.STEPS=6"]
  assert cli.main(["prepare", *MODEL, *flags]) == 0
  for count in (1, 2):
    assert ended(start(tmp_path / f"in{count}", count, flags=flags)) == [0] * count
  one, two = (test_resume.lines(tmp_path / f"in{count}") for count in (1, 2))
  assert [sorted(line) for line in one] == [sorted(line) for line in two] and len(one) >= 6
  names = {name for line in one for name in line}
  assert ("rewards/margin" in names) if what == "pairs" else ("mixing/one/rate" in names)
  worst = max(abs(mine[name] - other[name]) for mine, other in zip(one, two, strict=True) for name in mine)
  print(json.dumps({"what": what, "largest_difference": worst}))
  for mine, other in zip(one, two, strict=True):
    assert mine == pytest.approx(other, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("lost", [0, pytest.param(1, marks=pytest.mark.full)])
@pytest.mark.heavy
def test_a_lost_process_ends_the_others(alone, tmp_path, lost):
  run = tmp_path / "run"
  running = start(run, 2)
  wait_for_lines(run, 2, running)
  running[lost].kill()
  running[lost].wait()
  begun = time.time()
  left = running[1 - lost].wait(timeout=hosts.HEARTBEAT_S + 30)
  print(json.dumps({"lost": lost, "others_ended_after_s": round(time.time() - begun, 1), "code": left}))
  assert left != 0
  if lost == 0:  # with it JAX's own service is gone, and JAX may end the process before we can
    return
  (line,) = said(run, 1 - lost)
  assert "another process of this run is gone" in line and "Traceback" not in pathlib.Path(f"{run}.0.err").read_text()


def test_an_unreadable_cluster_is_one_line(tmp_path, capsys):
  assert cli.main(["train", *RECIPE, "--cluster=here", f"--run_dir={tmp_path}/x"]) == 2
  assert "--cluster=here: write auto, or HOST:PORT,PROCESSES,INDEX" in capsys.readouterr().err


@pytest.mark.full
def test_killed_twenty_times_and_resumed_equals_straight_through(alone, tmp_path):
  """SIGKILL to either of two processes at random moments of start-up, steps and saves; the other ends by itself."""
  assert alone
  steps, rs, kills = ["--gin.STEPS=160", "--gin.checkpoint.Keep.every=4"], np.random.RandomState(0), 0
  straight, run = tmp_path / "straight", tmp_path / "killed"
  assert ended(start(straight, 2, flags=steps), 600) == [0, 0]
  while kills < 20:
    running = start(run, 2, flags=steps)
    time.sleep(rs.uniform(6.0, 24.0))  # the first step is done after about ten seconds
    victim = rs.randint(2)
    assert running[victim].poll() is None, "the run ended before it was killed often enough: give it more steps"
    running[victim].kill()
    kills += 1
    # On a busy machine the victim may not have joined yet: then the other waits for it.
    codes = ended(running, hosts.JOIN_S + hosts.HEARTBEAT_S + 30)
    assert codes[victim] == -signal.SIGKILL and codes[1 - victim] != 0
  assert ended(start(run, 2, flags=steps), 600) == [0, 0]
  for name, array in test_resume.arrays(straight).items():
    np.testing.assert_array_equal(test_resume.arrays(run)[name], array, err_msg=name)
  assert test_resume.lines(run) == test_resume.lines(straight)
  print(json.dumps({"kills": kills, "processes": 2, "equal_bit_for_bit": True}))
