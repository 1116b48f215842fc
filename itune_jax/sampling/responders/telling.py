"""What responders share that tell each answer as it comes, and those that stand before another one."""

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from itune_jax.core import conversation as conversation_lib
from itune_jax.sampling import requests as requests_lib


class Telling(requests_lib.Responder):
  """A responder whose `answer_each` does the work."""

  def answer(
    self, requests: Sequence[requests_lib.Request], progress: requests_lib.Progress = lambda n: None
  ) -> list[requests_lib.Response]:
    """The answers to all requests; raises what `answer_each` raises."""
    return self.answer_each(requests, lambda response: None, progress)

  @abc.abstractmethod
  def answer_each(
    self,
    requests: Sequence[requests_lib.Request],
    done: Callable[[requests_lib.Response], None],
    progress: requests_lib.Progress = lambda n: None,
  ) -> list[requests_lib.Response]:
    """The answers to all requests, each told as soon as it is there."""


class Wrapping(Telling):
  """A responder before another one, `inner`. What it does not change is the other one's."""

  inner: requests_lib.Responder

  def answer_each(
    self,
    requests: Sequence[requests_lib.Request],
    done: Callable[[requests_lib.Response], None],
    progress: requests_lib.Progress = lambda n: None,
  ) -> list[requests_lib.Response]:
    """The other one's answers."""
    return self.inner.answer_each(requests, done, progress)

  @property
  def settings(self) -> Mapping[str, Any]:
    """The other one's settings."""
    return self.inner.settings

  def fits(self, asked: conversation_lib.Conversation | str, new: int) -> bool:
    """Whether the other one has room."""
    return self.inner.fits(asked, new)

  def score(
    self, pairs: Sequence[requests_lib.Pair], progress: requests_lib.Progress = lambda n: None
  ) -> list[requests_lib.Score]:
    """The other one's log-probabilities of continuations."""
    return self.inner.score(pairs, progress)

  def rolling(self, texts: Sequence[str], progress: requests_lib.Progress = lambda n: None) -> list[requests_lib.Score]:
    """The other one's log-probabilities of whole texts."""
    return self.inner.rolling(texts, progress)
