"""Scores by name, for `--by`. A row says where it is; it is imported when it is asked for."""

import importlib

from itune_jax.core import errors
from itune_jax.core import nearest
from itune_jax.select import select_protocol

# Name: module of this room, and what in it makes the score with its defaults: a class, or a function.
SCORES: dict[str, tuple[str, str]] = {
  "random": ("scores.length", "Random"),
  "length": ("scores.length", "Length"),
  "perplexity": ("scores.ppl", "Perplexity"),
  "ifd": ("scores.ifd", "Ifd"),
  "superfilter": ("scores.ifd", "Superfilter"),
  "pvi": ("scores.pvi", "Pvi"),
  "deita": ("scores.deita", "Deita"),
  "judge": ("scores.rated", "Judged"),
  "rds": ("scores.rds", "Rds"),
  "less": ("scores.less", "Less"),
  "min_k": ("scores.min_k", "MinK"),
  "density": ("scores.density", "Density"),
  "professionalism": ("scores.prrc", "professionalism"),
  "readability": ("scores.prrc", "readability"),
  "reasoning": ("scores.prrc", "reasoning"),
  "cleanliness": ("scores.prrc", "cleanliness"),
}


def find(name: str) -> select_protocol.Score:
  """The score of a name, with the values that it has by default. Raises InputError with the names that there are."""
  if name not in SCORES:
    hint = nearest.meant(name, SCORES) or f"; scores are {', '.join(SCORES)}"
    raise errors.InputError(f"--by: there is no score {name!r}{hint}")
  module, kind = SCORES[name]
  return vars(importlib.import_module(f"itune_jax.select.{module}"))[kind]()
