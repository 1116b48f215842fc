"""What taps hand to an adapter's `post(x, y, w, ctx)`, and what it gives back in y's place.

Most taps pass one activation as y, and what it was computed from as x: `attn_out` and `mlp_out` [B, T, D] with the
block's input [B, T, D] as x, `tap_out` [B, T, D] without. The tap `positions` passes the positions [B, T], int32. The
tap `lead` passes nothing: an adapter gives embeddings [P, D] of learned tokens in front. Two taps pass several at once:

| tap | x | y |
|---|---|---|
| `mix` of attention | `Queries` | `Attended` |
| `mix` of a gated feed-forward block | `GateAndUp` | `DownInput` |
"""

from collections.abc import Callable
from typing import Any, NamedTuple


class Queries(NamedTuple):
  """The rotated queries [B, T, N, H] of attention, and how they attend (what `attention.kernels` calls its options).

  scale: of the scores. softcap: scores become c·tanh(score/c), 0 for none. window: positions that a query sees, itself
  included; None for all.
  """

  q_BTNH: Any
  scale: float
  softcap: float
  window: Any


class Attended(NamedTuple):
  """The output of attention [B, T, N, H], and its log-sum-exp [B, T, N], float32, by which partial results merge."""

  out_BTNH: Any
  lse_BTN: Any


class GateAndUp(NamedTuple):
  """The input [B, T, D] of a gated feed-forward block, its gate and up [B, T, F], and the gate's activation."""

  x_BTD: Any
  gate_BTF: Any
  up_BTF: Any
  activation: Callable[[Any], Any]


class DownInput(NamedTuple):
  """The input [B, T, F] of a block's last projection, and what is added to its output [B, T, D]; None for nothing."""

  h_BTF: Any
  beside_BTD: Any
