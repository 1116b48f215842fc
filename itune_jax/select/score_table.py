"""Scores by name, for `--by`. A row is where the class is; it is imported when it is asked for."""

import importlib

from itune_jax.core import errors
from itune_jax.core import nearest
from itune_jax.select import select_protocol

# Name: module of this room, and the class in it, which is made with its defaults.
SCORES: dict[str, tuple[str, str]] = {}


def find(name: str) -> select_protocol.Score:
  """The score of a name, with the values that it has by default. Raises InputError with the names that there are."""
  if name not in SCORES:
    hint = nearest.meant(name, SCORES) or f"; scores are {', '.join(SCORES)}"
    raise errors.InputError(f"--by: there is no score {name!r}{hint}")
  module, kind = SCORES[name]
  return vars(importlib.import_module(f"itune_jax.select.{module}"))[kind]()
