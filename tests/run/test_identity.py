"""What may change when a run goes on, what makes it another, and who owns its folder."""

import dataclasses
import json
import multiprocessing
import os
import types

import jax
import jax.numpy as jnp
import pytest

from itune_jax.core import errors
from itune_jax.objectives import sft
from itune_jax.optim import adamw
from itune_jax.optim import schedule
from itune_jax.parallel import mesh as mesh_lib
from itune_jax.peft.methods import lora
from itune_jax.run import identity
from itune_jax.run import listeners
from itune_jax.run import owner
from itune_jax.run import results
from itune_jax.run import run_dir as run_dir_lib
from itune_jax.train import checkpoint
from itune_jax.train import hooks
from itune_jax.train import loop
from itune_jax.train import state as state_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """The fields of a run that these tests change."""

  peft: tuple = (lora.Lora(rank=4),)
  objective: sft.Sft = sft.Sft()
  optimizer: adamw.AdamW = adamw.AdamW()
  mesh: mesh_lib.MeshSpec = mesh_lib.MeshSpec()
  evals: tuple = ()
  keep: checkpoint.Keep = checkpoint.Keep()
  early_stop: loop.EarlyStop = loop.EarlyStop()
  steps: int = 10
  seed: int = 0
  wandb_project: str = ""


RATE = adamw.AdamW(schedule=schedule.Schedule(rate=3e-4))


@pytest.mark.parametrize(
  "field,value,free",
  [
    ("steps", 20, True),
    ("keep", checkpoint.Keep(every=7), True),
    ("early_stop", loop.EarlyStop(metric="val/nll", patience=9), True),
    ("evals", (sft.Sft(),), True),
    ("mesh", mesh_lib.MeshSpec(data=2), True),
    ("wandb_project", "p", True),
    ("seed", 1, False),
    ("optimizer", RATE, False),
    ("objective", sft.Sft(normalise="example"), False),
    ("peft", (lora.Lora(rank=8),), False),
    ("peft", (lora.Lora(rank=4), lora.Lora(rank=4, name="second")), False),
    ("peft", (), False),
  ],
)
def test_what_cannot_change_the_past_may_change(field, value, free):
  there = identity.values_of(Run())
  changes = identity.changed(there, Run(**{field: value}))
  assert changes and all(name.startswith(field) for name in changes)
  if free:
    identity.check(changes, "runs/x")
  else:
    with pytest.raises(errors.InputError, match=rf"runs/x holds a run of another configuration: {field}.* there, "):
      identity.check(changes, "runs/x")


def test_every_value_is_recorded_by_its_name_and_survives_json():
  found = json.loads(json.dumps(identity.values_of(Run(optimizer=RATE))))
  assert found["optimizer.schedule.rate"] == "0.0003" and found["peft[0].rank"] == "4"
  assert found["peft[0].type"] == "itune_jax.peft.methods.lora.Lora"
  assert not identity.changed(found, Run(optimizer=RATE))


def test_a_value_that_has_come_into_being_since_is_no_change_at_its_default():
  there = identity.values_of(Run())
  del there["peft[0].dropout"], there["seed"]
  assert not identity.changed(there, Run())
  assert list(identity.changed(there, Run(seed=3))) == ["seed"]


def manifest(key="a", rate=1.0, **more):
  own = {"name": "s", "path": "mine.jsonl", "key": key, "rows": 3, "rendering": {"max_length": 8, "date": ""}}
  return {"name": "m", "rates": {"s": rate}, "sources": [own | more]}


def begin(folder, run=Run()):
  run_dir_lib.claim(folder, run, {}, argv=["train"], facts={}, manifest=manifest(), steps=10, done=0)


def test_a_run_that_goes_on_says_and_records_what_changed(tmp_path, capsys):
  folder, longer = str(tmp_path / "run"), Run(steps=20)
  begin(folder)
  given = dict(argv=["train", "again"], facts={"steps": 20}, manifest=manifest())
  changes = run_dir_lib.check_same(folder, longer)
  run_dir_lib.claim(folder, longer, changes, steps=20, done=10, **given)
  assert "goes on with steps = 20, which was 10" in capsys.readouterr().err
  recorded = json.loads((tmp_path / "run" / "run.json").read_text())
  assert recorded["values"]["steps"] == "20" and recorded["changes"][0]["changes"] == {"steps": ["10", "20"]}
  assert recorded["facts"] == {"steps": 20}, "a report of it says so"
  assert not run_dir_lib.check_same(folder, longer)
  with pytest.raises(errors.InputError, match="the run has 5 steps, but .* has taken 10 already"):
    run_dir_lib.claim(folder, Run(steps=5), {"steps": ("20", "5")}, steps=5, done=10, **given)


@pytest.mark.parametrize(
  "other,says",
  [
    (manifest(key="b"), r"source s: the text of mine\.jsonl has changed \(3 rows still\)"),
    (manifest(key="b", rows=4), r"source s: mine\.jsonl, 3 rows there, 4 here"),
    (manifest(key="b", path="other.jsonl", rows=4), r"source s: mine\.jsonl there, other\.jsonl here, 3 rows there"),
    (
      manifest(key="b", rendering={"max_length": 9, "date": ""}),
      r"source s: mine\.jsonl, max_length = 8 there, 9 here",
    ),
    (manifest(name="t"), "source s is not here; source t is new"),
    (manifest(rate=0.5), "rates.*1.0.*0.5"),
  ],
)
def test_other_data_are_another_run(tmp_path, other, says):
  folder = str(tmp_path / "run")
  begin(folder)
  with pytest.raises(errors.InputError, match=f"was trained on other data: {says}"):
    run_dir_lib.claim(folder, Run(), {}, argv=[], facts={}, manifest=other, steps=10, done=3)


@pytest.mark.parametrize("text", ["{}", "[]", '{"values": 3}', "not JSON"])
def test_a_record_that_says_nothing_is_one_line(tmp_path, text):
  (tmp_path / "run.json").write_text(text)
  with pytest.raises(errors.InputError, match=r"run\.json: "):
    run_dir_lib.check_same(str(tmp_path), Run())


def _holds(folder, taken, leave):
  with owner.owned(folder):
    taken.set()
    leave.wait(60)


def test_a_run_directory_has_one_owner_and_a_dead_one_leaves_it(tmp_path):
  spawn = multiprocessing.get_context("spawn")
  folder, taken, leave = str(tmp_path / "run"), spawn.Event(), spawn.Event()
  other = spawn.Process(target=_holds, args=(folder, taken, leave))
  other.start()
  assert taken.wait(60)
  with pytest.raises(errors.InputError, match=f"is being trained by process {other.pid} on "), owner.owned(folder):
    pass
  other.kill()
  other.join()
  with owner.owned(folder):
    assert json.loads((tmp_path / "run" / "owner.json").read_text())["process"] == os.getpid()
  assert not (tmp_path / "run" / "owner.json").exists()


def test_a_run_that_is_refused_leaves_nothing_behind(tmp_path):
  with pytest.raises(errors.InputError), owner.owned(str(tmp_path / "run")):
    raise errors.InputError("not prepared")
  assert not list(tmp_path.iterdir())


def test_a_bucket_has_the_owner_who_lives(tmp_path, monkeypatch):
  monkeypatch.setattr(owner.files, "is_remote", lambda path: True)
  monkeypatch.setattr(owner, "BEAT_S", 5.0)
  folder = str(tmp_path)
  with owner.owned(folder), pytest.raises(errors.InputError, match="is being trained by process"), owner.owned(folder):
    pass
  for text in ('{"host": "gone", "process": 1, "beat": 0}', '{"beat": "x"}', "[]"):
    (tmp_path / "owner.json").write_text(text)
    with owner.owned(folder):
      pass


def test_a_disk_without_room_is_said_before_the_first_step(tmp_path, monkeypatch):
  state = state_lib.State({"a": jax.ShapeDtypeStruct((1 << 20, 256), jnp.float32)}, (), jnp.int32(0), jax.random.key(0))
  monkeypatch.setattr(run_dir_lib.shutil, "disk_usage", lambda at: types.SimpleNamespace(free=2 << 30))
  run_dir_lib.check_room(str(tmp_path / "not" / "there"), state, 1)
  with pytest.raises(errors.InputError, match=r"3 checkpoints of 1\.000 GiB do not fit into the 2\.000 GiB"):
    run_dir_lib.check_room(str(tmp_path), state, 2)


def test_a_logger_keeps_the_id_of_the_run_and_gets_its_values(tmp_path, monkeypatch):
  seen = []
  fake = types.SimpleNamespace(init=lambda **given: seen.append(given) or types.SimpleNamespace(finish=lambda: None))
  monkeypatch.setattr(results, "wandb", fake)
  folder = str(tmp_path / "run")
  begin(folder)
  for _ in range(2):
    for hook in listeners.hooks_of(folder, steps=1, done=0, wandb_project="p", values=identity.values_of(Run())):
      hook.close()
  assert seen[0]["id"] == seen[1]["id"] == run_dir_lib.id_of(folder) and seen[0]["resume"] == "allow"
  assert seen[0]["config"]["seed"] == "0" and seen[0]["project"] == "p"


def test_a_run_whose_checkpoints_are_gone_says_that_it_begins_again(tmp_path, capsys):
  folder = str(tmp_path / "run")
  assert run_dir_lib.id_of(folder) == ""
  begin(folder)
  assert run_dir_lib.id_of(folder) and "begins again" not in capsys.readouterr().err
  again = dict(argv=[], facts={}, manifest=manifest(), steps=10)
  run_dir_lib.claim(folder, Run(), {}, **again, done=3)
  assert "begins again" not in capsys.readouterr().err
  run_dir_lib.claim(folder, Run(), {}, **again, done=0)
  assert "no checkpoint: it begins again at step 0" in capsys.readouterr().err


def test_warm_up_that_takes_the_whole_run_is_refused():
  with pytest.raises(errors.InputError, match="Schedule.warmup = 100 steps, but the run has 4"):
    schedule.Schedule(warmup=100).make(4)
  schedule.Schedule(warmup=3).make(4)
  schedule.Schedule(warmup=0.05).make(1)


def test_a_line_of_metrics_that_is_none_is_named(tmp_path):
  path = tmp_path / "metrics.jsonl"
  path.write_text('{"step": 1, "loss": 2}\n[]\n')
  with pytest.raises(errors.InputError, match=r"metrics\.jsonl:2: is no object with a step"):
    hooks.Jsonl.read(str(path))


@pytest.mark.parametrize("damaged", [{}, [], {"sources": [{}]}, {"sources": [], "rates": "x"}, {"sources": 3}])
def test_a_record_of_data_that_is_damaged_is_one_line(damaged):
  with pytest.raises(errors.InputError, match="runs/a/data.json: is no manifest of data"):
    identity.check_data(damaged, {"sources": [{"name": "a", "key": "1"}], "rates": {"a": 1.0}}, "runs/a")
