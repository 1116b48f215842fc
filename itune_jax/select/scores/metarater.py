"""Meta-rater: which weights of several scores make a selection that trains to a low loss (Zhuang et al., ACL 2025,
arXiv 2504.14194; the search is that of mihara-bot/Meta-rater `pipeline/`).

Weights are drawn from a Dirichlet distribution; each draw selects the rows of the highest weighted sum, on which a
small proxy is trained; a regression of the proxies' losses on the weights is asked for many more draws, and the best of
them are averaged. Everything is a function of the seed, and finished proxies are kept, so a search that was killed goes
on.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any, ClassVar, Literal

import numpy as np

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import lazy
from itune_jax.core import ranges
from itune_jax.select import select_protocol
from itune_jax.select.scores import answers as answers_lib
from itune_jax.select.scores import asked as asked_lib
from itune_jax.select.scores import nats as nats_lib

lightgbm = lazy.module("lightgbm")  # optional: a ridge regression does without


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetaRater(select_protocol.Score):
  """The weighted sum of scores, each brought to 0 to 5, with the weights whose proxies predict the lowest loss on
  --targets.

  scores: what is weighted. proxies: how many draws are trained on. share: of the rows that each draw selects. proxy:
  the training of each. samples: draws that the regression is asked for. best_of: how many of the best are averaged.
  regression: "auto" is LightGBM where it is installed, else ridge with squares. seed: of all draws. name: under which
  rows bear it.
  """

  needs: ClassVar[Literal["nothing", "model"]] = "model"
  apart: ClassVar[bool] = False
  scores: tuple[select_protocol.Score, ...] = ()
  proxies: int = 16
  share: float = 0.15
  proxy: asked_lib.Tuning = asked_lib.Tuning(epochs=1.0, rate=1e-4)
  samples: int = 200_000
  best_of: int = 128
  regression: Literal["auto", "lightgbm", "ridge"] = "auto"
  seed: ranges.Seed = 0
  name: str = "metarater"

  def __post_init__(self):
    check.check_types(self)
    check.require(len(self.scores) != 1, "MetaRater.scores: of one score there is nothing to weigh")
    check.require(
      self.proxies > 0 and 0 < self.share <= 1 and 0 < self.best_of <= self.samples,
      "MetaRater: proxies and best_of are above 0, share is a share above 0, best_of is at most samples",
    )

  def score(self, rows: Sequence[select_protocol.Row], ask: select_protocol.Ask | None) -> np.ndarray:
    """Weighted sums [N]; NaN where one of the scores has no number. Raises InputError without scores or targets."""
    check.require(self.scores, "MetaRater.scores is empty: name the scores that are weighed")
    model = asked_lib.of(ask)
    wanted = asked_lib.targets(model, self.name)
    signed = [one.score(rows, ask) * (1 if one.best == "high" else -1) for one in self.scores]
    none = [one.name for one, values in zip(self.scores, signed, strict=True) if not np.isfinite(values).any()]
    check.require(not none, f"score {self.name}: no row has a number of {', '.join(none)}, which it weighs")
    table = scaled(np.stack(signed, axis=1))
    found = nats_lib.fitting(model, rows)
    drawn = dirichlet(self.proxies, table.shape[1], self.seed)
    losses = np.array([self._loss(model, wanted, table, found, k, w) for k, w in enumerate(drawn)])
    return table @ weights(drawn, losses, self.samples, self.best_of, self.regression, self.seed)

  def _loss(self, model, wanted, table, found: Sequence[answers_lib.Answers | None], k: int, w: np.ndarray) -> float:
    """Mean nats of the task's answers by a proxy that was trained on what these weights select."""
    chosen = [found[i] for i in top(table @ w, self.share)]
    items = [item for one in chosen if one is not None for item in one.given]
    if not items:
      raise errors.InputError(f"score {self.name}: proxy {k} has no row to train on; raise MetaRater.share")
    tuned = model.tuned(f"{self.name}.{k}", items, self.proxy).model
    said = nats_lib.given(tuned, wanted, f"{self.name}: proxy {k}")
    tokens = np.nansum(said.tokens)
    check.require(tokens > 0, f"score {self.name}: no row of --targets renders to an answer that fits")
    return float(np.nansum(said.given) / tokens)


def scaled(values: np.ndarray) -> np.ndarray:
  """Each column [N, m] from 0 to 5, by its least and its most. A column of one value is 0."""
  low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
  return (values - low) / np.where(high > low, high - low, 1) * 5


def dirichlet(count: int, width: int, seed: int, stream: int = 0) -> np.ndarray:
  """Weights [count, width], each row from Dirichlet(1, …, 1). The first of more are those of fewer."""
  random = np.random.Generator(np.random.PCG64([seed, stream, 0xD1C]))
  gamma = random.standard_exponential((count, width))
  return gamma / gamma.sum(axis=1, keepdims=True)


def top(values: np.ndarray, share: float) -> np.ndarray:
  """The numbers of the rows of the highest values, in order; NaN is none of them."""
  there = np.flatnonzero(~np.isnan(values))
  most = max(1, round(share * len(there)))
  return np.sort(there[np.argsort(-values[there], kind="stable")[:most]])


def weights(
  drawn: np.ndarray, losses: np.ndarray, samples: int, best: int, regression: str = "auto", seed: int = 0
) -> np.ndarray:
  """The mean [m] of the draws of lowest predicted loss, of weights [n, m] and the losses [n] of their proxies."""
  predict = fitted(drawn, losses, regression, seed)
  asked = dirichlet(samples, drawn.shape[1], seed, stream=1)
  return asked[np.argsort(predict(asked), kind="stable")[:best]].mean(axis=0)


def fitted(drawn: np.ndarray, losses: np.ndarray, regression: str, seed: int) -> Callable[[np.ndarray], np.ndarray]:
  """A function of weights [·, m] that predicts losses. Raises InputError where LightGBM is asked for and not there."""
  if regression == "ridge":
    return ridge(drawn, losses)
  try:
    return _boosted(drawn, losses, seed)
  except (errors.InputError, ModuleNotFoundError):
    if regression == "lightgbm":
      raise errors.InputError("lightgbm is not installed: pip install 'itune_jax[data]', or use ridge") from None
    return ridge(drawn, losses)


def ridge(drawn: np.ndarray, losses: np.ndarray, penalty: float = 1e-3) -> Callable[[np.ndarray], np.ndarray]:
  """Ridge regression on weights, their squares and their products; the constant is not penalised."""
  upper = np.triu_indices(drawn.shape[1])
  features = lambda w: np.concatenate([w, (w[:, :, None] * w[:, None])[:, upper[0], upper[1]]], axis=1)
  x, mean = features(drawn), losses.mean()
  centre = x.mean(axis=0)
  gram = (x - centre).T @ (x - centre) / len(x)
  slope = np.linalg.solve(gram + penalty * np.eye(len(gram)), (x - centre).T @ (losses - mean) / len(x))
  return lambda w: np.concatenate([mean + (features(part) - centre) @ slope for part in _parts(w)])


def _parts(w: np.ndarray, size: int = 20_000) -> list[np.ndarray]:
  return [w[at : at + size] for at in range(0, len(w), size)]


def _boosted(drawn: np.ndarray, losses: np.ndarray, seed: int) -> Callable[[np.ndarray], np.ndarray]:
  """Boosted trees by the authors' settings: 1,000 rounds at 0.01, a fifth held out, an end after 5 rounds without gain.

  Leaves may be as small as few proxies ask for: with LightGBM's own least of 20 rows, 32 proxies could never split.
  """
  order = np.random.Generator(np.random.PCG64([seed, 0x5711])).permutation(len(drawn))
  held = order[: len(drawn) // 5]
  rest = order[len(drawn) // 5 :]
  least = max(1, min(20, len(rest) // 8))
  values: dict[str, Any] = dict(objective="regression", learning_rate=0.01, min_data_in_leaf=least, verbosity=-1)
  values |= dict(seed=seed, deterministic=True, force_row_wise=True, num_threads=1)
  data = lightgbm.Dataset(drawn[rest], losses[rest])
  checks = [lightgbm.Dataset(drawn[held], losses[held], reference=data)] if len(held) > 1 else []
  ends = [lightgbm.early_stopping(5, verbose=False)] if checks else []
  return lightgbm.train(values, data, num_boost_round=1000, valid_sets=checks, callbacks=ends).predict
