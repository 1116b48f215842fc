"""The table of methods: one row each. Checkpoints name them by these names."""

import dataclasses
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
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

METHODS = {
  "AdaLora": adalora.AdaLora,
  "Boft": boft.Boft,
  "Bottleneck": bottleneck.Bottleneck,
  "C3a": c3a.C3a,
  "Delora": delora.Delora,
  "FourierFT": fourierft.FourierFT,
  "Full": full.Full,
  "Gralora": gralora.Gralora,
  "Hira": hira.Hira,
  "Hra": hra.Hra,
  "Ia3": ia3.Ia3,
  "Loha": loha.Loha,
  "Lokr": lokr.Lokr,
  "Lora": lora.Lora,
  "Miss": miss.Miss,
  "MixLora": mixlora.MixLora,
  "Mode": mode.Mode,
  "Mora": mora.Mora,
  "Oft": oft.Oft,
  "Prefix": prefix.Prefix,
  "Prompt": prompt.Prompt,
  "RandLora": randlora.RandLora,
  "Reft": reft.Reft,
  "Road": road.Road,
  "Routed": routed.Routed,
  "Shira": shira.Shira,
  "Tokens": tokens.Tokens,
  "VbLora": vblora.VbLora,
  "Vera": vera.Vera,
}


def to_json(method: Any) -> dict[str, Any]:
  """A method as data."""
  return {"type": type(method).__name__, **dataclasses.asdict(method)}


def from_json(data: dict[str, Any]) -> Any:
  """The method again. Raises InputError for an unknown type."""
  fields = dict(data)
  kind = fields.pop("type", None)
  if kind not in METHODS:
    raise errors.InputError(f"unknown method {kind!r}; methods are {', '.join(METHODS)}")
  return check.rebuild(METHODS[kind], fields)
