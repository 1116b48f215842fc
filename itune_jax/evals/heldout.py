"""Held-out loss and token accuracy, per source, on packed rows."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import pack
from itune_jax.data.render import chat
from itune_jax.data import example as example_lib
from itune_jax.data import mixture


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeldOut:
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


@dataclasses.dataclass(frozen=True)
class Bound(contracts.Evaluator):
  """The evaluator with its rows."""

  name: str
  every: int
  rendered: dict[str, list[pack.Item]]
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
    """loss: nats a trained token; accuracy: share of trained tokens that are the argmax. Rows are the sources."""
    results, rows = [], []
    for source, items in self.rendered.items():
      packed = pack.best_fit_decreasing([len(item.ids) - 1 for item in items], self.row_length)
      packed += [[]] * (-len(packed) % self.rows)
      batches = (
        pack.fill([[items[i] for i in row] for row in packed[at : at + self.rows]], self.row_length)
        for at in range(0, len(packed), self.rows)
      )
      sums = view.totals(batches)
      row = {
        "id": source,
        "cluster": source,
        "loss": sums["nll"] / sums["weight"],
        "accuracy": sums["correct"] / sums["tokens"],
        "tokens": sums["tokens"],
        "dropped": self.dropped[source],
      }
      rows.append(row)
      results += [contracts.Result(self.name, m, float(row[m]), source) for m in ("loss", "accuracy", "dropped")]
    total = sum(row["tokens"] for row in rows)
    loss = sum(row["loss"] * row["tokens"] for row in rows) / total
    return contracts.EvalResult([*results, contracts.Result(self.name, "loss", loss)], rows)


def _render(source, renderer, row_length):
  """Rendered rows that fit, and how many rows of the source do not render or fit."""
  found, dropped = [], 0
  for row in source.rows():
    try:
      rendered = renderer.render(row.example) if row.example else []
    except example_lib.BadRow:
      rendered = []
    fitting = [renderer.item(r) for r in rendered if len(r.ids) - 1 <= row_length]
    found += fitting
    dropped += not fitting
  return found, dropped
