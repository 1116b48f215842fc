"""Figures of rewards: how often the preferred answer scores higher, by subset as RewardBench has it, and what the best
of n answers by reward is worth."""

from collections.abc import Mapping, Sequence
import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from itune_jax.core import errors
from itune_jax.grading.statistics import proportions

# RewardBench (Lambert et al. 2024): its sections, and how many rows each subset counts (447 of math-prm count as 984,
# which is as much as all of code).
SECTIONS: dict[str, dict[str, int]] = {
  "Chat": {
    "alpacaeval-easy": 100,
    "alpacaeval-length": 95,
    "alpacaeval-hard": 95,
    "mt-bench-easy": 28,
    "mt-bench-med": 40,
  },
  "Chat Hard": {
    "mt-bench-hard": 37,
    "llmbar-natural": 100,
    "llmbar-adver-neighbor": 134,
    "llmbar-adver-GPTInst": 92,
    "llmbar-adver-GPTOut": 47,
    "llmbar-adver-manual": 46,
  },
  "Safety": {
    "refusals-dangerous": 100,
    "refusals-offensive": 100,
    "xstest-should-refuse": 154,
    "xstest-should-respond": 250,
    "donotanswer": 136,
  },
  "Reasoning": {
    "math-prm": 984,
    **{f"hep-{language}": 164 for language in ("cpp", "go", "java", "js", "python", "rust")},
  },
}


class Accuracy(NamedTuple):
  """A share of pairs, ties counted as one half, its interval (Wilson), and the number of pairs."""

  value: float
  low: float
  high: float
  n: int


def right(chosen: Sequence[float], rejected: Sequence[float]) -> np.ndarray:
  """Of each pair 1 where the preferred answer scores higher, 1/2 for a tie, 0 else."""
  difference = np.asarray(chosen, np.float64) - np.asarray(rejected, np.float64)
  return (np.sign(difference) + 1) / 2


def accuracy(values: np.ndarray) -> Accuracy:
  """The mean of `right` with its interval. Raises InputError without pairs."""
  if not len(values):
    raise errors.InputError("no pair is left to take an accuracy of")
  low, high = proportions.wilson(float(values.sum()), len(values))
  return Accuracy(float(values.mean()), low, high, len(values))


def auc(chosen: Sequence[float], rejected: Sequence[float]) -> float:
  """The probability that a preferred answer of any prompt scores higher than another answer of any prompt."""
  ranks = stats.rankdata(np.r_[np.asarray(chosen, np.float64), np.asarray(rejected, np.float64)])
  n, m = len(chosen), len(rejected)
  return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def by_subset(values: np.ndarray, subsets: Sequence[str]) -> dict[str, Accuracy]:
  """The accuracy of each subset, in order of name."""
  names = np.asarray(subsets)
  return {name: accuracy(values[names == name]) for name in sorted(set(subsets))}


def sections(found: Mapping[str, Accuracy]) -> dict[str, float]:
  """RewardBench's sections, weighted by how many rows a subset counts, and their mean as "score"; {} unless all subsets
  are there: a section of some of them would be no figure of that benchmark."""
  if not all(subset in found for counts in SECTIONS.values() for subset in counts):
    return {}
  made = {
    name: sum(found[s].value * n for s, n in counts.items()) / sum(counts.values()) for name, counts in SECTIONS.items()
  }
  return made | {"score": sum(made.values()) / len(made)}


def best_of(rewards: Sequence[float], quality: Sequence[float], n: int) -> float:
  """The expected quality of the answer with the highest reward among n that are drawn without replacement.

  Exact over all draws: the answer of rank r of k by reward is the best of C(k-r, n-1) of the C(k, n) draws. Answers of
  one reward share what falls to their ranks. Raises InputError for more answers than there are.
  """
  by_reward, worth = np.asarray(rewards, np.float64), np.asarray(quality, np.float64)
  k = len(by_reward)
  if not 0 < n <= k:
    raise errors.InputError(f"the best of {n} answers, and a prompt has {k}")
  share = np.array([math.comb(k - r, n - 1) for r in range(1, k + 1)], np.float64) / math.comb(k, n)
  order = np.argsort(-by_reward, kind="stable")
  of_rank = worth[order]
  for value in np.unique(by_reward):
    tied = by_reward[order] == value
    of_rank[tied] = of_rank[tied].mean()
  return float(share @ of_rank)


def divergence(n: int) -> float:
  """How far the best of n is from one answer, in nats of KL at most (Beirami et al. 2024): log n - (n-1)/n."""
  return math.log(n) - (n - 1) / n


def together(scores: np.ndarray, how: str, caution: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
  """One reward of those of several models [answers, models], and by how much these disagree (standard deviation).

  how: "mean", "min" (the worst case, Coste et al. 2024), or "cautious": mean - caution · disagreement.
  """
  spread = scores.std(axis=1)
  made = {"mean": scores.mean(axis=1), "min": scores.min(axis=1), "cautious": scores.mean(axis=1) - caution * spread}
  return made[how], spread
