"""An OpenAI-compatible endpoint as steps and scores of `itune select` ask it. It needs no JAX."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from itune_jax.core import errors
from itune_jax.sampling import requests as requests_lib
from itune_jax.select import select_protocol


class EndpointAsk(select_protocol.Ask):
  """A responder elsewhere. It answers; it counts no tokens of rows.

  responder: what is asked. model: its name, as the endpoint knows it.
  """

  def __init__(self, responder: requests_lib.Responder, model: str):
    self.responder, self.model = responder, model

  @property
  def identity(self) -> Mapping[str, Any]:  # pyright: ignore[reportIncompatibleVariableOverride]
    """What makes its answers what they are."""
    return {"name": self.model, **self.responder.settings}

  def tokens(self, rows: Sequence[select_protocol.Row]) -> np.ndarray:
    """Raises InputError: its tokenizer is not here."""
    raise errors.InputError("a budget in tokens needs a model's tokenizer: give --base, an endpoint does not tell")
