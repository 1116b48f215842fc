"""What chance, the longest rows, and RDS+ would have taken in a selection's place: reported beside every other choice.

At scale most selections do no better than these (Ivison et al. 2025, arXiv 2503.01807; Diddee & Ippolito 2024, arXiv
2410.09335), so that a score without them beside it says little.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from itune_jax.core import errors
from itune_jax.select import select_protocol
from itune_jax.select.scores import asked as asked_lib
from itune_jax.select.scores import length
from itune_jax.select.scores import rds

NAMES = ("random", "longest", "rds")


def chosen(
  rows: Sequence[select_protocol.Row],
  kept: np.ndarray,
  seed: int,
  ask: select_protocol.Ask | None,
  budget: select_protocol.Budget,
  known: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray | str]:
  """Rows by number [n], in the order of the rows, of each baseline: as many rows, or tokens, as were kept; or why there
  are none. known: scores that are made already, by name."""
  worths: dict[str, np.ndarray | str] = {
    "random": length.Random(seed=seed).score(rows, None),
    "longest": known["length"] if "length" in known else length.Length().score(rows, None),
    "rds": _rds(rows, ask, known),
  }
  return {name: one if isinstance(one, str) else _top(one, rows, kept, ask, budget) for name, one in worths.items()}


def report(
  taken: Mapping[str, np.ndarray | str], kept: np.ndarray, found: Mapping[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
  """Of each baseline: its rows, the share of them that were kept, and its mean of each score; first the same of the
  selection itself."""
  told: dict[str, dict[str, Any]] = {"selection": _figures(kept, kept, found)}
  for name, own in taken.items():
    told[name] = {"not_made": own} if isinstance(own, str) else _figures(own, kept, found)
  return told


def _rds(rows, ask, known: Mapping[str, np.ndarray]) -> np.ndarray | str:
  if "rds" in known:
    return known["rds"]
  if not isinstance(ask, asked_lib.Asked) or not ask.targets:
    return "it needs a model and rows of the task: --base and --targets"
  try:
    return rds.Rds().score(rows, ask)
  except errors.InputError as e:
    return str(e)


def _top(worth: np.ndarray, rows, kept: np.ndarray, ask, budget: select_protocol.Budget) -> np.ndarray:
  there = np.flatnonzero(~np.isnan(worth))
  order = there[np.argsort(-worth[there], kind="stable")]
  if budget.tokens and ask is not None:
    lengths = np.cumsum(ask.tokens([rows[int(i)] for i in order]))
    return np.sort(order[: int(np.searchsorted(lengths, budget.tokens, side="right"))])
  return np.sort(order[: len(kept)])


def _figures(own: np.ndarray, kept: np.ndarray, found: Mapping[str, np.ndarray]) -> dict[str, Any]:
  means = {}
  for name, values in found.items():
    there = values[own][~np.isnan(values[own])]
    means[name] = float(there.mean()) if len(there) else None
  return {"rows": len(own), "of_them_kept": float(np.isin(own, kept).mean()) if len(own) else 0.0, "means": means}
