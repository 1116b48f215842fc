"""Answers that one process asks for and all of them get.

An endpoint costs money, and draws anew for who asks again: were it asked by every process of a run, each would pay, and
go on with other answers than its neighbours. So the lead asks, and tells the others what came, about once a second: no
process waits longer than that for a word of another, however long an answer takes.
"""

from collections.abc import Callable, Sequence
import concurrent.futures
import json
import queue
from typing import Any

from itune_jax.core import errors
from itune_jax.core import log
from itune_jax.parallel import hosts
from itune_jax.sampling import requests as requests_lib

ROUND_S = 1.0  # what the lead got since it told the others last, it tells them then
Done = Callable[[requests_lib.Response], None]


def asked(
  ask: Callable[[Done], Any], requests: Sequence[requests_lib.Request], done: Done, progress: requests_lib.Progress
) -> list[requests_lib.Response]:
  """The responses to requests that all processes make together, in their order.

  Args:
    ask: asks, in the lead alone, and tells each response as it comes, from another thread than the caller's.
    done, progress: called in every process, in one order.

  Raises:
    What `ask` raises, in every process: an InputError or RunError as it is, another fault as a RunError elsewhere.
  """
  found: dict[str, requests_lib.Response] = {}
  with _Lead(ask) if log.is_lead() else _Told() as rounds:
    while True:
      told = json.loads(hosts.text_of_lead(rounds.text()))
      for one in told["responses"]:
        response = requests_lib.response_of(one["id"], one)
        found[response.id] = response
        done(response)
        progress(1)
      if told["over"]:
        break
    rounds.raise_fault()
  if told["fault"]:
    kind = errors.InputError if told["fault"]["input"] else errors.RunError
    raise kind(told["fault"]["text"])
  return [found[request.id] for request in requests]


class _Told:
  """What the other processes bring to a round: nothing."""

  def __enter__(self) -> "_Told":
    return self

  def __exit__(self, *exc: Any) -> None:
    return None

  def text(self) -> str:
    """What is told in this round, as the lead has it."""
    return ""

  def raise_fault(self) -> None:
    """Raises what ended the asking, where it is known as it was."""


class _Lead(_Told):
  """What came since the last round."""

  def __init__(self, ask: Callable[[Done], Any]):
    self._ask, self._came = ask, queue.SimpleQueue()
    self._pool = concurrent.futures.ThreadPoolExecutor(1, "asking")

  def __enter__(self) -> "_Lead":
    self._asking = self._pool.submit(self._ask, self._came.put)
    return self

  def __exit__(self, *exc: Any) -> None:
    self._pool.shutdown(wait=exc[0] is None, cancel_futures=True)

  def text(self) -> str:
    """A round: it waits for a while, or until all have come."""
    over = bool(concurrent.futures.wait([self._asking], ROUND_S).done)
    responses = []
    while not self._came.empty():
      responses.append(requests_lib.plain(self._came.get()))
    return json.dumps({"responses": responses, "over": over, "fault": _fault(self._asking) if over else None})

  def raise_fault(self) -> None:
    """As it was raised there."""
    self._asking.result()


def _fault(asking: concurrent.futures.Future) -> dict[str, Any] | None:
  e = asking.exception()
  if e is None:
    return None
  if isinstance(e, (errors.InputError, errors.RunError)):
    return {"input": isinstance(e, errors.InputError), "text": str(e)}
  return {"input": False, "text": f"the first process failed while it asked an endpoint: {type(e).__name__}: {e}"}
