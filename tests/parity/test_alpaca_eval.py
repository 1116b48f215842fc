"""Win rates and length control against alpaca_eval 0.6.6 itself, on the same made annotations and hub files."""

import importlib.util
import pathlib
import sys
import types
import warnings

import numpy as np
import pytest

from itune_jax.grading import length_controlled
from itune_jax.grading import win_rate

pytestmark = pytest.mark.parity
pd = pytest.importorskip("pandas", reason="pandas is not installed: requirements-parity.txt has it")


@pytest.fixture(scope="module")
def official(tmp_path_factory):
  """alpaca_eval's metrics, imported by path: what they import for other purposes is stood for by empty modules."""
  found = importlib.util.find_spec("alpaca_eval")
  if found is None:
    pytest.skip("alpaca_eval is not installed: pip install --no-deps alpaca_eval==0.6.6")
  root, patch = pathlib.Path(found.submodule_search_locations[0]), pytest.MonkeyPatch()
  stands_for = {
    "alpaca_eval": {"__path__": [str(root)], "__version__": "0.6.6"},
    "dotenv": {"load_dotenv": lambda: None},
    "pkg_resources": {},
    "datasets": {"Dataset": type("Dataset", (), {})},
  }
  for name, attributes in stands_for.items():
    module = types.ModuleType(name)
    vars(module).update(attributes)
    patch.setitem(sys.modules, name, module)
  sys.modules["alpaca_eval"].__spec__ = found
  from alpaca_eval.metrics import glm_winrate
  from alpaca_eval.metrics import winrate

  folder = tmp_path_factory.mktemp("hub")
  patch.setattr(glm_winrate, "hf_hub_download", lambda filename, **more: str(folder / filename))
  yield types.SimpleNamespace(glm=glm_winrate, winrate=winrate, folder=folder)
  patch.undo()
  for name in [name for name in sys.modules if name.startswith("alpaca_eval")]:
    del sys.modules[name]


def preferences(rng, count, kind):
  """Soft ones as log-probabilities give them, or wins, losses and draws; some are missing."""
  soft = 1 + 1 / (1 + np.exp(-rng.normal(0.3, 3, count)))
  hard = rng.choice([0, 1, 1.5, 2], count)
  found = [float(value) for value in (soft if kind == "soft" else hard)]
  return [None if rng.random() < 0.03 else value for value in found]


def made(rng, count, kind="soft"):
  """Annotations whose longer answers win more often."""
  rows = []
  for preference in preferences(rng, count, kind):
    lengths = rng.integers(20, 1500, 2)
    longer = 0 if preference is None or kind != "soft" else 0.3 * np.tanh((lengths[1] - lengths[0]) / 500)
    value = preference if preference is None else float(np.clip(preference + longer, 1, 2))
    value = preference if kind != "soft" else value
    rows.append({"preference": value, "output_1": "a" * lengths[0], "output_2": "é" * lengths[1]})
  return [{**row, "generator_1": "base", "generator_2": "mine", "annotator": "judge"} for row in rows]


def gamed(rng, count):
  """What the hub's df_gamed.csv holds: two gamed baselines, each with all instructions."""
  difficulty, parts = rng.normal(0, 1.5, count), []
  for name, shift in (("concise", -0.8), ("verbose", 0.7)):
    values = {"preference": np.clip(0.5 + 0.2 * shift + rng.normal(0, 0.2, count), 0, 1)}
    values |= {"model": name, "index": np.arange(count), "std_delta_len": rng.normal(-shift, 0.5, count)}
    parts.append(pd.DataFrame({**values, "instruction_difficulty": difficulty, "not_gamed_baseline": False}))
  return pd.concat(parts, axis=0, ignore_index=True)


WILD = [[1.2, None, 0.7, 2.4, 3.0, 0.5, 2.0, 0.0, 1.5, 1.5000001, float("nan"), -1.0], [2.0, 1.0], [0, 0, 0]]


@pytest.mark.parametrize("seed", range(8))
def test_win_rates_are_alpaca_evals(official, seed):
  rng = np.random.default_rng(seed)
  values = [WILD[seed]] if seed < len(WILD) else [preferences(rng, 300, kind) for kind in ("soft", "hard")]
  for given in values:
    theirs = official.winrate.get_winrate(pd.DataFrame({"preference": pd.Series(given, dtype=float)}))
    ours = win_rate.of_preferences(given)._asdict()
    assert ours.pop("left_out") == len(given) - theirs["n_total"]
    for name, value in theirs.items():
      assert ours[name] == pytest.approx(float(value), rel=1e-12, abs=1e-12, nan_ok=True), name


@pytest.mark.parametrize("kind", ["soft", "hard"])
@pytest.mark.parametrize("name", list(length_controlled.FORMULAS))
@pytest.mark.parametrize("count", [60, 805])
def test_length_control_is_alpaca_evals(official, name, kind, count, record_property):
  rng = np.random.default_rng(count)
  rows, table = made(rng, count, kind), gamed(rng, count)
  table.to_csv(official.folder / "df_gamed.csv", index=False)
  table = pd.read_csv(official.folder / "df_gamed.csv")
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of scikit-learn's own future, about how alpaca_eval calls it
    frame = pd.DataFrame(rows)
    theirs = official.glm.get_length_controlled_winrate(frame, name, save_weights_dir=None)
  preference = win_rate.scaled([row["preference"] for row in rows])
  delta = np.asarray([len(row["output_1"]) - len(row["output_2"]) for row in rows], float)
  columns = ("preference", "std_delta_len", "instruction_difficulty", "not_gamed_baseline")
  baseline = length_controlled.Gamed(*(table[column].to_numpy() for column in columns))
  ours = length_controlled.control(name, preference, delta, baseline.difficulty[:count], baseline)
  off = abs(ours.value - theirs["length_controlled_winrate"]), abs(ours.standard_error - theirs["lc_standard_error"])
  print(f"{name}, {kind}, {count} pairs: {ours.value:.6f} (raw {theirs['win_rate']:.6f}), off by {off[0]:.1e}")
  assert max(off) < 1e-6
  np.testing.assert_allclose(ours.predicted, frame["glm_preference"], atol=1e-8)
  extreme = official.glm.get_is_extreme_changes(theirs["win_rate"], theirs["length_controlled_winrate"])
  assert win_rate.is_extreme(theirs["win_rate"], ours.value) == extreme


def leaderboards():
  """(name, row) of the released leaderboards, as the package holds them."""
  found = importlib.util.find_spec("alpaca_eval")
  folder = pathlib.Path(found.submodule_search_locations[0]) / "leaderboards" if found else pathlib.Path()
  for path in sorted(folder.glob("data_*/*_leaderboard.csv")):
    for name, row in pd.read_csv(path, index_col=0).iterrows():
      yield f"{path.stem}/{name}", row


def test_released_figures_follow_from_released_counts():
  """Wins, losses and draws give the discrete win rate of a row; where judges gave nothing between, all its figures."""
  rows, whole, others = 0, 0, []
  for name, row in leaderboards():
    counts = [int(row[column]) for column in ("n_wins", "n_wins_base", "n_draws")]
    values = np.repeat([2.0, 1.0, 1.5], counts)
    if len(values) != int(row["n_total"]):
      continue
    ours = win_rate.of_preferences(list(values))
    assert [ours.n_wins, ours.n_wins_base, ours.n_draws, ours.n_total] == [*counts, len(values)]
    rows += 1
    if abs(row["win_rate"] - 100 * (values - 1).mean()) < 1e-9:
      whole += 1
      assert ours.win_rate == pytest.approx(row["win_rate"], abs=1e-9), name
      assert ours.standard_error == pytest.approx(row["standard_error"], abs=1e-9), name
    if abs(row.get("discrete_win_rate", np.nan) - ours.discrete_win_rate) > 1e-9:
      others.append(name)
  if not rows:
    pytest.skip("alpaca_eval is not installed")
  print(f"{rows} rows of released leaderboards, {whole} wholly from their counts; other counts: {', '.join(others)}")
  assert whole > 20 and len(others) < 0.05 * rows
