"""What is checked before work begins: names of metrics and evaluators, the order of checkpoints, ids, versions."""

import dataclasses
import importlib.metadata
import json

import numpy as np
import pytest

from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.data import mixture
from itune_jax.data.readers import readers
from itune_jax.evals import items
from itune_jax.run import cli
from itune_jax.run import evaluators
from itune_jax.run import gin_setup
from itune_jax.run.commands import train
from itune_jax.run import loading
from itune_jax.run import session
from itune_jax.run.commands import doctor
from itune_jax.run.plan import topology
from itune_jax.train import checkpoint
from itune_jax.train import loop
from tests.train import test_loop


@dataclasses.dataclass(frozen=True)
class Named(contracts.Evaluation):
  """An evaluator that binds to itself."""

  name: str = "val"
  every: int = 2

  def bind(self, renderer, seed):
    del renderer, seed
    return test_loop.Constant(self.name, self.every)


def bound(*given):
  return evaluators.bound(given, None, 0)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("value", [loop.EarlyStop(metric="val/nl"), checkpoint.Keep(metric="val/nl")])
def test_a_metric_that_nothing_gives_is_refused_before_the_first_step(value):
  with pytest.raises(errors.InputError, match="'val/nl' is no figure of this run's evaluators; they give val/nll"):
    evaluators.with_mode(value, bound(Named()), "metric")
  with pytest.raises(errors.InputError, match="no evaluator of EVALS has a cadence"):
    evaluators.with_mode(value, bound(Named(every=0)), "metric")


@pytest.mark.parametrize("kind", [loop.EarlyStop, checkpoint.Keep])
def test_which_way_is_better_is_the_metrics_own_and_a_closed_set(kind):
  assert evaluators.with_mode(kind(metric="val/nll"), bound(Named(every=-1)), "metric").mode == "min"
  assert evaluators.with_mode(kind(metric="val/nll", mode="max"), bound(Named()), "metric").mode == "max"
  with pytest.raises(errors.InputError, match="'minimize'"):
    kind(metric="val/nll", mode="minimize")


def test_made_data_without_an_end_is_refused_before_a_model_is_loaded(monkeypatch, tmp_path, capsys):
  monkeypatch.setattr(session, "open_session", lambda *given, **more: pytest.fail("a model is loaded"))
  assert cli.main(["synth", "--gin_file=synth/alpaca.gin", "--data=starter:train", f"--out={tmp_path}/made"]) == 2
  assert "alpaca has no last item" in capsys.readouterr().err


def test_two_evaluators_of_one_name_are_refused():
  with pytest.raises(errors.InputError, match="evaluators need different names, these are val, val"):
    bound(Named(), Named())


def test_the_newest_checkpoint_is_that_of_the_largest_number(tmp_path):
  for step in ("999999", "1000000", "000100"):
    (tmp_path / step).mkdir()
    (tmp_path / step / "COMMITTED").touch()
  assert [folder.rsplit("/", 1)[1] for folder in checkpoint.committed(str(tmp_path))] == ["000100", "999999", "1000000"]


def test_a_weight_of_null_is_no_weight():
  turns = [{"role": "user", "content": "q", "weight": None}, {"role": "assistant", "content": "a", "weight": None}]
  plain = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
  assert readers.parse({"messages": turns}, "").messages == readers.parse({"messages": plain}, "").messages


def test_two_items_of_one_id_are_refused(tmp_path):
  row = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "id": "a"}
  (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for _ in range(2)))
  source = mixture.Source(name="s", path=str(tmp_path / "x.jsonl"))
  with pytest.raises(errors.InputError, match=r"x\.jsonl:2: it has the id 'a' of an earlier row .*; ids must differ"):
    list(items.Items(source=source, default_check="exact").items())


def test_another_compiler_than_that_of_the_figures_is_said(monkeypatch, capsys):
  for version, says in (
    (topology.LIBTPU, ""),
    ("9.9", f"libtpu 9.9 compiles here; the documented figures are those of {topology.LIBTPU}"),
  ):
    monkeypatch.setattr(importlib.metadata, "version", lambda name, version=version: version)
    topology._say_version.cache_clear()
    topology._say_version()
    topology._say_version()
    err = capsys.readouterr().err
    assert says in err and err.count("libtpu") == bool(says)
  topology._say_version.cache_clear()


def test_doctor_shows_no_caches_of_tests(tmp_path, monkeypatch):
  for name in ("xla", "models", "xla-tests-gw0", "xla-tests-7"):
    (tmp_path / name).mkdir()
  monkeypatch.setattr(doctor.specs, "cache_dir", lambda: str(tmp_path))
  assert {name for name in doctor._caches() if name.startswith("cache ")} == {"cache models", "cache xla"}


def test_the_parameters_of_a_packed_base_are_its_weights(monkeypatch):
  params = {"a/kernel/codes": np.zeros(50, np.uint8), "a/kernel/scales": np.zeros(4), "norm": np.zeros(7)}
  packed = {name: value for name, value in params.items() if "/kernel/" in name}
  monkeypatch.setattr(loading, "packed_weights", lambda base: (packed, 100))
  assert loading.count(params, None) == 107 and loading.count({"norm": params["norm"]}, None) == 7  # pyright: ignore


@pytest.mark.parametrize(
  ("given", "says"),
  [
    ("EVALS = (5,)", "EVALS holds 5, which measures nothing: it is a tuple of values such as"),
    ("OPTIMIZER = None", "OPTIMIZER must be an Optimizer, such as a part of gin_configs sets, not None"),
  ],
)
def test_parts_that_are_none_are_named(given, says):
  gin_setup.parse("train", ["any_lora"], [given, "DATA = 'x.jsonl'", "BASE = 'x'"])
  with pytest.raises(errors.InputError) as e:
    gin_setup.call(train.Train)
  assert says in str(e.value)
