"""The contract table: a row here is what adding a method takes.

A model of two layers, D=16: q and o are 16 x 16, k and v 16 x 8, gate and up 16 x 32, down 32 x 16.
"""

import dataclasses
from typing import Any

from itune_jax.peft.methods import adalora
from itune_jax.peft.methods import boft
from itune_jax.peft.methods import bottleneck
from itune_jax.peft.methods import c3a
from itune_jax.peft.methods import delora
from itune_jax.peft.methods import fourierft
from itune_jax.peft.methods import full
from itune_jax.peft.methods import gralora
from itune_jax.peft.methods import hira
from itune_jax.peft.methods import hra
from itune_jax.peft.methods import ia3
from itune_jax.peft.methods import loha
from itune_jax.peft.methods import lokr
from itune_jax.peft.methods import lora
from itune_jax.peft.methods import miss
from itune_jax.peft.methods import mixlora
from itune_jax.peft.methods import mode
from itune_jax.peft.methods import mora
from itune_jax.peft.methods import oft
from itune_jax.peft.methods import prefix
from itune_jax.peft.methods import prompt
from itune_jax.peft.methods import randlora
from itune_jax.peft.methods import reft
from itune_jax.peft.methods import road
from itune_jax.peft.methods import routed
from itune_jax.peft.methods import shira
from itune_jax.peft.methods import tokens
from itune_jax.peft.methods import vblora
from itune_jax.peft.methods import vera

R = 4
S = r"blocks/\d+/(attn/(q|v)|mlp/down)"
IN, OUT = 16 + 16 + 32, 16 + 8 + 16  # of the three matrices of S


@dataclasses.dataclass(frozen=True)
class Row:
  """A method (or several), its trainable parameters, and what does not hold of it.

  start: how far the model may be from its base at first; None where the method says that it is another.
  """

  methods: Any
  count: int
  start: float | None = 0.0
  merges: bool = True


TABLE = {
  "full": Row(full.Full(), 64 * 16 + 16 + 2 * (2 * 16 + 2 * 16 * 16 + 2 * 16 * 8 + 3 * 16 * 32)),
  "partial": Row(full.Full(params=r"blocks/.*_norm/scale"), 2 * 2 * 16),
  "lora": Row(lora.Lora(rank=R), 2 * R * (2 * 32 + 2 * 24 + 3 * 48)),
  "rslora": Row(lora.Lora(rank=R, alpha=3.0, rslora=True, sites=r"blocks/\d+/attn/q"), 2 * R * 32),
  # Lengths take their root in another program than the one that divides by them.
  "dora": Row(lora.Lora(rank=R, dora=True), 2 * (R * (2 * 32 + 2 * 24 + 3 * 48) + 16 + 2 * 8 + 16 + 2 * 32 + 16), 2e-6),
  "some dora": Row(
    lora.Lora(rank=R, dora=True, rank_pattern={r".*/q": 2}, sites=r"blocks/(1/attn/o|./attn/q)"),
    2 * (2 * 32 + R * 32 // 2 * 2 + 2 * 16),
    2e-6,
  ),
  "patterns": Row(
    lora.Lora(rank=R, rank_pattern={r"blocks/1/.*": 2}, alpha_pattern={r".*/q": 1.0}, sites=r"blocks/\d+/attn/(q|o)"),
    2 * 2 * R * 32,
  ),
  "lora bias": Row(lora.Lora(rank=R, lora_bias=True, sites=S), 2 * (R * (IN + OUT) + OUT), merges=False),
  "pissa": Row(lora.Lora(rank=R, init="pissa", sites=S), 2 * R * (IN + OUT), 5e-6),
  "olora": Row(lora.Lora(rank=R, init="olora", sites=S), 2 * R * (IN + OUT), 5e-6),
  "orthogonal": Row(lora.Lora(rank=R, init="orthogonal", sites=S), 2 * R * (IN + OUT), 2e-6),
  "gaussian": Row(lora.Lora(rank=R, init="gaussian", sites=S), 2 * R * (IN + OUT)),
  "embedding": Row(lora.Lora(rank=R, sites="embed"), R * (64 + 16), merges=False),  # its table is tied
  "adalora": Row(adalora.AdaLora(rank=R, target=2, sites=S), 2 * (R * (IN + OUT) + 3 * R)),
  "houlsby": Row(bottleneck.Bottleneck(width=4), 2 * 2 * (2 * 16 * 4 + 4 + 16), merges=False),
  "parallel": Row(
    bottleneck.Bottleneck(width=4, placement="parallel", sites=bottleneck.PFEIFFER),
    2 * (2 * 16 * 4 + 4 + 16),
    merges=False,
  ),
  "loreft": Row(reft.Reft(rank=R), 2 * (2 * 16 * R + R), 5e-6, merges=False),
  "direft": Row(reft.Reft(rank=R, direct=True, first=2, last=1), 2 * (2 * 16 * R + R), merges=False),
  "tokens": Row(tokens.Tokens(ids=(3, 60)), 2 * 16, 2e-6),
  "lora+tokens": Row((lora.Lora(rank=R), tokens.Tokens(ids=(3, 60))), 2 * R * (2 * 32 + 2 * 24 + 3 * 48) + 32, 2e-6),
  "lora+norms": Row(
    (lora.Lora(rank=R, sites=S), full.Full(params=r"norm/scale|blocks/.*norm/scale")), 2 * R * (IN + OUT) + 16 * 5
  ),
  "one layer": Row(lora.Lora(rank=R, sites=r"blocks/1/mlp/down"), 2 * R * 48),
  "ia3": Row(ia3.Ia3(), 2 * (8 + 8 + 32)),
  "ia3 one layer": Row(ia3.Ia3(sites=r"blocks/1/attn/v"), 2 * 8),
  "vera": Row(vera.Vera(rank=8, sites=S), 2 * (3 * 8 + OUT)),
  "loha": Row(loha.Loha(rank=R, sites=S, rank_pattern={r"blocks/1/.*": 2}), 2 * 2 * R * (IN + OUT)),
  "lokr": Row(lokr.Lokr(rank=2, sites=S), 2 * ((16 + 16) + (8 + 16) + (16 + 2 * 12))),
  "lokr both": Row(lokr.Lokr(rank=1, both=True, sites=S), 2 * ((8 + 8) + (6 + 8) + (8 + 12))),
  "hira": Row(hira.Hira(rank=R, sites=S), 2 * R * (IN + OUT)),
  "oft": Row(oft.Oft(block_size=8, sites=S), 2 * IN // 8 * 28),
  "oft exact": Row(oft.Oft(block_size=8, terms=0, share=True, sites=S), 2 * 3 * 28),
  "boft": Row(boft.Boft(sites=S), 2 * (IN * 4 + OUT)),
  "boft twice": Row(boft.Boft(factors=2, sites=S), 2 * (2 * IN * 4 + OUT), 5e-6),
  "hra": Row(hra.Hra(rank=R, sites=S), 2 * R * IN, 5e-6),
  "hra orthogonal": Row(hra.Hra(rank=R, orthogonal=True, sites=S), 2 * R * IN, None),
  "miss": Row(miss.Miss(rank=7, sites=S), 2 * 7 * OUT),
  "miss mini": Row(miss.Miss(rank=8, mini=4, sites=S), 2 * 3 * 8 * 4),
  "miss bat": Row(miss.Miss(rank=8, bat=True, sites=S), 2 * 8 * OUT),
  "randlora": Row(randlora.RandLora(rank=R, alpha=8.0, sites=S), 2 * ((16 + 64) + (8 + 16) + (16 + 64))),
  "shira": Row(shira.Shira(rank=2, sites=S), 2 * 2 * (IN + OUT)),
  "c3a": Row(c3a.C3a(block=8, sites=S), 2 * (2 * 2 + 2 + 2 * 4) * 8),
  "road_1": Row(road.Road(group=8, sites=S), 2 * OUT),
  "road_4": Row(road.Road(variant="road_4", group=8, sites=S), 2 * 4 * OUT),
  "routed": Row(routed.Routed(experts=3, rank=2, sites=S), 2 * (3 * 2 * (IN + OUT) + 3 * IN), merges=False),
  "routed all": Row(routed.Routed(experts=2, rank=2, top=0, sites=S), 2 * (2 * 2 * (IN + OUT) + 2 * IN), merges=False),
  "mixlora": Row(
    mixlora.MixLora(experts=3, rank=2), 2 * (16 * 3 + 2 * (16 * 6 + 6 * 32) + 32 * 6 + 6 * 16), 2e-6, merges=False
  ),
  "delora": Row(delora.Delora(rank=R, sites=S), 2 * (R * (IN + OUT) + 3)),
  "gralora": Row(gralora.Gralora(rank=R, hybrid=2, sites=S), 2 * (R + 2) * (IN + OUT)),
  "vblora": Row(vblora.VbLora(rank=R, vectors=16, length=8, sites=S), 2 * R * (IN + OUT) // 8 * 16 + 16 * 8, None),
  "fourierft": Row(fourierft.FourierFT(coefficients=20, sites=S), 2 * 3 * 20),
  "mora": Row(mora.Mora(rank=2, sites=S), 2 * (8 * 8 + 6 * 6 + 10 * 10)),
  "mode": Row(mode.Mode(rank=R), 2 * 3 * R + 2 * 16 * R + R**3),
  "prefix": Row(prefix.Prefix(count=3, scale=1.0), 2 * 2 * 3 * 8, None, merges=False),
  "prefix mlp": Row(prefix.Prefix(count=3, hidden=6), 3 * 6 + 36 + 6 + 2 * (6 * 16 + 16), None, merges=False),
  "prompt": Row(prompt.Prompt(count=3, scale=1.0), 3 * 16, None, merges=False),
  "p-tuning": Row(prompt.Prompt(count=3, hidden=6), 3 * 16 + 16 * 6 + 6 + 36 + 6 + 6 * 16 + 16, None, merges=False),
}


# Other settings of methods that have a row already: these run under `full`.
VARIANTS = (
  "rslora", "some dora", "olora", "orthogonal", "gaussian", "tokens", "ia3 one layer", "lokr both", "oft exact",
  "boft twice", "hra orthogonal", "miss mini", "miss bat", "routed all", "road_4", "parallel", "direft",
  "prefix mlp", "p-tuning",
)  # fmt: skip


def methods_of(name: str) -> tuple[Any, ...]:
  """The methods of a row."""
  given = TABLE[name].methods
  return given if isinstance(given, tuple) else (given,)
