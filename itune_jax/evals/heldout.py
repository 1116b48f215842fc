"""Held-out loss and token accuracy, per source, on packed rows."""

import collections
from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import pack
from itune_jax.data.render import chat
from itune_jax.data import example as example_lib
from itune_jax.data import mixture
from itune_jax.evals import items as items_lib
from itune_jax.grading.statistics import metrics as metrics_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeldOut(contracts.Evaluation):
  """Loss on sources that are not trained on; the same rendering and masks as in training.

  sources: what the loss is taken over. row_length: positions of a packed row. rows: packed rows that run together.
  every: steps between two evaluations in training; 0 for none (then only `itune eval` runs it), -1 for one at its end.
  name: under which its figures stand.
  """

  sources: tuple[mixture.Source, ...]
  row_length: int = 1024
  rows: int = 2
  every: int = 0
  name: str = "heldout"

  def __post_init__(self):
    check.check_types(self)
    check.require(self.every >= -1, f"{self.name}: every must be a number of steps, 0 or -1, not {self.every}")

  def bind(self, renderer: chat.Renderer, seed: int) -> "Bound":
    """The evaluator, with its rows rendered. Raises InputError when a source leaves none."""
    del seed
    rendered, dropped = {}, {}
    for source in self.sources:
      rendered[source.name], dropped[source.name] = _render(source, renderer, self.row_length)
      if not rendered[source.name]:
        raise errors.InputError(f"{self.name}: source {source.name} ({source.path}) leaves no row")
    return Bound(self.name, self.every, rendered, dropped, self.row_length, self.rows)


class Row(NamedTuple):
  """A rendered row: its id, what it is drawn together with, and what is scored."""

  id: str
  cluster: str
  item: pack.Item


_METRICS = {"loss": metrics_lib.MicroMean("lower"), "accuracy": metrics_lib.MicroMean()}


@dataclasses.dataclass(frozen=True)
class Bound(contracts.Evaluator):
  """The evaluator with its rows, by source."""

  name: str
  every: int
  rendered: dict[str, list[Row]]
  dropped: dict[str, int]
  row_length: int
  rows: int

  @property
  def metrics(self) -> Mapping[str, contracts.Better]:
    """The loss over all sources, and of each."""
    found: dict[str, contracts.Better] = {f"{self.name}/loss": "lower"}
    for source in self.rendered:
      found |= {f"{self.name}/{source}/loss": "lower", f"{self.name}/{source}/accuracy": "higher"}
    return found

  def run(self, view: Any) -> contracts.EvalResult:
    """loss: nats a trained token; accuracy: share of trained tokens that are the argmax. Intervals are over rows. A
    row's values are (Σ weight · nats, Σ weight) and (right, trained) tokens."""
    results, rows = [], []
    for source, given in self.rendered.items():
      own = [self._row(source, row, found) for row, found in zip(given, self._sums(view, given), strict=True)]
      results += [self._result(own, metric, source, self.dropped[source]) for metric in _METRICS]
      results.append(contracts.Result(self.name, "dropped", float(self.dropped[source]), source))
      rows += own
    results.append(self._result(rows, "loss", "", sum(self.dropped.values())))
    return contracts.EvalResult(results, rows)

  def _sums(self, view: Any, given: Sequence[Row]) -> np.ndarray:
    """Σ weight · nats, Σ weight, right and trained tokens [N, 4] of each row."""
    items, sums_NF = [row.item for row in given], np.zeros((len(given), 4))
    packed = pack.best_fit_decreasing([len(item.ids) - 1 for item in items], self.row_length)
    packed += [[]] * (-len(packed) % self.rows)
    for at in range(0, len(packed), self.rows):
      members = packed[at : at + self.rows]
      batch = pack.fill([[items[i] for i in row] for row in members], self.row_length)
      nll_BT, hit_BT = view.token_losses(batch)
      for b, row in enumerate(members):
        for segment, i in enumerate(row, 1):
          weights = np.where(batch.segments_BT[b] == segment, batch.weights_BT[b], 0).astype(np.float64)
          trained = weights != 0
          sums_NF[i] = (weights @ nll_BT[b], weights.sum(), hit_BT[b][trained].sum(), trained.sum())
    return sums_NF

  def _row(self, source: str, row: Row, sums_F: np.ndarray) -> dict[str, Any]:
    nats, weight, right, trained = sums_F.tolist()
    # Of a model that diverged there is no loss to be compared row by row.
    values = {"loss": [nats, weight] if math.isfinite(nats) else None, "accuracy": [right, trained]}
    return {"id": row.id, "cluster": row.cluster, "tags": {"source": source}, "values": values}

  def _result(self, rows: Sequence[dict[str, Any]], metric: str, tag: str, dropped: int) -> contracts.Result:
    values, clusters = [row["values"][metric] for row in rows], [row["cluster"] for row in rows]
    if None in values:
      return contracts.Result(self.name, metric, math.nan, tag, n=len(rows), of=len(rows) + dropped)
    value, low, high, n = _METRICS[metric](values, clusters)
    return contracts.Result(self.name, metric, value, tag, low, high, n, n + dropped)


def _render(source, renderer, row_length) -> tuple[list[Row], int]:
  """Rendered rows that fit, and how many rows of the source do not render or fit."""
  found, dropped, seen = [], 0, collections.Counter[str]()
  for row in source.rows():
    try:
      rendered = renderer.render(row.example) if row.example else []
    except example_lib.BadRow:
      rendered = []
    fitting = [renderer.item(r) for r in rendered if len(r.ids) - 1 <= row_length]
    for item in fitting:  # of a row whose turns stand by themselves there are several
      name = items_lib.distinct(f"{source.name}/{row.example.id}", seen)
      found.append(Row(name, items_lib.cluster_of(row.example), item))
    dropped += not fitting
  return found, dropped
