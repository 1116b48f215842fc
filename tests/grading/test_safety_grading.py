"""Scorers of safety, faithfulness and calibration: published values, and definitions written out at length."""

import math
import random
import time

import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.grading.faithfulness import bm25
from itune_jax.grading.faithfulness import schemes
from itune_jax.grading.faithfulness import truthful
from itune_jax.grading.safety import bbq_bias
from itune_jax.grading.safety import harm_parsers
from itune_jax.grading.safety import leaks
from itune_jax.grading.safety import refusals
from itune_jax.grading.statistics import agreement
from itune_jax.grading.statistics import calibration
from itune_jax.grading.statistics import human_agreement
from itune_jax.grading.statistics import membership
from itune_jax.grading.statistics import metrics
from itune_jax.grading.statistics import pair_metrics


def value(metric, values):
  """The figure without its interval, every item a cluster of its own."""
  return metric.statistic(values, np.arange(len(values))).value


def test_krippendorffs_own_example():
  """Krippendorff 2011: four observers, twelve units, missing verdicts; and a matrix without a second verdict."""
  star = None
  verdicts = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, star, star, star],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, star, 3],
    [star, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, star],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, star],
  ]
  published = {"nominal": 0.743, "ordinal": 0.815, "interval": 0.849, "ratio": 0.797}
  found = {level: agreement.krippendorff(verdicts, level) for level in published}
  assert found == {level: pytest.approx(alpha, abs=5e-4) for level, alpha in published.items()}
  assert math.isnan(agreement.krippendorff([["a", "a"], ["a", "a"]]))
  with pytest.raises(errors.InputError, match="no item has verdicts of two judges"):
    agreement.krippendorff([[1, None], [None, 2]])
  with pytest.raises(errors.InputError, match="must be numbers for the level ordinal"):
    agreement.krippendorff([["a"], ["b"]], "ordinal")


def test_cohens_kappa():
  """Two readers of fifty proposals agree on 35, by chance on 25: κ = 0.4; missing verdicts count for nothing."""
  table = {("yes", "yes"): 20, ("yes", "no"): 5, ("no", "yes"): 10, ("no", "no"): 15}
  first, second = zip(*(pair for pair, n in table.items() for _ in range(n)), strict=True)
  assert agreement.cohen(first, second) == pytest.approx(0.4)
  assert agreement.cohen([1, 2, None], [1, 2, 1]) == 1


def test_calibration_is_what_its_definition_says():
  rng = np.random.default_rng(0)
  confidence = np.round(rng.uniform(size=200), 2)
  right = rng.uniform(size=200) < confidence
  pairs = [[float(c), bool(r)] for c, r in zip(confidence, right, strict=True)]
  bins = [(confidence > k / 15) & (confidence <= (k + 1) / 15) | ((k == 0) & (confidence == 0)) for k in range(15)]
  ece = sum(abs(right[b].mean() - confidence[b].mean()) * b.mean() for b in bins if b.any())
  assert value(calibration.Ece(), pairs) == pytest.approx(ece)
  risks = [(~right[confidence >= c]).mean() for c in confidence]  # of each item: all that are at least as sure
  assert value(calibration.Aurc(), pairs) == pytest.approx(np.mean(risks))
  curve = calibration.risk_coverage(confidence.tolist(), right.tolist())
  assert curve[-1] == (1.0, pytest.approx((~right).mean())) and len(curve) == len(set(confidence.tolist()))
  found = calibration.of_choices([math.log(0.5), math.log(0.3), math.log(0.2)], [1])
  assert found == (pytest.approx(0.5), False, pytest.approx(0.7**2 + 0.5**2 + 0.2**2))
  with pytest.raises(errors.InputError, match="none from 0 to 1"):
    calibration.Ece()([[1.5, 1]], ["a"])


def test_membership():
  rng = np.random.default_rng(1)
  logits = rng.normal(size=(20, 7))
  means, variances = membership.moments(logits)
  logp = np.log(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))
  assert means == pytest.approx((np.exp(logp) * logp).sum(1))
  assert variances == pytest.approx((np.exp(logp) * (logp - means[:, None]) ** 2).sum(1))
  given = membership.Tokens("a text", logp[np.arange(20), 0], means, variances, reference=-30.0)
  assert membership.min_k(given, 0.1) == pytest.approx(np.sort(logp[:, 0])[:2].mean())
  assert membership.min_k(given, 1.0) == pytest.approx(membership.loss(given))
  assert membership.by_reference(given) == pytest.approx(logp[:, 0].mean() + 1.5)
  labels = rng.integers(0, 2, 300)
  scores = np.round(rng.normal(size=300) + labels, 1)
  found = membership.told(scores.tolist(), labels.tolist())
  auc = value(pair_metrics.Auc(), [[int(y), float(s)] for y, s in zip(labels, scores, strict=True)])
  assert found.auroc == pytest.approx(auc) and found.auroc > 0.6 and 0 <= found.tpr05 <= found.fpr95 <= 1
  with pytest.raises(errors.InputError, match="both kinds of texts"):
    membership.told([0.1], [1])


def test_bias_scores_are_counts():
  rng = random.Random(2)
  values = [
    [int(rng.random() < 0.4), 1, int(rng.random() < 0.5)] if rng.random() < 0.7 else [0, 0, 1] for _ in range(99)
  ]
  biased, known, right = (sum(one[k] for one in values) for k in range(3))
  score = 2 * biased / known - 1
  assert value(bbq_bias.Bias(), values) == pytest.approx(score)
  assert value(bbq_bias.Bias("lower", True), values) == pytest.approx((1 - right / 99) * score)
  assert math.isnan(value(bbq_bias.Bias(), [[0, 0, 1]])) and value(bbq_bias.Bias(), [[0, 1, 1]]) == -1


@pytest.mark.parametrize(
  ("groups", "stereotyped", "polarity", "wanted"),
  [
    (("F-Black", "M-Black", "unknown"), ["F"], "neg", 0),
    (("lowSES-x", "unknown", "highSES-x"), ["low SES"], "nonneg", 2),
    (("nonOld", "old", "unknown"), ["old"], "neg", 1),
    (("old", "old", "unknown"), ["old"], "neg", None),
    (("woman", "man", "unknown"), ["F"], "nonneg", 1),
    (("a", "b", "c"), ["a"], "neg", None),
  ],
)
def test_which_answer_is_biased(groups, stereotyped, polarity, wanted):
  answers = bbq_bias.Answers(("x", "y", "z"), groups)
  assert bbq_bias.target(answers, ("x", "y", "z"), stereotyped, polarity) == wanted


def test_verdicts_of_judges():
  assert harm_parsers.strong_reject("1.b 0\n 2.b  5\nx\n3.b 1") == (0, 5, 1)
  assert harm_parsers.strong_reject("1.b 0\n2.b 6\n3.b 1") is None
  began = time.process_time()
  assert harm_parsers.strong_reject("loop " * 40_000) is None and time.process_time() - began < 1, (
    "no search of n² steps"
  )
  assert harm_parsers.StrongReject(1, 5, 5).score == 0 and harm_parsers.StrongReject(0, 5, 5).score == 1
  assert [harm_parsers.yes_or_no(text) for text in ("Yes", "no", "yes.")] == [1, 0, None]
  assert [harm_parsers.first_yes_or_no(text) for text in ("**No**, since", "Yesterday", "yes")] == [0, None, 1]
  for form in (
    "{}",
    "{}.",
    "**{}**",
    "1. {}",
    "- {}",
    "Answer: {}",
    "The answer is {}.",
    r"\boxed{{{}}}",
    "```\n{}\n```",
  ):
    for word, value in (("yes", 1), ("No", 0), ("ＹＥＳ", 1)):
      assert harm_parsers.first_yes_or_no(form.format(word)) == value, form
  for text in ("", "It is supported", "The answer", "nobody", "The claim is not in the text: no"):
    assert harm_parsers.first_yes_or_no(text) is None, text
  assert harm_parsers.refusal_class("2_full_refusal or 3_partial_refusal") is None
  assert refusals.opens_with_refusal("\nAs an AI I") and not refusals.opens_with_refusal("None")
  assert refusals.holds_refusal("Well, but I cannot") and not refusals.holds_refusal("i'm sorry")


def test_ties_are_wrong():
  assert truthful.choices([-1.0, -2.0], [-1.0], 0) == (False, pytest.approx((1 + math.exp(-1)) / (2 + math.exp(-1))), 0)
  assert truthful.choices([-2000.0], [-2001.0], 0).mc2 == pytest.approx(1 / (1 + math.exp(-1)))
  assert truthful.listed("So; and so.; ;") == ["So.", "and so."]


def test_schemes():
  table = np.array([[0.9, 0.2], [0.1, 0.3]])
  assert schemes.zero_shot(table, 1 - table) == pytest.approx(((0.9 - 0.9) + (0.3 - 0.8)) / 2)
  assert schemes.align(table) == pytest.approx(0.6)
  assert schemes.fact_score([1.0] * 11) == 1 and schemes.fact_score([1.0]) == pytest.approx(math.exp(-9))
  words = "One is here. Two is there. Three is away. Four is far."
  assert schemes.chunks(words, 6) == ["One is here.", "Two is there.", "Three is away.", "Four is far."]
  assert schemes.chunks(words) == [words] and schemes.paragraphs("short\na longer line here") == ["a longer line here"]


def test_bm25_is_its_formula():
  rng = random.Random(3)
  passages = [" ".join(rng.choices("abcdefgh", k=rng.randrange(3, 9))) for _ in range(30)]
  index, docs = bm25.Index(passages), [one.split() for one in passages]
  mean = sum(map(len, docs)) / 30
  for query in ("a b", "c c h", "z"):
    wanted = []
    for doc in docs:
      score = 0.0
      for word in query.split():
        n, f = sum(word in one for one in docs), doc.count(word)
        score += math.log(1 + (30 - n + 0.5) / (n + 0.5)) * f * 2.5 / (f + 1.5 * (0.25 + 0.75 * len(doc) / mean))
      wanted.append(score)
    assert index.scores(query) == pytest.approx(wanted)
    assert index.best(query, 3) == sorted(range(30), key=lambda k: (-round(wanted[k], 12), k))[:3]
  assert index.best("a", 2, among=[4, 2, 9])[0] in (2, 4, 9)


def test_agreement_with_people():
  groups = ["a"] * 5 + ["b"] * 5
  x = np.r_[np.arange(5), 100 + np.arange(5)]
  triples = [[float(a), float(a) % 100, name] for a, name in zip(x, groups, strict=True)]
  assert value(human_agreement.PartialPearson(), triples) == pytest.approx(1)
  rng = random.Random(4)
  labels, scores = [rng.randrange(2) for _ in range(60)], [rng.random() for _ in range(60)]
  best = human_agreement.best_threshold(labels, scores)
  balanced = lambda t: sum(
    sum((s > t) == bool(y) for s, y in zip(scores, labels, strict=True) if y == k) / labels.count(k) for k in (0, 1)
  )
  assert balanced(best) == pytest.approx(max(balanced(np.percentile(scores, p)) for p in np.arange(0, 100, 0.2)))
  rows = [["val", y, s] for y, s in zip(labels, scores, strict=True)]
  tuned = value(human_agreement.TunedBalancedAccuracy(), rows + [["test", *one[1:]] for one in rows])
  assert tuned == pytest.approx(balanced(best) / 2)
  rows = [["a", 1, 1], ["a", 0, 1], ["b", 1, 1], ["b", 0, 0], ["b", 0, -1]]
  assert value(human_agreement.MeanBalancedAccuracy(), rows) == pytest.approx((0.5 + 0.75) / 2)


def test_personal_data():
  text = "ann.b@x.org, +44 20 7946 0958, 4111 1111 1111 1111, DE89 3704 0044 0532 0130 00, 10.0.0.1, on 2021-10-12"
  found = leaks.personal(text)
  assert [one.kind for one in found] == ["email", "phone", "card", "iban", "ip"]
  assert not leaks.personal("4111 1111 1111 1112 999.1.1.1 12345") and leaks.same_words("a b c", "a b d") == 2
  assert leaks.given_away("call +44 (20) 79460958", found) == [found[1]]


def test_intervals_are_those_of_metrics():
  """Each new figure has an interval that holds its value."""
  rng = random.Random(5)
  pair = lambda: [rng.random(), rng.randrange(2)]
  for metric, make in (
    (calibration.Ece(), pair),
    (calibration.Aurc(), pair),
    (calibration.Selective(), pair),
    (bbq_bias.Bias(), lambda: [rng.randrange(2), 1, rng.randrange(2)]),
    (human_agreement.PartialSpearman(), lambda: [rng.random(), rng.random(), rng.choice("ab")]),
  ):
    found = metric([make() for _ in range(40)], list(map(str, range(40))))
    assert isinstance(found, metrics.Figure) and found.low < found.high and math.isfinite(found.value)
