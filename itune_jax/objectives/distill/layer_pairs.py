"""Any loss, and beside it how far parts of the student's layers are from parts of a teacher's."""

import abc
from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from itune_jax.core import batch as batch_lib
from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.objectives import wrapping
from itune_jax.objectives.distill import logits
from itune_jax.objectives.distill import stretches

Shown = Mapping[tuple[str, int], Any]  # parts of layers, as `contracts.View.shown` gives them


@dataclasses.dataclass(frozen=True, kw_only=True)
class Beside(wrapping.Wrapping):
  """The sums of a loss plus weight · Σ_t w_t · distance_t, at every trained token t, of pairs of layers.

  Tokens are compared place by place, so both models read the same ones. As with `Kept`, what the sum is divided by is
  the loss's own weight. Both models run once for the loss and the distance, and such losses may stand in each other.

  objective: the loss. layers: pairs (layer of the student, of the teacher), counted from 0. weight: of the distance.
  """

  VIEW = "teacher"

  layers: Sequence[Sequence[int]]
  weight: float = 1.0

  def __post_init__(self):
    check.check_types(self)
    name = type(self).__name__
    check.require(self.weight > 0, f"{name}.weight must be positive, not {self.weight}")
    pairs = bool(self.layers) and all(len(pair) == 2 for pair in self.layers)
    check.require(pairs, f"{name}.layers = {self.layers!r}: write pairs of layers, as ((3, 7), (5, 11))")
    loss: Any = self.objective
    while isinstance(loss, Beside):
      loss = loss.objective
    apart = isinstance(loss, stretches.Stretches) or (isinstance(loss, logits.Distill) and loss.beside)
    check.require(not apart, f"{name} compares place by place: the teacher must read the student's own tokens")

  @property
  @abc.abstractmethod
  def parts(self) -> tuple[str, ...]:
    """What is read of each layer (`Ctx.shows`)."""

  @property
  @abc.abstractmethod
  def metric(self) -> str:
    """What the distance is called among the metrics."""

  @abc.abstractmethod
  def apart(self, policy: "Seen", own: Shown, other: Shown, batch: batch_lib.Batch) -> Any:
    """The distance of all pairs of layers [B, T], float32, of parts of the student and of the teacher."""

  def __call__(self, views: Mapping[str, contracts.View], batch: batch_lib.Batch, key: Any) -> contracts.Sums:
    """Sums over one micro-batch."""
    policy = Seen(views["policy"], [(part, pair[0]) for pair in self.layers for part in self.parts])
    teacher = Seen(views["teacher"], [(part, pair[1]) for pair in self.layers for part in self.parts])
    found = self.objective({**views, "policy": policy, "teacher": teacher}, batch, key)
    own, other = policy.of(batch, key), jax.lax.stop_gradient(teacher.of(batch, None))
    each_BT = self.apart(policy, own, other, batch)
    weights_BT = batch.weights_BT.astype(jnp.float32)
    total = jnp.sum(jnp.where(weights_BT != 0, weights_BT * each_BT, 0))
    distance = jax.lax.stop_gradient(total), weights_BT.sum()
    return contracts.Sums(found.loss + self.weight * total, found.weight, {**found.metrics, self.metric: distance})


class Seen(contracts.View):
  """A view that keeps what some layers showed when the loss ran it: the model runs once for both."""

  def __init__(self, inner: contracts.View, wanted: Sequence[tuple[str, int]]):
    self._inner, self._wanted, self._found = inner, wanted, None

  def context(self, batch: batch_lib.Batch, key: Any = None) -> batch_lib.Ctx:
    """The model's."""
    return self._inner.context(batch, key)

  def hidden(self, tokens_BT: Any, ctx: batch_lib.Ctx) -> tuple[Any, Any]:
    """The model's, and what its layers showed is kept."""
    found, self._found = self._inner.shown(tokens_BT, ctx, self._wanted)
    return found

  def project(self, hidden: Any, ctx: Any = None) -> Any:
    """The model's."""
    return self._inner.project(hidden, ctx)

  def beside(self, name: str) -> Any:
    """The model's."""
    return self._inner.beside(name)

  def of(self, batch: batch_lib.Batch, key: Any) -> Shown:
    """What the layers showed; the model runs here where the loss did not run it."""
    if self._found is None:
      self.hidden(batch.tokens_BT, self.context(batch, key))
    assert self._found is not None
    return self._found
