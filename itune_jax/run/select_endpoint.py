"""An OpenAI-compatible endpoint as steps and scores of `itune select` ask it. It needs no JAX."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from itune_jax.core import errors
from itune_jax.sampling import requests as requests_lib
from itune_jax.sampling.responders import telling
from itune_jax.select import select_protocol


class _Counted(telling.Wrapping):
  """Another responder, whose missing answers are counted."""

  def __init__(self, inner: requests_lib.Responder):
    self.inner, self._missing, self._first = inner, 0, ""

  def answer_each(
    self,
    requests: Sequence[requests_lib.Request],
    done: Callable[[requests_lib.Response], None],
    progress: requests_lib.Progress = lambda n: None,
  ) -> list[requests_lib.Response]:
    """The other one's answers."""

    def look(response: requests_lib.Response) -> None:
      problem = next((one.problem for one in response.samples if one.finish == "failed"), None)
      if problem is not None:
        self._missing, self._first = self._missing + 1, self._first or problem
      done(response)

    return self.inner.answer_each(requests, look, progress)

  def said(self) -> str:
    """What is missing, for a person."""
    return f"no answer to {self._missing} requests; the first: {self._first}" if self._missing else ""


class EndpointAsk(select_protocol.Ask):
  """A responder elsewhere. It answers; it counts no tokens of rows.

  responder: what is asked. model: its name, as the endpoint knows it.
  """

  def __init__(self, responder: requests_lib.Responder, model: str):
    self._counted = _Counted(responder)
    self.responder, self.model = self._counted, model

  @property
  def told(self) -> str:
    """How many requests had no answer, and why the first had none; "" where all had one."""
    return self._counted.said()

  @property
  def identity(self) -> Mapping[str, Any]:  # pyright: ignore[reportIncompatibleVariableOverride]
    """What makes its answers what they are."""
    return {"name": self.model, **self.responder.settings}

  def tokens(self, rows: Sequence[select_protocol.Row]) -> np.ndarray:
    """Raises InputError: its tokenizer is not here."""
    raise errors.InputError("a budget in tokens needs a model's tokenizer: give --base, an endpoint does not tell")
