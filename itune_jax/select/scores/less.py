"""LESS: rows whose gradients point where those of the task do (Xia et al., ICML 2024, arXiv 2402.04333).

As `less/data_selection/` has it: a LoRA adapter is warmed up on a part of the rows; at each of its checkpoints the
gradient of every row, as Adam would step along it, and the plain gradient of every row of the task are projected by
random signs and brought to length 1; products are summed over checkpoints by their mean learning rate. Of a task with
subtasks the mean over each is taken, and the largest counts. There the number of subtasks is written down for three
benchmarks and all must be of one size; here rows say their subtask, and sizes may differ.
"""

from collections.abc import Sequence
import dataclasses
from typing import ClassVar, Literal

import numpy as np

from itune_jax.core import check
from itune_jax.core import lazy
from itune_jax.core import pack
from itune_jax.core import ranges
from itune_jax.select import select_protocol
from itune_jax.select.scores import answers as answers_lib
from itune_jax.select.scores import asked as asked_lib
from itune_jax.select.scores import length
from itune_jax.select.scores import nats as nats_lib
from itune_jax.select.scores import pooled_states

gradients = lazy.module("itune_jax.select.scores.gradients")  # of JAX, which selections without a model do without


@dataclasses.dataclass(frozen=True, kw_only=True)
class Less(select_protocol.Score):
  """Influence on the rows of --targets.

  warm_up: the training whose checkpoints give gradients. share: of the rows that it trains on, drawn by their content.
  dims: of projected gradients, a multiple of 32. batch: rows whose gradients are made together. subtask: a key of the
  rows of the task that names their subtask ("domain", "language"), "" for one task. seed: of the projection and of the
  draw. name: under which rows bear it.
  """

  needs: ClassVar[Literal["nothing", "model"]] = "model"
  apart: ClassVar[bool] = False
  warm_up: asked_lib.Tuning = asked_lib.Tuning(rank=128, alpha=512.0, rows=4, checkpoints=4)
  share: float = 0.05
  dims: int = 8192
  batch: int = 16
  subtask: str = ""
  seed: ranges.Seed = 0
  name: str = "less"

  def __post_init__(self):
    check.check_types(self)
    check.require(0 < self.share <= 1, f"Less.share = {self.share}: it is a share of the rows, above 0")
    check.require(
      self.dims > 0 and self.dims % 32 == 0 and self.batch > 0, f"Less.dims = {self.dims} is a multiple of 32"
    )

  def score(self, rows: Sequence[select_protocol.Row], ask: select_protocol.Ask | None) -> np.ndarray:
    """Influences [N]; NaN for a row without an answer that fits. Raises InputError without targets."""
    model = asked_lib.of(ask)
    wanted = asked_lib.targets(model, self.name)
    ours, theirs = nats_lib.fitting(model, rows), nats_lib.fitting(model, wanted)
    at = [i for i, one in enumerate(ours) if one is not None]
    tasks = [str(row.get(self.subtask, "")) for row, one in zip(wanted, theirs, strict=True) if one is not None]
    check.require(at and tasks, f"score {self.name}: no row, or no row of --targets, renders to an answer that fits")
    tuned = model.tuned(self.name, self._warm(rows, ours, at), self.warm_up)
    train, held = _items(ours), _items(theirs)
    rates = np.array([one.rate for one in tuned.checkpoints], np.float64)
    products = np.zeros((len(at), len(tasks)))
    for checkpoint, rate in zip(tuned.checkpoints, rates / rates.sum(), strict=True):
      found = [self._gradients(tuned.model, checkpoint, *one) for one in ((train, True), (held, False))]
      products += rate * (found[0] @ found[1].T)
    values = np.full(len(rows), np.nan)
    values[at] = over_subtasks(products, tasks)
    return values

  def _warm(self, rows, ours, at: Sequence[int]) -> list[pack.Item]:
    """The items of the share of rows with the lowest draw."""
    drawn = length.Random(seed=self.seed).score([rows[i] for i in at], None)
    some = np.sort(np.argsort(drawn, kind="stable")[: max(1, round(self.share * len(at)))])
    return [item for k in some for item in ours[at[k]].given]

  def _gradients(self, model: asked_lib.Asked, checkpoint: asked_lib.Checkpoint, examples, adam: bool) -> np.ndarray:
    told = model.progress(f"{self.name}: {'rows' if adam else 'targets'}", len(examples)).engine
    frozen = {name: value for name, value in told.params.items() if name not in checkpoint.params}
    moments = gradients.Moments(checkpoint.first, checkpoint.second) if adam else None
    how = dict(dims=self.dims, seed=self.seed, moments=moments, size=self.batch, put=told.put, progress=told.progress)
    return pooled_states.unit(gradients.projected(told.bind, checkpoint.params, frozen, examples, **how))


def over_subtasks(products: np.ndarray, tasks: Sequence[str]) -> np.ndarray:
  """The largest over subtasks of the mean over the rows of each: [N] of products [N, M]."""
  names = np.array(tasks)
  return np.stack([products[:, names == name].mean(axis=1) for name in sorted(set(tasks))]).max(axis=0)


def _items(found: Sequence[answers_lib.Answers | None]) -> list[tuple[pack.Item, ...]]:
  return [one.given for one in found if one is not None]
