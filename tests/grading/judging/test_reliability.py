"""Agreement against scikit-learn; what two orders say together; answers weighed by tokens."""

import itertools
import math

import numpy as np
import pytest
from scipy import special
from sklearn import metrics as sklearn_metrics

from itune_jax.grading.judging import judged_metrics
from itune_jax.grading.judging import reading
from itune_jax.grading.judging import reliability
from itune_jax.grading.judging import rubrics
from itune_jax.grading.statistics import agreement


@pytest.mark.parametrize("seed", range(20))
def test_kappa_is_scikit_learns(seed):
  rng = np.random.default_rng(seed)
  labels = np.array(["a", "b", "tie", "none"])[: 2 + seed % 3]
  ours, gold = rng.choice(labels, (2, 30 + 2 * seed))
  gold = np.where(rng.random(len(gold)) < 0.6, ours, gold)
  half = len(ours) // 2
  pairs = [[str(b), str(a)] for a, b in zip(ours, gold, strict=True)]
  values = [*([one, other] for one, other in zip(pairs[:half], pairs[half:], strict=True)), None]
  figure = judged_metrics.Kappa()(values, list(map(str, range(half + 1))))
  assert figure.value == pytest.approx(sklearn_metrics.cohen_kappa_score(ours, gold)) and figure.n == half
  assert figure.low < figure.value < figure.high


@pytest.mark.parametrize("seed", range(20))
def test_alpha_of_readings_is_krippendorffs_over_all_of_them(seed):
  rng = np.random.default_rng(seed)
  truth = rng.random((12, 3)) * (1 + 9 * (seed % 2))
  votes = truth[:, :, None] + rng.normal(0, 0.4, (12, 3, 4))
  items = np.where(rng.random(votes.shape) < 0.3, np.nan, votes).tolist()
  items = [[[None if math.isnan(one) else one for one in reading] for reading in item] for item in items]
  by_voice = list(zip(*(reading for item in items for reading in item), strict=True))
  figure = judged_metrics.Alpha()([*items, None], list(map(str, range(13))))
  assert figure.value == pytest.approx(agreement.krippendorff(by_voice, "interval"), abs=1e-9) and figure.n == 12
  assert figure.low < figure.value < figure.high


def test_equal_votes_have_no_alpha_and_voices_say_their_mean():
  assert math.isnan(judged_metrics.Alpha()([[[0.1, 0.1]], [[0.1, 0.1, None]]], ["a", "b"]).value)
  said = reading.together([("a", reading.Reading(1.0, "read", "yes")), ("b", reading.Reading(None, "empty", ""))])
  assert (said.value, said.votes, said.kind) == (1.0, (1.0, None), "read") and "[a] yes" in said.said
  none = reading.together([("a", reading.Reading(None, "refused", "no")), ("b", reading.Reading(None, "empty", ""))])
  assert (none.value, none.votes, none.kind) == (None, (None, None), "refused")


def test_what_cannot_be_told_is_not_a_number():
  assert math.isnan(judged_metrics.Kappa()([[["a", "a"]]], ["x"]).value) and math.isnan(
    judged_metrics.Kappa()([None], ["x"]).value
  )
  assert math.isnan(judged_metrics.LengthControlled()([[0.5, 1]] * 9, ["a"] * 9).value)


@pytest.mark.parametrize(("straight", "swapped"), itertools.product((0, 0.2, 0.5, 0.9, 1, None), repeat=2))
def test_both_orders(straight, swapped):
  one = reliability.of_orders(straight, swapped)
  if straight is None or swapped is None:
    assert one.win is None and one.consistent is None and one.unread == ((straight, swapped).count(None)) / 2
    return
  assert one.win == pytest.approx((straight + 1 - swapped) / 2) and one.unread == 0
  prefers = np.sign(straight - 0.5), np.sign(0.5 - swapped)
  assert one.consistent == (prefers[0] == prefers[1]) and one.tie == (prefers[0] != prefers[1] or not prefers[0])
  decided = [worth > 0.5 for worth in (straight, swapped) if worth != 0.5]
  assert one.first == (np.mean(decided) if decided else None)
  # Seen from the other answer all is the same, but for who won.
  other = reliability.of_orders(swapped, straight)
  assert (other.consistent, other.tie, other.first) == (one.consistent, one.tie, one.first)
  assert other.win == pytest.approx(1 - one.win)
  settled = reliability.settled(straight, swapped)
  if {straight, swapped} <= {0, 0.5, 1}:
    assert settled == (straight if straight == 1 - swapped else 0.5), "as FastChat has it"
  else:
    assert settled == (float(straight > 0.5) if one.consistent and straight != 0.5 else 0.5)


@pytest.mark.parametrize("seed", range(10))
def test_weighing_tokens_is_alpaca_evals(seed):
  """2 - P(m) / (P(m) + P(M)), of the tokens that are there."""
  rng = np.random.default_rng(seed)
  tokens = rng.permutation(["m", "M", "Both", " m", "The"])[: rng.integers(1, 6)]
  logprobs = np.log(rng.dirichlet(np.ones(6)))[: len(tokens)]
  top = list(zip(tokens.tolist(), logprobs.tolist(), strict=True))
  known = dict(top)
  found = reading.of_tokens(rubrics.ALPACA_EVAL, top, "m")
  if not {"m", "M"} & set(known):
    assert found.value is None and found.kind == "unparsed"
    return
  both = special.logsumexp([known.get("m", -np.inf), known.get("M", -np.inf)])
  assert 2 - found.value == pytest.approx(2 - np.exp(known.get("m", -np.inf) - both))
  assert found.mass == pytest.approx(np.exp(both))


def test_an_expectation_over_ratings():
  top = [("5", math.log(0.5)), (" 4", math.log(0.25)), ("4", math.log(0.05)), ("9", math.log(0.2))]
  found = reading.of_tokens(rubrics.RATE_5, top, "5")
  assert found.value == pytest.approx((5 * 0.5 + 4 * 0.3) / 0.8) and found.mass == pytest.approx(0.8)
  assert reading.of_tokens(rubrics.RATE_5, None, "5").kind == "no_logprobs"


@pytest.mark.parametrize(
  ("text", "finish", "kind"),
  [
    ("Rating: [[7]]", "stop", "read"),
    ("Rating: [[11]]", "stop", "off_scale"),
    ("In [2023] all was well", "stop", "off_scale"),
    ("Rating: seven", "stop", "unparsed"),
    ("I'm sorry, but I cannot rate this.", "stop", "refused"),
    ("I can’t help with that", "stop", "refused"),
    ("", "content_filter", "refused"),
    (" \n", "stop", "empty"),
    ("The answer begins well and", "length", "cut_off"),
    ("I'm sorry to say that it is bad: [[2]]", "stop", "read"),
  ],
)
def test_why_there_is_no_verdict_has_a_name(text, finish, kind):
  found = reading.of_text(rubrics.named("single-v1"), text, finish)
  assert found.kind == kind and (found.value is None) == (kind != "read") and found.said == text
