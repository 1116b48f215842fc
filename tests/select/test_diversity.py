"""Rules of diversity against the plain form of each, and mixing."""

import json
import math

import numpy as np
import pytest
from sklearn import cluster

from itune_jax.core import errors
from itune_jax.core import pack
from itune_jax.data import feed as feed_lib
from itune_jax.data import tokenised
from itune_jax.select import mixing
from itune_jax.select import select_protocol
from itune_jax.select.diversity import features
from itune_jax.select.diversity import spread
from itune_jax.select.diversity import strata


def unit(n, d, seed):
  v = np.random.RandomState(seed).randn(n, d).astype(np.float32)
  return v / np.linalg.norm(v, axis=1, keepdims=True)


@pytest.mark.parametrize(("n", "most", "threshold"), [(60, 60, 0.5), (60, 7, 0.2), (1, 5, 0.9), (2500, 300, 0.4)])
def test_greedy_is_deitas_loop(monkeypatch, n, most, threshold):
  """One row after the other by score, kept unless its cosine with a kept one is above the threshold."""
  monkeypatch.setattr(spread, "BLOCK", 64)
  v, worth = unit(n, 4, n), np.random.RandomState(1).randint(0, 20, n).astype(float)
  kept = []
  for i in np.argsort(-worth, kind="stable"):
    if len(kept) < most and not any(float(v[i] @ v[k]) > threshold for k in kept):
      kept.append(int(i))
  assert spread.greedy(v, worth, threshold, most).tolist() == kept


def test_lazy_greedy_is_plain_greedy():
  v = unit(40, 3, 2)
  like, taken = spread.likeness(v, v), []
  for _ in range(12):
    total = [(-np.maximum(like[:, [*taken, i]].max(axis=1), 0).sum(), i) for i in range(40) if i not in taken]
    taken.append(min(total)[1])
  assert spread.facility_location(v, 12).tolist() == taken
  assert sorted(spread.facility_location(v, 100).tolist()) == list(range(40))


def test_k_center_takes_the_farthest():
  v, worth = unit(50, 5, 3), np.random.RandomState(3).rand(50)
  order = spread.k_center(v, worth, 50)
  assert order[0] == worth.argmax() and sorted(order.tolist()) == list(range(50))
  for k in range(1, 50):
    far = lambda i, k=k: min(float(np.linalg.norm(v[i] - v[j])) for j in order[:k])
    assert far(order[k]) >= max(far(i) for i in order[k:]) - 1e-4


def test_k_means_is_as_good_as_sklearns():
  v = np.concatenate([unit(40, 6, s) * 0.2 + unit(1, 6, 90 + s) * 3 for s in range(5)])
  own = strata.k_means(v, 5, 50, np.random.default_rng(0))
  inertia = lambda labels: sum(((v[labels == c] - v[labels == c].mean(axis=0)) ** 2).sum() for c in set(labels))
  theirs = cluster.KMeans(5, n_init=10, random_state=0).fit(v)
  assert inertia(own) <= 1.05 * theirs.inertia_
  order = strata.in_turn(own, np.arange(200.0))
  assert sorted(order.tolist()) == list(range(200)) and set(own[order[:5]]) == set(range(5))
  assert all(order[k] == np.flatnonzero(own == own[order[k]]).max() for k in range(5)), "the best of each comes first"


def test_tags_are_covered_in_passes():
  rows = [{"tags": t} for t in (["a"], ["A ", "b"], ["c"], ["b", "c", "d"], [], ["a", "b"])] + [{}]
  order = strata.Tags().order(rows, np.zeros(7), 7, np.random.default_rng(0), None)
  assert order == [3, 1, 5, 2, 0], "most tags first; a pass takes what brings a new tag; without tags never"
  with pytest.raises(errors.InputError, match="no row has tags"):
    strata.Tags(key="labels").order(rows, np.zeros(7), 7, np.random.default_rng(0), None)


def test_words_tell_rows_apart_without_a_model():
  texts = ["how to bake bread at home", "bake bread at home, how to", "the mass of the moon", "", "prices of copper"]
  rows = [{"messages": [{"role": "user", "content": t}]} if t else {"x": 1} for t in texts]
  v, at = features.Words().vectors(rows, None)
  assert at.tolist() == [0, 1, 2, 4] and np.allclose(np.linalg.norm(v, axis=1), 1, atol=1e-6)
  assert v[0] @ v[1] > 0.99 and abs(v[0] @ v[3]) < 0.5
  kept = spread.Spread(features=features.Words()).order(rows, np.zeros(5), 5, np.random.default_rng(0), None)
  assert kept == [0, 2, 4]
  assert not select_protocol.Selection(diversity=spread.KCenter(features=features.Words())).needs_model


SIZES = {"a": 1000, "b": 100, "c": 10}


def test_rates_by_size():
  assert mixing.Proportional().rates(SIZES) == {n: s / 1110 for n, s in SIZES.items()}
  assert mixing.Proportional(cap=100).rates(SIZES)["a"] == 100 / 210
  flat, even = mixing.Temperature(temperature=2).rates(SIZES), mixing.Temperature(temperature=1e6).rates(SIZES)
  assert flat["a"] / flat["b"] == pytest.approx(math.sqrt(10)) and even["a"] == pytest.approx(1 / 3, abs=1e-5)
  with pytest.raises(errors.InputError, match="the sources are a, b, c"):
    mixing.Fixed(given={"a": 1.0}).rates(SIZES)


def test_rates_follow_what_is_learned():
  rates, before = {"a": 0.5, "b": 0.3, "c": 0.2}, {"a": 2.0, "b": 2.0, "c": 2.0}
  now = {"a": 2.0, "b": 1.5, "c": 1.9}
  new = mixing.ByLoss(even=0.1).adapt(rates, now, before)
  assert sum(new.values()) == pytest.approx(1) and min(new.values()) >= 0.1 / 3
  assert new["b"] / rates["b"] > new["c"] / rates["c"] > new["a"] / rates["a"]
  same = mixing.ByLoss(even=1e-9).adapt(rates, before, before)
  assert all(same[n] == pytest.approx(r) for n, r in rates.items()), "where nothing is learned, nothing moves"
  high = mixing.ByLoss(toward_high=True, even=1e-9).adapt(rates, now, before)
  assert high["a"] > rates["a"]
  align = mixing.ByAlignment(even=1e-9, step=1.0).adapt(rates, {"a": 0.0, "b": 1.0, "c": -1.0}, {})
  assert align["b"] / align["a"] == pytest.approx(0.3 / 0.5 * math.e)
  with pytest.raises(errors.InputError, match="source b is no number"):
    mixing.ByLoss().adapt(rates, {**now, "b": math.nan}, before)


class Rows(tokenised.Examples):
  """So many examples of four ids each."""

  def __init__(self, count):
    self._count = count

  @property
  def lengths(self):
    return np.full(self._count, 3, np.int32)

  def __getitem__(self, index):
    return pack.Item(np.full(4, index, np.int32), np.ones(4, np.float32))


def test_adaptive_rates_are_exact_on_resume():
  """Rates that change at numbered steps are in the feed's log: a feed that is restored gives the same batches."""
  policy, losses = mixing.ByLoss(every=10), [{"a": 2.0, "b": 2.0}, {"a": 1.9, "b": 1.4}, {"a": 1.2, "b": 1.39}]
  make = lambda: feed_lib.Feed(
    {"a": Rows(50), "b": Rows(80)}, rates, feed_lib.Packing(row_length=6, rows=2, window=16), seed=3
  )
  rates = mixing.Temperature().rates({"a": 50, "b": 80})
  feed, now, seen, saved = make(), rates, [], {}
  for step in range(30):
    if step and step % policy.every == 0:
      k = step // policy.every
      now = policy.adapt(now, losses[k], losses[k - 1])
      feed.change_rates(step, now)
    seen.append(feed.batch(step).tokens_BT)
    if step == 24:
      saved = json.loads(json.dumps(feed.state()))
  again = make()
  again.restore(saved)
  assert again.changes == 2
  assert all(np.array_equal(again.batch(k).tokens_BT, seen[k]) for k in range(30))
  assert not all(np.array_equal(make().batch(k).tokens_BT, seen[k]) for k in range(30))
