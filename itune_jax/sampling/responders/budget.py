"""What may be spent at an endpoint: requests and tokens, counted over all threads and calls of one responder."""

import dataclasses
import threading

from itune_jax.core import check
from itune_jax.core import errors


class Spent:
  """What has been spent so far."""

  def __init__(self):
    self.lock, self.requests, self.tokens = threading.Lock(), 0, 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
  """How much may be spent; 0 is no bound. Each try counts as a request. Tokens are known behind an answer, so requests
  under way together may pass their bound.

  requests: that are sent. tokens: of prompts and answers, as the endpoint counts them (`usage.total_tokens`). spent:
  what has been spent so far, by all copies of this value.
  """

  requests: int = 0
  tokens: int = 0
  spent: Spent = dataclasses.field(default_factory=Spent, repr=False, compare=False)

  def __post_init__(self):
    check.require(self.requests >= 0 and self.tokens >= 0, f"{self}: both are 0 (no bound) or more")

  def take(self, request: str) -> None:
    """Books a request. Raises RunError, naming it, when nothing is left."""
    with self.spent.lock:
      over = (self.requests and self.spent.requests >= self.requests) or (
        self.tokens and self.spent.tokens >= self.tokens
      )
      if over:
        raise errors.RunError(
          f"the budget is spent ({self.spent.requests} requests, {self.spent.tokens} tokens) before request {request}: "
          "answers so far are in the journal, if there is one; give more and run again"
        )
      self.spent.requests += 1

  def book(self, tokens: object) -> None:
    """Books what an answer cost. Raises RunError where a bound is to be kept and the endpoint does not say."""
    if type(tokens) is int and tokens >= 0:
      with self.spent.lock:
        self.spent.tokens += tokens
    elif self.tokens:
      raise errors.RunError("the endpoint does not say what answers cost (`usage.total_tokens`): bound requests")
