"""A sweep on this machine: equal runs once, what is done stays, a failed run is named and stops no other."""

import json
import os
import pathlib
import subprocess
import sys
import threading
import time

import pytest

from itune_jax.core import errors
from itune_jax.run import cli
from itune_jax.run.commands import sweep
from itune_jax.run.sweep import running
from itune_jax.run.sweep import sub_meshes

FILE = (
  'question = "a?"\nseeds = [0, 1]\n[grid]\npeft = ["lora", "dora"]\n"schedule.Schedule.rate" = [1e-3, 3e-3, 1e-2]\n'
)


class Fake(running.Runner):
  """Runs nothing: the loss of a run is made of its flags."""

  calls: list = []
  breaks = ""
  busy: list = []
  groups: set = set()
  lock = threading.Lock()

  def _itune(self, argv, log_file, environment=None):
    Fake.calls.append(list(argv))
    with Fake.lock:
      flags = (environment or {}).get("CUDA_VISIBLE_DEVICES")
      assert flags is None or flags not in Fake.busy, "two runs on the same devices"
      Fake.busy.append(flags)
      Fake.groups.add(flags)
    try:
      time.sleep(0.005 if flags else 0)
      return self._said(argv)
    finally:
      with Fake.lock:
        Fake.busy.remove(flags)

  def _said(self, argv):
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

  def run(text=FILE, *flags, out="out"):
    (tmp_path / "s.toml").write_text(text)
    given = [f"--sweep={tmp_path}/s.toml", f"--out={tmp_path}/{out}", "--gin_file=recipes/llama_tiny.gin", *flags]
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


def test_sub_meshes_run_at_once_on_devices_of_their_own(swept, monkeypatch, tmp_path):
  few = 'question = "a?"\nseeds = [0]\n[grid]\n"schedule.Schedule.rate" = [1e-3, 3e-3, 1e-2]\npeft = ["lora", "dora"]\n'
  monkeypatch.setattr(sub_meshes, "here", lambda: sub_meshes.Devices("cuda", 8))
  monkeypatch.setattr(Fake, "groups", set())
  Fake.breaks = "--gin.schedule.Schedule.rate=0.01"
  with pytest.raises(errors.RunError, match="2 of 6 runs failed: peft=|2 of 6 runs failed: Schedule"):
    swept(few, "--sub_meshes=4")
  Fake.breaks = ""
  trained = len(_trained())
  assert trained == 6 and swept(few, "--sub_meshes=4")["runs"] == 6 and len(_trained()) == trained + 2
  assert Fake.groups - {None} == {"0,1", "2,3", "4,5", "6,7"} and not Fake.busy
  stored = json.loads((tmp_path / "out" / "sweep.json").read_text())
  best = stored["points"][0]["point"]
  assert best == {"peft": "dora", "schedule.Schedule.rate": 3e-3}


def test_groups_are_what_each_runtime_is_told():
  make = lambda count, platform, size, **known: sub_meshes.groups(count, sub_meshes.Devices(platform, size), known)
  assert [one.environment["CUDA_VISIBLE_DEVICES"] for one in make(2, "cuda", 4, CUDA_VISIBLE_DEVICES="7,5,3,1")] == [
    "7,5",
    "3,1",
  ]
  flags = make(4, "cpu", 8, XLA_FLAGS="--a=1 --xla_force_host_platform_device_count=8 --b")[3]
  assert flags.environment == {"XLA_FLAGS": "--a=1 --b --xla_force_host_platform_device_count=2"}
  assert str(flags) == "devices 6, 7"
  one, two = make(2, "tpu", 8)
  assert (one.environment["TPU_VISIBLE_CHIPS"], two.environment["TPU_VISIBLE_CHIPS"]) == ("0,1,2,3", "4,5,6,7")
  assert two.environment["TPU_CHIPS_PER_PROCESS_BOUNDS"] == "2,2,1" and two.environment["TPU_PROCESS_BOUNDS"] == "1,1,1"
  assert one.environment["TPU_PROCESS_PORT"] != two.environment["TPU_PROCESS_PORT"]
  assert make(1, "tpu", 8)[0].environment == {}, "all chips are what they are without being told"
  for given, says in (
    ((3, "cpu", 8), "8 cpu device.s. do not divide into 3 groups; --xla_force_host"),
    ((2, "tpu", 12), "groups of 6 chips are not known to TPU hosts; ask for 12, 6, 3"),
  ):
    with pytest.raises(errors.InputError, match=says):
      make(*given)


@pytest.mark.full
def test_runs_on_sub_meshes_give_what_runs_in_order_give(tmp_path):
  """Four fake devices in two groups, and runs in order on two: the same losses."""
  text = 'seeds = [0]\n[grid]\n"schedule.Schedule.rate" = [1e-3, 1e-2, 3e-2]\n'
  (tmp_path / "s.toml").write_text(text)
  found = {}
  for name, devices, flags in (("groups", 4, ["--sub_meshes=2"]), ("order", 2, [])):
    line = [
      sys.executable,
      "-m",
      "itune_jax.run.cli",
      "sweep",
      f"--sweep={tmp_path}/s.toml",
      f"--out={tmp_path}/{name}",
    ]
    line += ["--gin_file=recipes/llama_tiny.gin", "--gin_file=mesh/auto.gin", "--steps=3", *flags]
    environment = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    started = time.time()
    ran = subprocess.run(line, env=environment, capture_output=True, text=True)
    print(f"{name}: {time.time() - started:.0f} s; {ran.stderr.strip().splitlines()[-1][:160]}")
    assert ran.returncode == 0, ran.stderr[-2000:]
    paths = sorted(pathlib.Path(tmp_path / name / "done").glob("*.json"))
    read = [json.loads(path.read_text()) for path in paths]
    found[name] = {
      path.name: {k: v for k, v in one["figures"].items() if "loss" in k} for path, one in zip(paths, read, strict=True)
    }
  assert len(found["order"]) == 3 and found["groups"] == found["order"]
  assert all(figures for figures in found["order"].values())


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
  ("grid", "says"),
  [
    ('"lora.Lora.rnk" = [4, 8]', "Lora.rnk=4 seed=0: .*rnk"),
    ('"lora.Lora.rank" = [4, "many"]', "Lora.rank=many seed=0: .*many"),
    ('"schedule.Shedule.rate" = [1e-3]', "Shedule.rate=0.001 seed=0: .*Shedule"),
  ],
)
def test_a_name_or_a_value_that_the_recipe_does_not_know_is_refused_before_anything_runs(swept, grid, says):
  with pytest.raises(errors.InputError, match=says):
    swept(f"seeds = [0]\n[grid]\n{grid}\n", "--peft=lora")
  assert not Fake.calls


@pytest.mark.parametrize(
  ("flags", "says"),
  [
    (["--workers=0"], "--workers=0"),
    (["--part=8/8"], "the parts of 8 are 0 to 7"),
    (["--part=x"], "write it as K/N"),
    (["--sub_meshes=-1"], "--sub_meshes=-1"),
    (["--sub_meshes=2", "--workers=3"], "how many run at a time"),
    (["--sub_meshes=2", "--dry_run", "--topology=v5e:4x4"], "name that of one group"),
    (["--run_dir=x"], "each run of a sweep has its own"),
    (["--stpes=3"], "itune train has no --stpes; did you mean --steps?"),
  ],
)
def test_flags_are_checked_before_anything_runs(swept, flags, says):
  with pytest.raises(errors.InputError) as e:
    swept(FILE, *flags)
  assert says in str(e.value) and not Fake.calls


def test_runs_without_a_number_are_named_and_make_no_point_better(swept, tmp_path, capsys, monkeypatch):
  """A run that diverged, one that lacks a figure, and one that ended well and left nothing."""
  said = Fake._said

  def odd(self, argv):
    found = said(self, argv)
    folder, told = argv[-1].removeprefix("--run_dir="), " ".join(argv)
    if argv[0] == "train" and "=dora" in told and "rate=0.003" in told:
      path = pathlib.Path(folder, "train.json")
      figures = json.loads(path.read_text())
      path.unlink() if "SEED=0" in told else _write(folder, "train.json", figures | {"validation/loss": float("nan")})
    return found

  monkeypatch.setattr(Fake, "_said", odd)
  with pytest.raises(errors.RunError, match="1 of 4 runs failed: peft=dora Schedule.rate=0.003 seed=0: .*no figures"):
    swept(FILE.replace("[1e-3, 3e-3, 1e-2]", "[3e-3]"))
  text = (tmp_path / "out" / "sweep.json").read_text()
  stored = json.loads(text, parse_constant=lambda one: pytest.fail(f"{one} is no JSON"))
  assert len(stored["points"]) == 2 and stored["points"][-1]["figures"]["validation/loss"] is None
  assert stored["points"][-1]["point"] == {"peft": "dora", "schedule.Schedule.rate": 3e-3}
  assert not stored["points"][-1]["best"]
  why = "1 of 3 runs, which have no part in its figures: peft=dora Schedule.rate=0.003 seed=1"
  assert f"validation/loss is no number in {why}" in stored["notes"]
