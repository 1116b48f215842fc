"""Perplexity of the answers behind their prompts: exp of their mean nats."""

from collections.abc import Sequence
import dataclasses
from typing import ClassVar, Literal

import numpy as np

from itune_jax.core import check
from itune_jax.select import select_protocol
from itune_jax.select.scores import asked as asked_lib
from itune_jax.select.scores import nats as nats_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Perplexity(select_protocol.Score):
  """exp(Σ nats / tokens). Low is wanted: answers that the model could nearly have given itself (GRAPE, arXiv
  2502.04194, takes the likeliest of several).

  model: a base or an adapter that scores in place of --base. name: under which rows bear it.
  """

  needs: ClassVar[Literal["nothing", "model"]] = "model"
  best: ClassVar[Literal["high", "low"]] = "low"
  model: str = ""
  name: str = "perplexity"

  def __post_init__(self):
    check.check_types(self)

  def score(self, rows: Sequence[select_protocol.Row], ask: select_protocol.Ask | None) -> np.ndarray:
    """Perplexities [N]; NaN for a row without an answer that fits."""
    found = nats_lib.given(asked_lib.of(ask, self.model), rows, self.name)
    return np.exp(found.given / found.tokens)
