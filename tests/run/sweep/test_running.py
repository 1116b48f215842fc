"""A sweep on this machine: equal runs once, what is done stays, a failed run is named and stops no other."""

import json
import os

import pytest

from itune_jax.core import errors
from itune_jax.run import cli
from itune_jax.run.commands import sweep
from itune_jax.run.sweep import running

FILE = (
  'question = "a?"\nseeds = [0, 1]\n[grid]\npeft = ["lora", "dora"]\n"schedule.Schedule.rate" = [1e-3, 3e-3, 1e-2]\n'
)


class Fake(running.Runner):
  """Runs nothing: the loss of a run is made of its flags."""

  calls: list = []
  breaks = ""

  def _itune(self, argv, log_file):
    Fake.calls.append(list(argv))
    if argv[0] == "prepare":
      return "", 0.1
    if Fake.breaks and Fake.breaks in argv:
      return "itune: it broke", 0.0
    folder = argv[-1].removeprefix("--run_dir=")
    values = dict(one.removeprefix("--").removeprefix("gin.").split("=", 1) for one in argv[1:])
    rate, seed, dora = float(values["schedule.Schedule.rate"]), int(values["SEED"]), values["peft"] == "dora"
    os.makedirs(folder, exist_ok=True)
    steps = int(values.get("STEPS", 8))
    loss = 2 - 0.5 * dora + abs(rate - 3e-3) * 100 + 0.01 * seed + 1 / steps
    _write(folder, "run.json", {"facts": {"trainable_parameters": 10 + dora}, "commit": "c"})
    _write(folder, "train.json", {"loss": loss, "validation/loss": loss, "trained_tokens_per_s": 5.0})
    return "", 0.5


def _write(folder, name, value):
  with open(os.path.join(folder, name), "w") as f:
    json.dump(value, f)


@pytest.fixture
def swept(tmp_path, monkeypatch):
  monkeypatch.setattr(running, "Runner", Fake)
  monkeypatch.setattr(Fake, "calls", [])
  monkeypatch.setattr(Fake, "breaks", "")

  def run(text=FILE, *flags):
    (tmp_path / "s.toml").write_text(text)
    given = [f"--sweep={tmp_path}/s.toml", f"--out={tmp_path}/out", "--gin_file=recipes/llama_tiny.gin", *flags]
    return sweep.from_flags(cli.find("sweep").parse(given))

  return run


def _trained():
  return [argv for argv in Fake.calls if argv[0] == "train"]


def test_every_run_is_done_once_and_the_summary_tells_what_each_factor_did(swept, tmp_path):
  told = swept()
  assert told["runs"] == 12 and told["points"] == 6 and len(_trained()) == 12
  swept()
  assert len(_trained()) == 12  # given again, nothing runs
  stored = json.loads((tmp_path / "out" / "sweep.json").read_text())
  main = {
    tuple(one["factors"]): one
    for one in stored["effects"]
    if one["measure"] == "validation/loss" and one["what"] == "main"
  }
  assert main["peft",]["value"] == pytest.approx(-0.5)
  best = [
    (one["level"], one["best"], one["edge"]) for one in stored["envelopes"] if one["factor"] == "schedule.Schedule.rate"
  ]
  assert best == [("lora", 3e-3, False), ("dora", 3e-3, False)]
  assert stored["points"][0]["point"] == {"peft": "dora", "schedule.Schedule.rate": 3e-3}
  for name in ("sweep.md", "sweep.tex", "sweep.csv", "sweep.html"):
    assert "dora" in (tmp_path / "out" / name).read_text()


def test_a_failed_run_is_named_and_the_others_run(swept, tmp_path):
  Fake.breaks = "--gin.schedule.Schedule.rate=0.01"
  with pytest.raises(
    errors.RunError, match="4 of 12 runs failed: peft=lora Schedule.rate=0.01 seed=0: itune: it broke"
  ):
    swept()
  assert len(_trained()) == 12 and "it broke" in (tmp_path / "out" / "sweep.html").read_text()
  Fake.breaks = ""
  assert swept()["runs"] == 12 and len(_trained()) == 16  # these again, and no other


def test_parts_are_disjoint_and_whole_and_a_summary_runs_nothing(swept):
  for k in range(5):
    swept(FILE, f"--part={k}/5")
  assert len({argv[-1] for argv in _trained()}) == len(_trained()) == 12
  assert swept(FILE, "--summary")["runs"] == 12 and len(_trained()) == 12


def test_halving_trains_the_best_on(swept):
  told = swept(FILE + "[halving]\nsteps = [4, 8]\nkeep = 0.34\n")
  steps = [next(one for one in argv if one.startswith("--gin.STEPS")) for argv in _trained()]
  assert steps == ["--gin.STEPS=4"] * 12 + ["--gin.STEPS=8"] * 6 and told["points"] == 6
  last = {(a[2], a[3]) for a in _trained()[12:]}
  assert ("--peft=dora", "--gin.schedule.Schedule.rate=0.003") in last


@pytest.mark.parametrize(
  ("flags", "says"),
  [
    (["--workers=0"], "--workers=0"),
    (["--part=8/8"], "the parts of 8 are 0 to 7"),
    (["--part=x"], "write it as K/N"),
    (["--run_dir=x"], "each run of a sweep has its own"),
    (["--stpes=3"], "itune train has no --stpes; did you mean --steps?"),
  ],
)
def test_flags_are_checked_before_anything_runs(swept, flags, says):
  with pytest.raises(errors.InputError) as e:
    swept(FILE, *flags)
  assert says in str(e.value) and not Fake.calls
