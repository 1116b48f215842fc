"""The faults that experiments make on purpose are those that they are called after, and nothing else is changed."""

import importlib.util

import numpy as np
import pytest

from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import pack
from itune_jax.objectives import sft
from tests.experiments import registered


def module(experiment: str, name: str):
  """A module of an experiment's folder."""
  path = registered.ROOT / "experiments" / experiment / f"{name}.py"
  spec = importlib.util.spec_from_file_location(name, path)
  assert spec is not None and spec.loader is not None
  found = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(found)
  return found


def test_means_of_micro_batches_weigh_each_alike(monkeypatch):
  given = iter([contracts.Sums(10.0, np.float32(10), {"nll": (10.0, 10.0)}), contracts.Sums(6.0, np.float32(2), {})])
  monkeypatch.setattr(sft.Sft, "__call__", lambda self, views, batch, key: next(given))
  objective = module("gradient_accumulation", "micro_means").MicroMeans()
  first, second = (objective({}, None, None) for _ in range(2))
  assert (first.loss + second.loss) / (first.weight + second.weight) == pytest.approx((10 / 10 + 6 / 2) / 2)
  assert first.metrics == {"nll": (10.0, 10.0)}  # what is reported is by token, as everywhere
  given = iter([contracts.Sums(0.0, np.float32(0), {})])
  empty = objective({}, None, None)
  assert float(empty.loss) == float(empty.weight) == 0


def test_crossed_documents_are_one_and_train_the_same_tokens(monkeypatch):
  seen = []
  monkeypatch.setattr(sft.Sft, "__call__", lambda self, views, batch, key: seen.append(batch))
  crossed = module("packing_contamination", "crossed")
  weights = np.ones(4, np.float32)
  batch = pack.fill([[(np.arange(4), weights), (np.arange(4), weights)]], 8)
  for positions in ("run", "restart"):
    crossed.Crossed(positions=positions)({}, batch, None)
  assert [one.segments_BT.tolist() for one in seen] == [[[1] * 6 + [0] * 2]] * 2
  assert [one.positions_BT[0, :6].tolist() for one in seen] == [[0, 1, 2, 3, 4, 5], [0, 1, 2, 0, 1, 2]]
  assert all(one.weights_BT is batch.weights_BT and one.targets_BT is batch.targets_BT for one in seen)
  with pytest.raises(errors.InputError, match="Crossed has no examples"):
    crossed.Crossed(normalise="example")
