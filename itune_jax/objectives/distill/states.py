"""Any loss, and how far the student's hidden states are from a teacher's behind a learned projection."""

import dataclasses
from typing import Any, Literal

import jax.numpy as jnp

from itune_jax.core import batch as batch_lib
from itune_jax.core import check
from itune_jax.objectives.distill import layer_pairs


@dataclasses.dataclass(frozen=True, kw_only=True)
class States(layer_pairs.Beside):
  """The sums of a loss plus weight · Σ_pairs Σ w · distance of projected student and teacher at every trained token.

  The distance is the mean over the teacher's width of (h W - t)² (FitNets' hint, Romero et al. 2015, and the hidden
  states of TinyBERT, Jiao et al. 2020), or 1 - cosine. W is the `Regressor` of PEFT; without one both widths are the
  same. Tokens are compared place by place, so both models read the same ones. As with `Kept`, what the sum is divided
  by is the loss's own weight.

  objective: the loss. layers: pairs (layer of the student, of the teacher), counted from 0. weight: of the distance.
  distance: "mse" or "cosine". regressor: the name of the method that holds the projections, "" for none.
  """

  distance: Literal["mse", "cosine"] = "mse"
  regressor: str = "regressor"

  @property
  def parts(self) -> tuple[str, ...]:
    """What a layer gives."""
    return ("out",)

  @property
  def metric(self) -> str:
    """The distance."""
    return "states"

  def apart(self, policy: layer_pairs.Seen, own: Any, other: Any, batch: batch_lib.Batch) -> Any:
    """The distance of all pairs of layers [B, T]."""
    own_KBTD = jnp.stack([own["out", layer] for layer, _ in self.layers]).astype(jnp.float32)
    other_KBTD = jnp.stack([other["out", layer] for _, layer in self.layers]).astype(jnp.float32)
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
    return jnp.sum(self.of(own_KBTD, other_KBTD), axis=0)

  def of(self, own, other):
    """The distance of vectors [..., D]."""
    if self.distance == "mse":
      return jnp.mean((own - other) ** 2, axis=-1)
    size = lambda x: jnp.sqrt(jnp.sum(x**2, axis=-1) + 1e-12)
    return 1 - jnp.sum(own * other, axis=-1) / (size(own) * size(other))
