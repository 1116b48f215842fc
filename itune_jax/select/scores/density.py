"""Density among embeddings: how near a row's nearest neighbours are (as in D4, arXiv 2308.12284)."""

from collections.abc import Sequence
import dataclasses
from typing import ClassVar, Literal

import numpy as np

from itune_jax.core import check
from itune_jax.select import select_protocol
from itune_jax.select.scores import asked as asked_lib
from itune_jax.select.scores import pooled_states

BLOCK = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class Density(select_protocol.Score):
  """The mean cosine of a row's states with those of its k nearest others. Low is wanted: rows that stand alone.

  k: how many neighbours. by: how states become one vector. name: under which rows bear it.
  """

  needs: ClassVar[Literal["nothing", "model"]] = "model"
  apart: ClassVar[bool] = False
  best: ClassVar[Literal["high", "low"]] = "low"
  k: int = 10
  by: asked_lib.By = "mean"
  name: str = "density"

  def __post_init__(self):
    check.check_types(self)
    check.require(self.k > 0, f"Density.k = {self.k}; it counts neighbours from 1")

  def score(self, rows: Sequence[select_protocol.Row], ask: select_protocol.Ask | None) -> np.ndarray:
    """Mean cosines [N]; NaN for a row that does not render or fit, and for one alone."""
    states, at = pooled_states.of(asked_lib.of(ask), rows, self.by, self.name)
    values = np.full(len(rows), np.nan)
    values[at] = nearest_mean(states, self.k)
    return values


def nearest_mean(vectors: np.ndarray, k: int) -> np.ndarray:
  """The mean cosine [N] of unit vectors [N, D] with their k nearest others, or all others where there are fewer."""
  found, k = np.full(len(vectors), np.nan), min(k, len(vectors) - 1)
  for start in range(0, len(vectors) if k > 0 else 0, BLOCK):
    cosines = vectors[start : start + BLOCK] @ vectors.T
    cosines[np.arange(len(cosines)), start + np.arange(len(cosines))] = -np.inf
    found[start : start + BLOCK] = np.partition(cosines, -k, axis=1)[:, -k:].mean(axis=1, dtype=np.float64)
  return found
