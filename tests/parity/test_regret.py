"""Instances, regret and the gradient of SPO+ beside PyEPO's own, whose solver is scipy's HiGHS here.

`python -m pytest -m parity -s tests/parity/test_regret.py` prints both regrets.
"""

import sys
import types

import numpy as np
import pytest

torch = pytest.importorskip("torch")
# PyEPO is had without what it depends on: its pool of processes is never made here.
for name in ("pathos", "pathos.multiprocessing"):
  sys.modules.setdefault(name, types.SimpleNamespace(ProcessingPool=None))
pytest.importorskip("pyepo")

from pyepo.data import knapsack as their_knapsack  # noqa: E402
from pyepo.data import shortestpath as their_path  # noqa: E402
from pyepo import EPO  # noqa: E402
from pyepo import func  # noqa: E402
from pyepo import metric  # noqa: E402
from pyepo.data import dataset  # noqa: E402
from pyepo.model import bases  # noqa: E402
from pyepo.model import opt  # noqa: E402
from scipy import optimize  # noqa: E402

from itune_jax.grading import regret  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
HOW = {"degree": 4, "noise": 0.5, "seed": 7}


class Highs(opt.optModel):
  """PyEPO's interface over scipy: rows A x within bounds, each x from 0 to 1."""

  def __init__(self, rows, low, high, sense, integral):
    self.rows, self.low, self.high, self.integral = rows, low, high, integral
    self.modelSense = sense
    super().__init__()

  def _getModel(self):
    return None, list(range(self.rows.shape[1]))

  def setObj(self, c):
    self.c = np.asarray(c, np.float64).ravel()

  def solve(self):
    sign = 1 if self.modelSense == EPO.MINIMIZE else -1
    found = optimize.milp(
      sign * self.c,
      integrality=np.full(len(self.c), int(self.integral)),
      bounds=optimize.Bounds(0, 1),
      constraints=optimize.LinearConstraint(self.rows, self.low, self.high),
      options={"mip_rel_gap": 0.0},
    )
    return np.rint(found.x), float(self.c @ np.rint(found.x))

  @property
  def num_cost(self):
    return self.rows.shape[1]


def both(name):
  """Our problem with its instances, and PyEPO's model with its own."""
  if name == "knapsack":
    ours, given = regret.knapsack(30, 5, 10, dimensions=2, capacity=20.0, **HOW)
    weights, x, c = their_knapsack.genData(30, 5, 10, dim=2, deg=4, noise_width=0.5, seed=7)
    assert np.array_equal(np.array(ours.weights), weights)
    model = Highs(weights, -np.inf, np.array(ours.capacity), EPO.MAXIMIZE, True)
    return ours, given, model, x, c
  ours, given = regret.shortest_path(30, 5, height=4, width=5, **HOW)
  x, c = their_path.genData(30, 5, (4, 5), deg=4, noise_width=0.5, seed=7)
  arcs = bases._get_grid_arcs((4, 5))
  assert list(ours.arcs) == arcs
  rows = np.zeros((20, len(arcs)))
  for k, (start, end) in enumerate(arcs):
    rows[start, k], rows[end, k] = -1, 1
  wanted = np.eye(20)[-1] - np.eye(20)[0]
  return ours, given, Highs(rows, wanted, wanted, EPO.MINIMIZE, False), x, c


@pytest.mark.parametrize("name", ["knapsack", "shortest_path"])
def test_pyepo(name):
  ours, given, model, x, c = both(name)
  assert np.array_equal(given.features, x) and np.array_equal(given.costs, c)
  rng = np.random.default_rng(0)
  loader = torch.utils.data.DataLoader(dataset.optDataset(model, x, c), batch_size=16)
  for fit in (regret.two_stage(given), regret.spo_plus(ours, given, epochs=3), lambda x: rng.normal(size=c.shape)):
    predicted = fit(x)
    table = {tuple(np.float32(row)): prediction for row, prediction in zip(x, predicted, strict=True)}
    expected = metric.regret(lambda rows, table=table: np.stack([table[tuple(r)] for r in rows]), model, loader)
    told = [ours.regret(np.float64(np.float32(p)), costs) for p, costs in zip(predicted, given.costs, strict=True)]
    found = sum(told) / sum(abs(ours.value(costs)) for costs in given.costs)
    print(f"{name}: regret {found:.9f}, PyEPO {expected:.9f}")
    assert found == pytest.approx(expected, abs=1e-6) and found >= 0
  predicted = torch.tensor(regret.two_stage(given)(x)[:8], dtype=torch.float32, requires_grad=True)
  true = torch.tensor(c[:8], dtype=torch.float32)
  best = np.stack([ours.decide(row) for row in given.costs[:8]])
  value = torch.tensor((best * c[:8]).sum(1, keepdims=True), dtype=torch.float32)
  func.SPOPlus(model, processes=1)(predicted, true, torch.tensor(best, dtype=torch.float32), value).backward()
  slope = regret.spo_plus_slope(ours, predicted.detach().numpy().astype(np.float64), given.costs[:8], best) / 8
  assert np.abs(predicted.grad.numpy() - slope).max() < 1e-6
  print(f"{name}: SPO+ gradient of 8 instances, largest difference {np.abs(predicted.grad.numpy() - slope).max():.1e}")
