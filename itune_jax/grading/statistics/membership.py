"""Was a text trained on? Scores of its tokens' log-probabilities, higher for texts that were, and how well they tell.

Loss and zlib (Carlini et al. 2021), Min-K% (Shi et al. 2023), Min-K%++ (Zhang et al. 2024), and the difference to a
reference model. A contamination test runs them on a benchmark's items and on texts of the same kind that are younger
than the model: an AUROC near 0.5 says that nothing is told apart, not that nothing was trained on.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import NamedTuple
import zlib

import numpy as np

from itune_jax.core import check
from itune_jax.core import errors

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclasses.dataclass(frozen=True, eq=False)
class Tokens:
  """What a model says of a text's tokens but the first.

  logprobs: log p of each token in nats [T]. means, variances: of log p over the vocabulary at each place, under the
  model: μ = E[log p], σ² = E[log² p] - μ²; None where only the token's own is known. reference: log p of the same text
  under another model in all, None for none.
  """

  text: str
  logprobs: np.ndarray
  means: np.ndarray | None = None
  variances: np.ndarray | None = None
  reference: float | None = None

  def __post_init__(self):
    check.require(len(self.logprobs), f"the text {self.text[:40]!r} has no token that is predicted")


def moments(logits_TV: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """(means, variances) [T] of log p over the vocabulary, of logits [T, V]."""
  x = np.asarray(logits_TV, np.float64)
  x = x - x.max(-1, keepdims=True)
  logp = x - np.log(np.exp(x).sum(-1, keepdims=True))
  p = np.exp(logp)
  mean = (p * logp).sum(-1)
  return mean, (p * logp**2).sum(-1) - mean**2


def loss(given: Tokens) -> float:
  """The mean log-probability of a token."""
  return float(np.mean(given.logprobs))


def by_zlib(given: Tokens) -> float:
  """That over the bytes of the compressed text, as the authors of Min-K%++ take it."""
  return loss(given) / len(zlib.compress(given.text.encode()))


def by_reference(given: Tokens) -> float:
  """The mean log-probability less that under the reference. Raises InputError without one."""
  if given.reference is None:
    raise errors.InputError("there is no reference model's log-probability of the text")
  return loss(given) - given.reference / len(given.logprobs)


def min_k(given: Tokens, share: float) -> float:
  """Min-K%: the mean of the lowest share of log-probabilities; not a number where the share is of no token."""
  return _lowest(given.logprobs, share)


def min_k_plus(given: Tokens, share: float) -> float:
  """Min-K%++: the same of (log p - μ) / σ. Raises InputError without μ and σ."""
  if given.means is None or given.variances is None:
    raise errors.InputError("Min-K%++ needs mean and variance of log p over the vocabulary at each place")
  return _lowest((given.logprobs - given.means) / np.sqrt(given.variances), share)


def _lowest(values: np.ndarray, share: float) -> float:
  count = int(len(values) * share)
  return float(np.sort(values)[:count].mean()) if count else float("nan")


class Told(NamedTuple):
  """How well scores tell texts that were trained on from others: the area under the ROC curve, how many others are
  taken for them where 95 % of them are found, and how many are found where 5 % of the others are taken for them."""

  auroc: float
  fpr95: float
  tpr05: float


def told(scores: Sequence[float], trained: Sequence[int]) -> Told:
  """Of scores with labels (1: was trained on). Raises InputError where labels are all one, or a score is none."""
  s, y = np.asarray(scores, np.float64), np.asarray(trained, np.int64)
  check.require(np.isfinite(s).all(), "a score is no finite number: leave such texts out, and say how many")
  check.require({*y.tolist()} == {0, 1}, "both kinds of texts are needed: trained on (1), and not (0)")
  order = np.argsort(-s, kind="stable")
  last = np.append(s[order][1:] != s[order][:-1], True)
  tpr = np.append(0.0, np.cumsum(y[order])[last] / y.sum())
  fpr = np.append(0.0, np.cumsum(1 - y[order])[last] / (1 - y).sum())
  area = float(np.sum(np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2))
  return Told(area, float(fpr[tpr >= 0.95][0]), float(tpr[fpr <= 0.05][-1]))


def scores(given: Tokens) -> dict[str, float]:
  """All scores that can be made of a text, by name."""
  found = {"loss": loss(given), "zlib": by_zlib(given)}
  found |= {f"mink_{share}": min_k(given, share) for share in SHARES}
  if given.means is not None and given.variances is not None:
    found |= {f"mink++_{share}": min_k_plus(given, share) for share in SHARES}
  return found | ({"reference": by_reference(given)} if given.reference is not None else {})


def tests(given: Sequence[Tokens], trained: Sequence[int]) -> Mapping[str, Told]:
  """How well each score tells; one that some text has not (too short for the share) is left out."""
  rows = [scores(one) for one in given]
  names = [name for name in rows[0] if all(np.isfinite(row.get(name, np.nan)) for row in rows)]
  return {name: told([row[name] for row in rows], trained) for name in names}
