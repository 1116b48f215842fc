"""What every generator keeps: no batch and no kill changes a byte, every drop is counted, every row can be learned."""

import json
import os
import pathlib
import signal
import warnings

import numpy as np
import pytest

from itune_jax.data.readers import readers
from itune_jax.synth import runner
from tests.synth import table

FILES = ("rows.jsonl", "dropped.jsonl", "journal.jsonl", "manifest.json")
NAMES = [
  pytest.param(name, marks=[getattr(pytest.mark, row.weight)] if row.weight else [])
  for name, row in table.GENERATORS.items()
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
  folder = str(tmp_path_factory.mktemp("inputs"))
  table.write_inputs(folder)
  return folder


def go(name, inputs, folder, hook=lambda request: None, batch=5, failed=None):
  row = table.GENERATORS[name]
  responder = table.Scripted(row.says, row.often, hook, failed)
  return runner.run(row.make(inputs), responder, str(folder), identity={}, limits=row.limits, batch=batch)


def contents(folder):
  return {name: (pathlib.Path(folder) / name).read_bytes() for name in FILES}


def lines(folder, name):
  return [json.loads(line) for line in (pathlib.Path(folder) / name).read_text(encoding="utf-8").splitlines()]


class Stop(BaseException):
  """Raised where a kill would strike."""


def strikes(at):
  """A hook that stops before the request of this number."""
  asked = []

  def hook(request):
    asked.append(request.id)
    if len(asked) > at:
      raise Stop

  return hook, asked


@pytest.mark.parametrize("name", NAMES)
def test_contract(name, inputs, tmp_path):
  row = table.GENERATORS[name]
  (hook, asked), failed = strikes(10**9), set()
  manifest = go(name, inputs, tmp_path / "whole", hook, failed=failed)
  whole = contents(tmp_path / "whole")
  rows, dropped = lines(tmp_path / "whole", "rows.jsonl"), lines(tmp_path / "whole", "dropped.jsonl")

  # Every candidate is kept, or counted under its reason.
  assert rows and dropped, manifest["dropped"]
  assert manifest["rows"] == len(rows) and manifest["candidates"] == len(rows) + len(dropped)
  assert sum(manifest["dropped"].values()) == len(dropped) and all(one["reason"] for one in dropped)
  assert sum(count for _, count in runner.funnel(manifest)[1:]) == manifest["candidates"]
  assert len({one["id"] for one in rows}) == len(rows)

  # Every row says where it is from, and can be trained on.
  for one in rows:
    assert one["source"]["licence"] == "not stated" and one["source"]["dataset"] == manifest["generator"]["name"]
    readers.parse(one, "", readers.PREFERENCE if row.is_pair else "auto")

  # Neither the batch nor a stop, in the middle of whatever item, changes a byte; what was answered is not asked again.
  for batch in row.batches:
    go(name, inputs, tmp_path / f"batch{batch}", batch=batch)
    assert contents(tmp_path / f"batch{batch}") == whole
  at = int(np.random.Generator(np.random.PCG64(len(asked))).integers(1, len(asked)))
  with pytest.raises(Stop):
    go(name, inputs, tmp_path / "cut", strikes(at)[0])
  hook, again = strikes(10**9)
  go(name, inputs, tmp_path / "cut", hook)
  assert contents(tmp_path / "cut") == whole
  assert set(asked[:at]) & set(again) <= failed, "what was answered is asked again only where that was no answer"


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["self_instruct", "evol_instruct"])
def test_killed_at_random_moments_and_resumed_gives_the_same_bytes(name, inputs, tmp_path):
  """SIGKILL at 15 random requests, one behind the other, each in a process that goes on where the one before died."""
  hook, asked = strikes(10**9)
  go(name, inputs, tmp_path / "whole", hook)
  rng, killed = np.random.Generator(np.random.PCG64(24)), 0
  while killed < 15:
    after = int(rng.integers(0, max(2, len(asked) // 12)))
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")  # JAX warns of forks; the child runs Python alone, and dies
      child = os.fork()
    if not child:
      count = [0]

      def hook(request, after=after, count=count):
        count[0] += 1
        if count[0] > after:
          os.kill(os.getpid(), signal.SIGKILL)

      go(name, inputs, tmp_path / "cut", hook)
      os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
      break
    killed += 1
  go(name, inputs, tmp_path / "cut")
  assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
  assert killed >= 10, f"{killed} kills before the run was done"
  print(f"{name}: killed {killed} times, the same bytes")
