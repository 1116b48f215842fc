"""Held-out preferences: how often a model finds the preferred answer the better one, by likelihood or by reward."""

import collections
from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Any, Literal

import numpy as np

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.data import example as example_lib
from itune_jax.data import mixture
from itune_jax.data.render import chat
from itune_jax.data.render import pair_groups
from itune_jax.evals import items as items_lib
from itune_jax.grading import reward_figures
from itune_jax.grading.statistics import metrics as metrics_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preferred(contracts.Evaluation):
  """Accuracy on pairs that are not trained on; the same rendering and cuts as in training.

  by: "likelihood" compares log π of both answers, by answer and by token; "implicit" β log π/π_ref too, with the
  reference of the run, as DPO rewards; "reward" the scores of a head that scores. sources: of pairs (Source.format =
  "preference"). every: steps between two evaluations in training; 0 for none (then only `itune eval` runs it), -1 for
  one at its end. name: under which its figures stand.
  """

  sources: tuple[mixture.Source, ...]
  by: Literal["likelihood", "implicit", "reward"] = "likelihood"
  every: int = 0
  name: str = "preferred"

  def __post_init__(self):
    check.check_types(self)
    check.require(self.every >= -1, f"{self.name}: every must be a number of steps, 0 or -1, not {self.every}")
    check.require(self.sources, f"{self.name}: sources is empty")

  def bind(self, renderer: chat.Renderer, seed: int) -> "Bound":
    """The evaluator, with its pairs rendered. Raises InputError when none is left."""
    del seed
    pairs, dropped, seen = [], 0, collections.Counter[str]()
    for source in self.sources:
      for row in source.rows():
        try:
          if row.example is None:
            raise example_lib.BadRow(row.problem)
          columns = pair_groups.columns_of(row.example)
          group, _ = pair_groups.render(renderer, row.example, columns)
        except example_lib.BadRow:
          dropped += 1
          continue
        sides = []
        for item in group.items[:2]:
          first = int(np.flatnonzero(item.weights)[0])
          sides.append((item.ids[:first].tolist(), item.ids[first:].tolist()))
        name = items_lib.distinct(f"{source.name}/{row.example.id}", seen)
        pairs.append(Pair(name, items_lib.cluster_of(row.example), *sides))
    if not pairs:
      raise errors.InputError(f"{self.name}: its sources leave no pair ({dropped} rows are none)")
    return Bound(self.name, self.every, self.by, tuple(pairs), dropped)


@dataclasses.dataclass(frozen=True)
class Pair:
  """Two answers, each as (ids of its prompt, ids of the answer)."""

  id: str
  cluster: str
  chosen: tuple[list[int], list[int]]
  rejected: tuple[list[int], list[int]]


@dataclasses.dataclass(frozen=True)
class Bound(contracts.Evaluator):
  """The evaluator with its pairs."""

  name: str
  every: int
  by: str
  pairs: tuple[Pair, ...]
  dropped: int

  @property
  def metrics(self) -> Mapping[str, contracts.Better]:
    """Accuracies, and the mean margin."""
    kinds = {"likelihood": ("logp", "by_token"), "implicit": ("logp", "by_token", "rewards"), "reward": ("rewards",)}
    found: dict[str, contracts.Better] = {}
    for kind in kinds[self.by]:
      found |= {f"{self.name}/{kind}/accuracy": "higher", f"{self.name}/{kind}/margin": "higher"}
    return found

  def run(self, view: Any) -> contracts.EvalResult:
    """accuracy: share of pairs, ties one half; margin: mean difference, in nats or as scores."""
    asked = [side for pair in self.pairs for side in (pair.chosen, pair.rejected)]
    values: dict[str, np.ndarray] = {}
    if self.by == "reward":
      values["rewards"] = view.rewards([[*prompt, *answer] for prompt, answer in asked]).mean(axis=1)
    else:
      logp = np.array([score.logprob for score in view.score(asked)])
      values = {"logp": logp, "by_token": logp / np.array([len(answer) for _, answer in asked])}
    if self.by == "implicit":
      if view.reference is None:
        raise errors.InputError(f"{self.name}: by = 'implicit' compares with the reference of a run, and none is here")
      values["rewards"] = values["logp"] - np.array([score.logprob for score in view.reference.score(asked)])
    results, rows = [], [{"id": pair.id, "cluster": pair.cluster, "values": {}} for pair in self.pairs]
    for kind, each in values.items():
      chosen, rejected = each[::2], each[1::2]
      right = reward_figures.right(chosen.tolist(), rejected.tolist())
      for metric, own in ((f"{kind}/accuracy", right), (f"{kind}/margin", chosen - rejected)):
        for row, one in zip(rows, own, strict=True):
          row["values"][metric] = float(one) if math.isfinite(one) else None  # of a model that diverged
        results.append(self._result(metric, rows))
    results.append(contracts.Result(self.name, "dropped", float(self.dropped)))
    return contracts.EvalResult(results, rows)

  def _result(self, metric: str, rows: Sequence[dict[str, Any]]) -> contracts.Result:
    numbers, clusters = [row["values"][metric] for row in rows], [row["cluster"] for row in rows]
    if None in numbers:
      return contracts.Result(self.name, metric, math.nan, n=len(rows), of=len(rows) + self.dropped)
    value, low, high, n = metrics_lib.Mean()(numbers, clusters)
    return contracts.Result(self.name, metric, value, "", low, high, n, n + self.dropped)
