"""Any loss, and how far the student's hidden states are from a teacher's behind a learned projection."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp

from itune_jax.core import batch as batch_lib
from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.objectives.distill import logits
from itune_jax.objectives.distill import stretches


@dataclasses.dataclass(frozen=True, kw_only=True)
class States(contracts.Objective):
  """The sums of a loss plus weight · Σ_pairs Σ w · distance of projected student and teacher at every trained token.

  The distance is the mean over the teacher's width of (h W - t)² (FitNets' hint, Romero et al. 2015, and the hidden
  states of TinyBERT, Jiao et al. 2020), or 1 - cosine. W is the `Regressor` of PEFT; without one both widths are the
  same. Tokens are compared place by place, so both models read the same ones. As with `Kept`, what the sum is divided
  by is the loss's own weight.

  objective: the loss. layers: pairs (layer of the student, of the teacher), counted from 0. weight: of the distance.
  distance: "mse" or "cosine". regressor: the name of the method that holds the projections, "" for none.
  """

  objective: contracts.Objective
  layers: Sequence[Sequence[int]]
  weight: float = 1.0
  distance: Literal["mse", "cosine"] = "mse"
  regressor: str = "regressor"

  def __post_init__(self):
    check.check_types(self)
    check.require(self.weight > 0, f"States.weight must be positive, not {self.weight}")
    pairs = bool(self.layers) and all(len(pair) == 2 for pair in self.layers)
    check.require(pairs, f"States.layers = {self.layers!r}: write pairs of layers, as ((3, 7), (5, 11))")
    apart = isinstance(self.objective, stretches.Stretches) or (
      isinstance(self.objective, logits.Distill) and self.objective.beside
    )
    check.require(not apart, "States compares place by place: the teacher must read the student's own tokens")

  @property
  def needs(self) -> tuple[str, ...]:
    """What the loss needs, and the teacher."""
    return tuple(dict.fromkeys((*self.objective.needs, "teacher")))

  @property
  def columns(self) -> tuple[batch_lib.Column, ...]:
    """Those of the loss."""
    return self.objective.columns

  @property
  def couples_batch(self) -> bool:
    """Whether the loss does."""
    return self.objective.couples_batch

  @property
  def starts_at(self) -> Mapping[str, float]:
    """What the loss starts at."""
    return self.objective.starts_at

  @property
  def remembers(self) -> Mapping[str, float]:
    """What the loss does."""
    return self.objective.remembers

  def remember(self, memory: Mapping[str, Any], metrics: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    """As the loss does."""
    return self.objective.remember(memory, metrics)

  def __call__(self, views: Mapping[str, contracts.View], batch: batch_lib.Batch, key: Any) -> contracts.Sums:
    """Sums over one micro-batch."""
    policy = _Seen(views["policy"], [own for own, _ in self.layers])
    teacher = _Seen(views["teacher"], [other for _, other in self.layers])
    found = self.objective({**views, "policy": policy, "teacher": teacher}, batch, key)
    own_KBTD = policy.of(batch, key).astype(jnp.float32)
    other_KBTD = jax.lax.stop_gradient(teacher.of(batch, None)).astype(jnp.float32)
    if self.regressor:
      w_KDE = policy.beside(f"{self.regressor}_w")
      check.require(
        (w_KDE.shape[0], w_KDE.shape[2]) == (len(self.layers), other_KBTD.shape[-1]),
        f"Regressor has {w_KDE.shape[0]} projections to {w_KDE.shape[2]} numbers; States.layers has {len(self.layers)} "
        f"pairs, the teacher {other_KBTD.shape[-1]} numbers",
      )
      own_KBTD = jnp.einsum("kbtd,kde->kbte", own_KBTD, w_KDE.astype(jnp.float32))
    check.require(
      own_KBTD.shape == other_KBTD.shape,
      f"the student's states have {own_KBTD.shape[-1]} numbers, the teacher's {other_KBTD.shape[-1]}: add a Regressor",
    )
    each_BT = jnp.sum(self.of(own_KBTD, other_KBTD), axis=0)
    weights_BT = batch.weights_BT.astype(jnp.float32)
    total = jnp.sum(jnp.where(weights_BT != 0, weights_BT * each_BT, 0))
    states = jax.lax.stop_gradient(total), weights_BT.sum()
    return contracts.Sums(found.loss + self.weight * total, found.weight, {**found.metrics, "states": states})

  def of(self, own, other):
    """The distance of vectors [..., D]."""
    if self.distance == "mse":
      return jnp.mean((own - other) ** 2, axis=-1)
    size = lambda x: jnp.sqrt(jnp.sum(x**2, axis=-1) + 1e-12)
    return 1 - jnp.sum(own * other, axis=-1) / (size(own) * size(other))


class _Seen(contracts.View):
  """A view that keeps what some layers gave when the loss ran it: the model runs once for both."""

  def __init__(self, inner: contracts.View, layers: Sequence[int]):
    self._inner, self._layers, self._states = inner, layers, None

  def context(self, batch: batch_lib.Batch, key: Any = None) -> batch_lib.Ctx:
    """The model's."""
    return self._inner.context(batch, key)

  def hidden(self, tokens_BT: Any, ctx: batch_lib.Ctx) -> tuple[Any, Any]:
    """The model's, its layers kept."""
    found, self._states = self._inner.states(tokens_BT, ctx, self._layers)
    return found

  def project(self, hidden: Any, ctx: Any = None) -> Any:
    """The model's."""
    return self._inner.project(hidden, ctx)

  def beside(self, name: str) -> Any:
    """The model's."""
    return self._inner.beside(name)

  def of(self, batch: batch_lib.Batch, key: Any) -> Any:
    """What the layers gave [K, B, T, D]; the model runs here where the loss did not run it."""
    if self._states is None:
      self.hidden(batch.tokens_BT, self.context(batch, key))
    return self._states
