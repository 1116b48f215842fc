"""A circuit breaker: an endpoint that fails again and again is left alone for a while, and is not asked by anybody.

Faults in a row are counted over all requests. When there are so many, all pause; behind the pause one request after the
other tries again, and the first answer closes the breaker. A request loses no try to a fault that opened it.
"""

from collections.abc import Callable
import dataclasses
import threading
import time
from typing import Literal

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import log
from itune_jax.core import ranges


class _State:
  """What has gone wrong lately, seen by all copies of a breaker."""

  def __init__(self):
    self.lock, self.faults, self.pauses, self.until, self.ended = threading.Lock(), 0, 0, 0.0, ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Breaker:
  """When an endpoint is left alone, and for how long.

  faults: in a row, of whatever request, behind which all pause; 0 for never. pause_s: seconds of a pause. pauses: in a
  row without any answer between, behind which the work ends. then: whether it ends at all (`stop`), or pauses without
  end (`resume`). state: what all copies share. sleep: how a pause is passed.
  """

  faults: int = 0
  pause_s: ranges.NonNegativeFloat = 60.0
  pauses: int = 5
  then: Literal["stop", "resume"] = "stop"
  state: _State = dataclasses.field(default_factory=_State, repr=False, compare=False)
  sleep: Callable[[float], None] = dataclasses.field(default=time.sleep, repr=False, compare=False)

  def __post_init__(self):
    check.require(self.faults >= 0 and self.pauses > 0 and self.pause_s >= 0, f"{self}: faults >= 0, pauses >= 1")
    check.require(self.then in ("stop", "resume"), f"Breaker.then = {self.then!r}; it is stop or resume")

  def wait(self) -> None:
    """Passes what is left of a pause. Raises RunError where the work has ended."""
    with self.state.lock:
      if self.state.ended:
        raise errors.RunError(self.state.ended)
      left = self.state.until - time.monotonic()
    if left > 0:
      self.sleep(left)

  def worked(self) -> None:
    """Takes note of an answer."""
    with self.state.lock:
      self.state.faults = self.state.pauses = 0

  def failed(self, said: str, after_s: float = 0.0) -> bool:
    """Takes note of a fault; whether all pause now. after_s: how long the endpoint asks to wait at least.

    Raises RunError when there were as many pauses as may be.
    """
    if not self.faults:
      return False
    with self.state.lock:
      if self.state.until > time.monotonic():  # sent before the pause, or while others wait
        return True
      self.state.faults += 1
      if self.state.faults < self.faults:
        return False
      self.state.faults = 0
      self.state.pauses += 1
      if self.state.pauses > self.pauses and self.then == "stop":
        self.state.ended = (
          f"the endpoint failed {self.faults} times in a row behind each of {self.pauses} pauses; the last: {said}; "
          "answers so far are kept: run again when it is back"
        )
        raise errors.RunError(self.state.ended)
      pause = max(self.pause_s, after_s)
      self.state.until = time.monotonic() + pause
      number = self.state.pauses
    log.info(f"the endpoint failed {self.faults} times in a row ({said}): pause {number}, {pause:.0f} s")
    return True
