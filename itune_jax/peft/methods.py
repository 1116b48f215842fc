"""The table of methods: one row each. Checkpoints name them by these names."""

import dataclasses
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.peft import full
from itune_jax.peft import lora
from itune_jax.peft import tokens

METHODS = {"Lora": lora.Lora, "Full": full.Full, "Tokens": tokens.Tokens}


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
