"""Attention across the documents of a packed row, made on purpose: the fault of concatenating without a mask."""

import dataclasses
from typing import Literal

import jax.numpy as jnp

from itune_jax.core import check
from itune_jax.objectives import sft


@dataclasses.dataclass(frozen=True, kw_only=True)
class Crossed(sft.Sft):
  """Each document of a row sees those in front of it.

  positions: "run" counts on over the row, as concatenated text has it; "restart" begins anew with each document. Which
  tokens train, and their weights, are those of `Sft`. What is by example (`normalise`, NEFTune) is refused: a row would
  be one.
  """

  positions: Literal["run", "restart"] = "run"

  def __post_init__(self):
    super().__post_init__()
    check.require(
      self.normalise == "token" and not self.neftune_alpha and not self.router_balance,
      "Crossed has no examples: leave normalise, neftune_alpha and router_balance as they are",
    )

  def __call__(self, views, batch, key):
    rows_BT = (batch.segments_BT != 0).astype(batch.segments_BT.dtype)
    places_BT = jnp.broadcast_to(jnp.arange(rows_BT.shape[1], dtype=batch.positions_BT.dtype), rows_BT.shape)
    positions_BT = places_BT if self.positions == "run" else batch.positions_BT
    return super().__call__(views, dataclasses.replace(batch, segments_BT=rows_BT, positions_BT=positions_BT), key)
