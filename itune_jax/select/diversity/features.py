"""What rows are compared by: a vector for each. A frozen value says how it is made."""

import abc
from collections.abc import Sequence
import dataclasses
import re
from typing import ClassVar, Literal
import zlib

import numpy as np

from itune_jax.core import check
from itune_jax.select import select_protocol
from itune_jax.select.scores import answers as answers_lib
from itune_jax.select.scores import asked as asked_lib
from itune_jax.select.scores import pooled_states
from itune_jax.select.scores import prrc
from itune_jax.select.scores import trajectories

_WORD = re.compile(r"\w+")


class Features(abc.ABC):
  """Vectors of rows."""

  needs: ClassVar[Literal["nothing", "model"]] = "nothing"

  @abc.abstractmethod
  def vectors(
    self, rows: Sequence[select_protocol.Row], ask: select_protocol.Ask | None
  ) -> tuple[np.ndarray, np.ndarray]:
    """[M, D] float32, and the numbers [M] of the rows that they are of; other rows have none, and are never taken."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class States(Features):
  """A model's final hidden states, of length 1.

  model: a base or an adapter in place of --base. by: the last state alone (DEITA), the mean (Cherry_LLM), or the mean
  weighed by place (RDS+).
  """

  needs: ClassVar[Literal["nothing", "model"]] = "model"
  model: str = ""
  by: asked_lib.By = "mean"

  def __post_init__(self):
    check.check_types(self)

  def vectors(
    self, rows: Sequence[select_protocol.Row], ask: select_protocol.Ask | None
  ) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of the rows that render and fit."""
    return pooled_states.of(asked_lib.of(ask, self.model), rows, self.by, "diversity")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Words(Features):
  """Words of all turns, hashed into a vector of length 1, rare ones weighing more (log of N over the rows that have the
  word). No model is asked.

  size: of the vectors.
  """

  size: int = 512

  def __post_init__(self):
    check.check_types(self)
    check.require(self.size > 0, f"Words.size = {self.size}; it counts from 1")

  def vectors(
    self, rows: Sequence[select_protocol.Row], ask: select_protocol.Ask | None
  ) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of the rows that are examples with a word."""
    del ask
    counts = np.zeros((len(rows), self.size), np.float32)
    for i, one in enumerate(map(answers_lib.example, rows)):
      words = _WORD.findall(prrc.text_of(one).lower()) if one is not None else []
      hashes = np.array([zlib.crc32(word.encode()) for word in words], np.int64)
      # One bit of the hash is the sign, so that words which share a place do not add up to a likeness.
      np.add.at(counts[i], (hashes >> 1) % self.size, np.where(hashes & 1, 1.0, -1.0))
    there = np.flatnonzero(counts.any(axis=1))
    common = np.log(1 + len(rows) / np.maximum((counts != 0).sum(axis=0), 1)).astype(np.float32)
    return pooled_states.unit(np.sign(counts[there]) * np.sqrt(np.abs(counts[there])) * common), there


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trajectories(Features):
  """Mean nats of a row's answers over models, first to last (S2L, arXiv 2403.07384).

  models: bases, adapters or checkpoints, in the order of a training.
  """

  needs: ClassVar[Literal["nothing", "model"]] = "model"
  models: tuple[str, ...]

  def __post_init__(self):
    check.check_types(self)
    check.require(len(self.models) >= 2, "Trajectories.models names two models or more")

  def vectors(
    self, rows: Sequence[select_protocol.Row], ask: select_protocol.Ask | None
  ) -> tuple[np.ndarray, np.ndarray]:
    """Losses of the rows that have an answer which fits."""
    found = trajectories.trajectories(asked_lib.of(ask), rows, self.models, "diversity")
    there = np.flatnonzero(~np.isnan(found).any(axis=1))
    return found[there].astype(np.float32), there


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compared(select_protocol.Diversity):
  """A rule for rows that are compared by vectors.

  features: what rows are compared by.
  """

  features: Features = States()

  def __post_init__(self):
    check.check_types(self)

  @property
  def needs(self) -> Literal["nothing", "model"]:
    """What its features need."""
    return self.features.needs
