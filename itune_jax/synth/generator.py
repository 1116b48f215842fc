"""What a generator of data is: batches of requests by number, and the rows that their answers become. One file each."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any
import zlib

import numpy as np

from itune_jax.sampling import requests as requests_lib

Row = dict[str, Any]


class Generator(abc.ABC):
  """A frozen value. Batch k is a function of (the value, its seed, k, the rows so far, the responder), so that a run
  that was killed goes on as if it had not been: requests bear the same ids, and randomness is `random(k)`."""

  name: str
  seed: int = 0

  @abc.abstractmethod
  def requests(self, k: int, pool: Sequence[Mapping[str, Any]]) -> list[requests_lib.Request]:
    """What is asked in batch k, given the rows so far; nothing ends the run. Ids must be unique over all batches."""

  @abc.abstractmethod
  def rows(
    self, k: int, pool: Sequence[Mapping[str, Any]], responses: Sequence[requests_lib.Response]
  ) -> tuple[list[Row], Mapping[str, int]]:
    """The rows that are kept of the answers of batch k, and how many were dropped by reason."""

  def random(self, k: int) -> np.random.Generator:
    """The randomness of batch k."""
    return np.random.Generator(np.random.PCG64([self.seed, zlib.crc32(self.name.encode()), k]))
