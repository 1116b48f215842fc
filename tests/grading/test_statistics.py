"""Intervals, tests and metrics against scipy and scikit-learn, and against their own definitions."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats as scipy_stats

from itune_jax.core import errors
from itune_jax.grading.statistics import bootstrap
from itune_jax.grading.statistics import metrics
from itune_jax.grading.statistics import multiple
from itune_jax.grading.statistics import pair_metrics
from itune_jax.grading.statistics import paired
from itune_jax.grading.statistics import power
from itune_jax.grading.statistics import proportions
from itune_jax.grading.statistics import variance

METRICS = {
  **pair_metrics.AGGREGATES,
  "pass@2": metrics.PassAtK(k=2),
  "named": pair_metrics.MacroF1(labels=("a", "b", "z")),
}


def values_of(name, rng, n):
  """Values that a metric can be made of."""
  if name == "mean":
    return list(rng.normal(size=n))
  if name.startswith("pass"):
    return [(5, int(k)) for k in rng.integers(0, 6, n)]
  if name == "micro_mean":
    return list(zip(rng.random(n), rng.integers(1, 9, n).tolist(), strict=True))
  if name in ("pearson", "spearman"):
    x = rng.integers(0, 8, n)
    return list(zip(x.tolist(), (x + rng.normal(size=n) * 3).round().tolist(), strict=True))
  if name == "auc":
    x = rng.integers(0, 2, n)
    return list(zip(x.tolist(), (x + rng.normal(size=n)).round(1).tolist(), strict=True))
  label = rng.choice(["a", "b", "c"], n, p=[0.6, 0.3, 0.1])
  guess = np.where(rng.random(n) < 0.6, label, rng.choice(["a", "b", "none of it"], n))
  return list(zip(label.tolist(), guess.tolist(), strict=True))


@pytest.mark.parametrize("name", METRICS)
def test_a_resample_is_the_metric_of_repeated_items(name):
  """What the bootstrap draws is what the metric says of a set in which clusters stand several times, or not at all."""
  rng, metric = np.random.default_rng(1), METRICS[name]
  values = values_of(name, rng, 40)
  groups = np.arange(40) % 17
  counts = rng.integers(0, 4, (25, 17))
  found = metric.statistic(values, groups).at(counts)
  for row, value in zip(counts, found, strict=True):
    repeated = [value for value, group in zip(values, groups, strict=True) for _ in range(row[group])]
    assert metric.statistic(repeated, np.arange(len(repeated))).value == pytest.approx(value, rel=1e-9, abs=1e-12)
  left = metric.statistic(values, groups).without_each()
  assert left == pytest.approx(metric.statistic(values, groups).at(1 - np.eye(17)), rel=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_a_figure_and_a_difference_have_their_parts(name):
  rng, metric = np.random.default_rng(2), METRICS[name]
  first, second = values_of(name, rng, 60), values_of(name, rng, 60)
  clusters = [str(i // 2) for i in range(60)]
  figure = metric([None, *first], ["x", *clusters])
  assert figure.low < figure.value < figure.high and figure.n == 60
  found = metric.paired([None, *first], [0, *second], ["x", *clusters])
  assert found.figure.value == pytest.approx(metric(second, clusters).value - figure.value, abs=1e-12)
  assert found.figure.low < found.figure.value < found.figure.high and 0 < found.p <= 1 and found.error > 0
  assert metric.paired(first, first, clusters).p == 1


def test_metrics_equal_scikit_learn():
  sklearn = pytest.importorskip("sklearn.metrics")
  for seed in range(5):
    rng = np.random.default_rng(seed)
    pairs = values_of("accuracy", rng, 80)
    labels, guesses = zip(*pairs, strict=True)
    of = lambda metric, values=pairs: metric.statistic(values, np.arange(80)).value
    f1 = lambda how, **more: sklearn.f1_score(labels, guesses, average=how, zero_division=0, **more)
    truth = {
      pair_metrics.Accuracy(): sklearn.accuracy_score(labels, guesses),
      pair_metrics.BalancedAccuracy(): np.mean(
        [np.mean([g == c for l, g in pairs if l == c]) for c in dict.fromkeys(labels)]
      ),
      pair_metrics.MacroF1(): f1("macro"),
      pair_metrics.MacroF1(labels=("a", "b", "z")): f1("macro", labels=["a", "b", "z"]),
      pair_metrics.WeightedF1(): f1("weighted"),
      pair_metrics.Mcc(): sklearn.matthews_corrcoef(labels, guesses),
    }
    for metric, value in truth.items():
      assert of(metric) == pytest.approx(value, abs=1e-12), metric
    scored = values_of("auc", rng, 80)
    assert of(pair_metrics.Auc(), scored) == pytest.approx(sklearn.roc_auc_score(*zip(*scored, strict=True)), abs=1e-12)
    both = values_of("spearman", rng, 80)
    assert of(pair_metrics.Spearman(), both) == pytest.approx(scipy_stats.spearmanr(both).statistic, abs=1e-12)
    assert of(pair_metrics.Pearson(), both) == pytest.approx(
      scipy_stats.pearsonr(*zip(*both, strict=True)).statistic, abs=1e-12
    )


@pytest.mark.parametrize("name", ["mean", "macro_f1", "spearman"])
@pytest.mark.parametrize("clusters", [30, 60])
def test_the_cut_into_pieces_changes_nothing(name, clusters):
  values = values_of(name, np.random.default_rng(3), 60)
  statistic = METRICS[name].statistic(values, np.arange(60) % clusters)
  whole = bootstrap.draws(statistic, resamples=200)
  for rows in (1, 7, 199):
    assert np.array_equal(whole, bootstrap.draws(statistic, resamples=200, rows=rows))


def test_nor_does_it_for_many_clusters():
  statistic = metrics.Mean().statistic(list(np.random.default_rng(4).normal(size=20_000)), np.arange(20_000))
  found = [bootstrap.draws(statistic, resamples=60, rows=rows) for rows in (0, 1, 13, 60)]
  assert all(np.array_equal(found[0], one) for one in found)


def test_equal_clusters_drawn_as_one_have_the_same_distribution():
  values = (np.arange(200) % 5 == 0).astype(float)
  statistic = metrics.Mean().statistic(list(values), np.arange(200))
  assert statistic.merged()[0].clusters == 2
  quick = bootstrap.draws(statistic)
  slow = values[np.random.default_rng(0).integers(0, 200, (10_000, 200))].mean(1)
  assert scipy_stats.ks_2samp(quick + 0.0, slow + 0.0).pvalue > 0.01


def test_intervals_equal_scipy():
  """The same stream of random numbers gives the same resamples, so BCa agrees to rounding."""
  for seed in range(4):
    data = np.random.default_rng(seed).gamma(1.0, size=35)
    statistic = metrics.Mean().statistic(list(data), np.arange(35))
    for method, ours in (("BCa", bootstrap.bca(statistic, seed=seed)), ("percentile", None)):
      rng = np.random.default_rng(seed)
      theirs = scipy_stats.bootstrap((data,), np.mean, n_resamples=10_000, method=method, rng=rng)
      if ours is None:
        ours = np.quantile(bootstrap.draws(statistic, seed=seed), [0.025, 0.975])
      assert np.abs(np.subtract(ours, theirs.confidence_interval)).max() <= 1e-9
  skewed = bootstrap.percentile(statistic, seed=seed)
  assert skewed[0] < np.quantile(bootstrap.draws(statistic, seed=seed), 0.025), "widened for few clusters"


@pytest.mark.parametrize("right,n", [(0, 1), (0, 20), (7, 20), (20, 20), (541, 1000)])
def test_wilson_equals_scipy(right, n):
  theirs = scipy_stats.binomtest(right, n).proportion_ci(method="wilson")
  assert proportions.wilson(right, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_tango_leaves_0_out_where_the_score_test_rejects():
  """And holds the true difference in about 95 of 100 cases, few changes or many: exact, over all outcomes."""
  for won, lost in itertools.product(range(0, 25, 2), repeat=2):
    low, high = proportions.tango(won, lost, 60)
    assert low <= (won - lost) / 60 <= high and low < high
    rejects = won + lost and (won - lost) ** 2 / (won + lost) > scipy_stats.chi2.ppf(0.95, 1)
    assert (low > 0 or high < 0) == bool(rejects)
    assert proportions.tango(lost, won, 60) == pytest.approx((-high, -low), abs=1e-9)
  assert proportions.tango(0, 0, 20) == pytest.approx((-0.1611, 0.1611), abs=1e-4)
  z2 = scipy_stats.norm.ppf(0.975) ** 2
  assert proportions.tango(20, 0, 20) == pytest.approx(((20 - z2) / (20 + z2), 1))
  for p_won, p_lost in ((0.05, 0.02), (0.2, 0.1), (0.3, 0.3)):
    outcomes = [(won, lost) for won in range(41) for lost in range(41 - won)]
    chances = scipy_stats.multinomial.pmf(
      [(w, l, 40 - w - l) for w, l in outcomes], 40, [p_won, p_lost, 1 - p_won - p_lost]
    )
    likely = [(one, chance) for one, chance in zip(outcomes, chances, strict=True) if chance > 1e-7]
    held = sum(c for (w, l), c in likely if (b := proportions.tango(w, l, 40))[0] <= p_won - p_lost <= b[1])
    assert 0.93 < held < 0.99


def test_equal_outcomes_are_not_certainty():
  mean, names = metrics.Mean(), [str(i) for i in range(20)]
  assert mean([1] * 20, names)[:3] == (1, pytest.approx(0.8389, abs=1e-4), 1)
  few = mean([0] * 20, [str(i // 5) for i in range(20)])
  assert few[:2] == (0, 0) and few.high == proportions.wilson(0, 4)[1] > 0.4
  assert mean([7.5] * 20, names)[:3] == (7.5, None, None)
  assert mean([1.0, 2.0], ["a", "a"])[:3] == (1.5, None, None), "one cluster says nothing of others"
  same = mean.paired([1, 0] * 10, [1, 0] * 10, names)
  assert same.figure[:3] == (0, pytest.approx(-0.1611, abs=1e-4), pytest.approx(0.1611, abs=1e-4)) and same.p == 1
  assert same.error > 0, "nor does nothing of a change say that nothing could be seen"
  assert np.isnan(mean([None], ["a"]).value)


def test_mcnemar_equals_the_binomial_test():
  for lost, won in itertools.product(range(0, 30, 3), range(0, 40, 7)):
    if lost + won:
      theirs = scipy_stats.binomtest(lost, lost + won).pvalue
      assert paired.mcnemar_exact(lost, won) == pytest.approx(theirs, abs=1e-9)
  assert paired.mcnemar_exact(0, 0) == paired.mcnemar_corrected(0, 0) == 1


def test_flipped_signs_equal_scipy():
  rng = np.random.default_rng(5)
  few, groups = rng.normal(0.4, 1, 24), np.arange(24) // 2
  sums = few.reshape(12, 2).sum(1)
  theirs = scipy_stats.permutation_test((sums,), np.sum, permutation_type="samples", n_resamples=np.inf).pvalue
  assert paired.sign_flip(few, groups) == pytest.approx(theirs, abs=1e-12)
  many = rng.choice([-1, 0, 0, 1, 1], 300).astype(float)
  drawn = paired.sign_flip(many, np.arange(300))
  exact = paired.mcnemar_exact(int((many < 0).sum()), int((many > 0).sum()))
  assert drawn == pytest.approx(exact, abs=4 * np.sqrt(exact / 10_000) + 2e-4)
  assert paired.sign_flip(np.ones(400), np.arange(400)) == pytest.approx(1 / 10_001), "never 0"


def test_an_exchange_of_means_is_a_flip_of_signs():
  rng = np.random.default_rng(6)
  first, groups = rng.normal(size=80), np.arange(80) // 2
  second = first + rng.normal(0.15, 1, 80)
  both = metrics.Mean().statistic([*first, *second], np.concatenate([groups, groups + 40]))
  p, flipped = paired.exchange(paired.Difference(both)), paired.sign_flip(second - first, groups)
  assert 0.01 < p < 0.9 and p == pytest.approx(flipped, abs=4 * np.sqrt(p / 10_000))


def test_many_comparisons():
  p = [0.01, 0.04, 0.03, 0.005, 0.9]
  assert multiple.holm(p) == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.9])
  assert multiple.benjamini_hochberg(p) == pytest.approx(scipy_stats.false_discovery_control(p))
  assert multiple.holm([]) == []
  with pytest.raises(ValueError, match="from 0 to 1"):
    multiple.holm([float("nan")])


def test_what_can_be_detected_is_found_four_times_of_five():
  """Of runs whose true difference is what `detectable` says, McNemar's test finds about 80 %."""
  n, changed = 800, 0.3
  difference = power.detectable(power.paired_share_error(n, changed))
  rng = np.random.default_rng(7)
  won, lost, _ = rng.multinomial(n, [(changed + difference) / 2, (changed - difference) / 2, 1 - changed], 1000).T
  found = np.mean([paired.mcnemar_exact(int(a), int(b)) <= 0.05 for a, b in zip(lost, won, strict=True)])
  assert 0.74 < found < 0.86
  with pytest.raises(ValueError, match="no share"):
    power.paired_share_error(10, 2)
  for degrees in (1, 2, 7, 100):  # few degrees of freedom: Student's test finds 80 % of a larger difference
    shift = power.detectable(1.0, degrees)
    assert scipy_stats.nct.sf(scipy_stats.t.ppf(0.975, degrees), degrees, shift) == pytest.approx(0.8, abs=1e-4)
  assert power.fewest_changes() == 6 and paired.mcnemar_exact(0, 6) <= 0.05 < paired.mcnemar_exact(0, 5)


def test_parts_of_the_variance_add_up():
  rng, seeds, formats = np.random.default_rng(8), 60, 40
  table = 0.5 + rng.normal(0, 0.03, (seeds, 1)) + rng.normal(0, 0.05, (1, formats))
  found = variance.components(table + rng.normal(0, 0.02, (seeds, formats)), items=0.01**2)
  assert found.seeds == pytest.approx(0.03**2, rel=0.5) and found.formats == pytest.approx(0.05**2, rel=0.6)
  assert found.rest == pytest.approx(0.02**2, rel=0.1)
  assert found.of_one_run == found.items + found.seeds + found.formats + found.rest
  assert found.items < found.of_mean < found.of_one_run
  three = variance.components([[0.50], [0.54], [0.58]], items=0.01**2)
  assert three.seeds == pytest.approx(0.04**2) and three.formats == three.rest == 0
  low, high = three.interval(0.54)
  error, degrees = variance.combined([(0.01**2, np.inf), (0.04**2 / 3, 2)])
  assert error**2 == pytest.approx(three.of_mean) and 2 < degrees < 3
  assert high - low == pytest.approx(2 * error * scipy_stats.t.ppf(0.975, degrees))
  assert variance.p_value(high - 0.54, error, degrees) == pytest.approx(0.05)
  assert variance.combined([(4.0, np.inf), (0.0, 0)]) == (2.0, np.inf)
  for wrong in ([[0.1, 0.2], [0.3]], [], [[float("nan")]]):
    with pytest.raises(ValueError, match="full table"):
      variance.components(wrong, items=0)


@pytest.mark.parametrize(
  "metric,value,said",
  [
    (metrics.Mean(), "yes", "'yes' is no finite number"),
    (metrics.Mean(), float("nan"), "nan is no finite number"),
    (pair_metrics.MacroF1(), "ab", "'ab' is no pair"),
    (pair_metrics.Auc(), (2, 0.5), "neither 0 nor 1"),
    (metrics.PassAtK(k=3), (2, 1), "draw at least 3"),
    (metrics.MicroMean(), (1, -2), "a weight is below 0"),
  ],
)
def test_values_that_a_metric_cannot_be_made_of_are_refused(metric, value, said):
  with pytest.raises(errors.InputError, match=said):
    metric([value], ["a"])


MEMORY = """
import time
import numpy as np
from itune_jax.grading.statistics import bootstrap
rng = np.random.default_rng(0)
statistic = bootstrap.Sums(np.stack([rng.normal(size=100_000), np.ones(100_000)], 1), lambda s: s[:, 0] / s[:, 1])
peak = lambda: int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1024
before, started = peak(), time.process_time()
low, high = bootstrap.percentile(statistic)
print(peak(), peak() - before, time.process_time() - started, (high - low) * 100_000**0.5)
"""


@pytest.mark.heavy
def test_memory_is_bounded():
  """A process that draws 10,000 resamples of 100,000 items, all different: its peak, with Python and its libraries."""
  done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
  whole, more, seconds, width = map(float, done.stdout.split())
  print(
    f"\n100,000 items x 10,000 resamples: {whole:.0f} MiB at most ({more:.0f} of them its own), {seconds:.0f} CPU s"
  )
  assert whole < 300 and width == pytest.approx(2 * 1.96, rel=0.05)


# Clusters, mean size of one, how alike its items are (intraclass correlation), and the kind of values.
SETTINGS = list(itertools.product((15, 40, 120), (1, 6), (0.0, 0.4), ("share", "score", "f1", "paired")))


@pytest.mark.full
def test_intervals_cover_in_95_of_100_cases():
  """Coverage of nominal 95 % intervals over simulated benchmarks, by metric and over all settings."""
  kinds: dict[str, list[float]] = {}
  for k, (clusters, size, alike, kind) in enumerate(SETTINGS):
    if size == 1 and alike:
      continue
    hits = np.mean([_covers(np.random.default_rng([k, t]), clusters, size, alike, kind) for t in range(150)])
    kinds.setdefault(kind, []).append(hits)
    print(f"\n{kind:6} {clusters:4} clusters of {size}, alike {alike}: {hits:.3f}", end="")
  for kind, found in kinds.items():
    print(f"\n{kind}: {np.mean(found):.4f} over {len(found)} settings")
    assert 0.93 <= np.mean(found) <= 0.97
  assert all(hits > 0.88 for found in kinds.values() for hits in found)


def _covers(rng, clusters, size, alike, kind):
  """Whether the interval of a simulated benchmark's figure holds the true one. Shares are drawn anew for each: at one
  share alone, what few items can say takes steps."""
  share = rng.uniform(0.2, 0.8)
  sizes = 1 + rng.poisson(size - 1, clusters)
  group = np.repeat(np.arange(clusters), sizes)
  n = len(group)
  draw = lambda: np.sqrt(alike) * rng.normal(size=clusters)[group] + np.sqrt(1 - alike) * rng.normal(size=n)
  names = [str(g) for g in group]
  if kind == "share":
    figure, truth = metrics.Mean()(list((draw() < scipy_stats.norm.ppf(share)).astype(float)), names), share
  elif kind == "paired":  # two runs that agree on much, of which one is better
    same, truth = draw(), rng.uniform(-0.1, 0.1)
    runs = [(same + draw() < np.sqrt(2) * scipy_stats.norm.ppf(p)).astype(float) for p in (share, share + truth)]
    figure = metrics.Mean().paired(*map(list, runs), names).figure
  elif kind == "score":
    figure, truth = metrics.Mean()(list(np.exp(0.5 * draw())), names), float(np.exp(0.125))
  else:
    label, right = draw() < 0, draw() < scipy_stats.norm.ppf(share)
    pairs = list(zip(label.tolist(), (label == right).tolist(), strict=True))
    figure, truth = pair_metrics.MacroF1()(pairs, names), share
  return figure.low is not None and figure.low <= truth <= figure.high


@pytest.mark.parametrize("value", [10**400, -(10**400), float("inf"), float("nan"), "1"])
def test_a_value_that_is_no_number_of_an_item_is_refused(value):
  with pytest.raises(errors.InputError, match="is no finite number"):
    metrics.Mean()([1.0, value], ["a", "b"])


def test_pass_at_nothing_is_no_metric():
  with pytest.raises(errors.InputError, match="PassAtK.k = 0: it counts samples"):
    metrics.PassAtK(k=0)
