"""Whether a model knows what it knows: calibration of confidences, and what is gained by leaving doubtful items out.

A confidence is a probability that the model gives to its own answer: the softmax of choices, or what it says in words.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import NamedTuple

import numpy as np

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.grading.statistics import bootstrap
from itune_jax.grading.statistics import metrics


class Choice(NamedTuple):
  """The model's answer to a question with choices: how sure it is, whether it is right, and the Brier score of all."""

  confidence: float
  right: bool
  brier: float


def of_choices(logprobs: Sequence[float], right: Sequence[int]) -> Choice:
  """Of log-probabilities of choices, normalised over them (softmax); `right` are the places that are right. Equally
  likely choices share what they have: the first of them is the answer.

  Brier: Σ over choices of (p - 1[right])², with right ones as one choice, from 0 to 2 (Brier 1950).
  """
  x = np.asarray(logprobs, np.float64)
  p = np.exp(x - x.max())
  p /= p.sum()
  place, mass = int(np.argmax(p)), float(p[list(right)].sum())
  others = np.delete(p, list(right))
  return Choice(float(p[place]), place in right, float((1 - mass) ** 2 + (others**2).sum()))


@dataclasses.dataclass(frozen=True)
class Ece(metrics.Resampled):
  """Expected calibration error of pairs (confidence, right): Σ over bins of equal width of |accuracy - confidence| ·
  share of the bin (Naeini et al. 2015, Guo et al. 2017). A bin holds (low, high], the first 0 too.

  bins: how many.
  """

  better: contracts.Better = "lower"
  bins: int = 15

  def __post_init__(self):
    check.require(self.bins > 0, f"Ece.bins = {self.bins}; it counts")

  def statistic(self, values: Sequence[metrics.Value], groups_N: np.ndarray) -> bootstrap.Statistic:
    """Number, confidence and rights of each bin, by cluster."""
    confidence, right = _pairs(values)
    at = np.clip(np.ceil(confidence * self.bins).astype(int) - 1, 0, self.bins - 1)
    table = np.zeros((len(values), 2 * self.bins + 1))
    table[np.arange(len(values)), at] = right - confidence
    table[:, -1] = 1.0

    def function(sums_BF: np.ndarray) -> np.ndarray:
      return np.abs(sums_BF[:, : self.bins]).sum(1) / np.maximum(sums_BF[:, -1], 1)

    return bootstrap.Sums(bootstrap.summed(table, groups_N), function)


@dataclasses.dataclass(frozen=True)
class Aurc(metrics.Resampled):
  """Area under the risk-coverage curve of pairs (confidence, right): the mean over coverages 1/n … 1 of the share that
  is wrong among the most confident (Geifman and El-Yaniv 2017). Equal confidences come in at once: each of them has the
  risk at the end of their run, in which order does not count."""

  better: contracts.Better = "lower"

  def statistic(self, values: Sequence[metrics.Value], groups_N: np.ndarray) -> bootstrap.Statistic:
    """Weighted cumulative sums, by falling confidence."""
    confidence, right = _pairs(values)
    order = np.argsort(-confidence, kind="stable")
    sorted_N, wrong_N = confidence[order], 1 - right[order]
    ends = np.flatnonzero(np.append(sorted_N[1:] != sorted_N[:-1], True))
    runs = np.diff(ends, prepend=-1)
    run_of = np.repeat(np.arange(len(ends)), runs)

    def function(weights_BN: np.ndarray) -> np.ndarray:
      w = weights_BN[:, order]
      risk = _over(np.cumsum(w * wrong_N, 1)[:, ends], np.cumsum(w, 1)[:, ends])
      return _over((w * risk[:, run_of]).sum(1), w.sum(1))

    return bootstrap.Weighted(groups_N, function)


@dataclasses.dataclass(frozen=True)
class Selective(metrics.Resampled):
  """Selective prediction of pairs (confidence, right): the share that is right among the most confident `coverage` of
  all (El-Yaniv and Wiener 2010). Equal confidences come in at once, so it may be a few more.

  coverage: the share that is answered, above 0.
  """

  coverage: float = 0.5

  def __post_init__(self):
    check.require(0 < self.coverage <= 1, f"Selective.coverage = {self.coverage}; it is a share above 0")

  def statistic(self, values: Sequence[metrics.Value], groups_N: np.ndarray) -> bootstrap.Statistic:
    """Weighted cumulative sums, by falling confidence."""
    confidence, right = _pairs(values)
    order = np.argsort(-confidence, kind="stable")
    sorted_N, right_N = confidence[order], right[order]
    ends = np.flatnonzero(np.append(sorted_N[1:] != sorted_N[:-1], True))

    def function(weights_BN: np.ndarray) -> np.ndarray:
      w = weights_BN[:, order]
      answered, good = np.cumsum(w, 1)[:, ends], np.cumsum(w * right_N, 1)[:, ends]
      enough = answered >= self.coverage * w.sum(1, keepdims=True) * (1 - 1e-12)
      place = (np.arange(len(w)), enough.argmax(1))
      return _over(good[place], answered[place])

    return bootstrap.Weighted(groups_N, function)


def _over(above: np.ndarray, below: np.ndarray) -> np.ndarray:
  return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _pairs(values: Sequence[metrics.Value]) -> tuple[np.ndarray, np.ndarray]:
  pairs = np.array([[metrics.number(part) for part in metrics.pair(value)] for value in values])
  confident = (pairs[:, 0] >= 0) & (pairs[:, 0] <= 1)
  check.require(confident.all(), "a confidence is none from 0 to 1: values are pairs (confidence, right)")
  check.require(np.isin(pairs[:, 1], (0, 1)).all(), "an outcome is neither 0 nor 1: values are (confidence, right)")
  return pairs[:, 0], pairs[:, 1]


def risk_coverage(confidences: Sequence[float], right: Sequence[bool]) -> list[tuple[float, float]]:
  """The curve: (coverage, share that is wrong among the most confident), at the end of each run of equal ones."""
  c, wrong = np.asarray(confidences, np.float64), 1 - np.asarray(right, np.float64)
  order = np.argsort(-c, kind="stable")
  n = np.arange(1, len(c) + 1)
  ends = np.append(c[order][1:] != c[order][:-1], True)
  risks = np.cumsum(wrong[order]) / n
  return [(float(k / len(c)), float(risk)) for k, risk in zip(n[ends], risks[ends], strict=True)]


METRICS: Mapping[str, metrics.Metric] = {
  "ece": Ece(),
  "brier": metrics.Mean("lower"),
  "aurc": Aurc(),
  "half": Selective(coverage=0.5),
}


def figures(
  benchmark: str, metric: str, pairs: Sequence[tuple[float, float]], clusters: Sequence[str], of: int
) -> list[contracts.Result]:
  """`METRICS` of pairs (confidence, right), called as `ece_METRIC`; of how many items a benchmark has. The Brier score
  is of that one event: (confidence - right)²."""
  values = {**dict.fromkeys(METRICS, list(pairs)), "brier": [(c - right) ** 2 for c, right in pairs]}
  found = {name: METRICS[name](given, clusters) for name, given in values.items()}
  return [
    contracts.Result(benchmark, f"{name}_{metric}", one.value, "", one.low, one.high, one.n, of)
    for name, one in found.items()
  ]
