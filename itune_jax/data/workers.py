"""Blocks of rows converted by several processes, given back in their order.

Workers are programs of their own (`worker`), which import what conversion needs and nothing else: no JAX, no
TensorFlow, and nothing of the program that started them. They are started when there is work for them; until the first
is ready, the process itself converts. What comes out hangs on neither.
"""

import collections
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import connection
from typing import Any

from itune_jax.core import errors
from itune_jax.data.tally import Done

Block = list[Any]
_AHEAD = 2  # blocks that a worker holds: one in work, one waiting
_ALONE = 1  # blocks that are converted here before workers are started: of few rows all are


def cores() -> int:
  """How many cores this process may use."""
  return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


class Pool:
  """Processes that convert. Closed by `close`, or at the end of a `with`."""

  def __init__(self, count: int, alone: int = _ALONE, environment: Mapping[str, str] | None = None):
    """count: of processes; with fewer than two this one does all. alone: blocks before they are started. environment:
    theirs, this one's by default."""
    self._count, self._alone, self._environment = count, alone, environment
    self._workers: list[_Worker] = []
    self._job = 0

  def __enter__(self) -> "Pool":
    return self

  def __exit__(self, *error) -> None:
    self.close()

  def close(self) -> None:
    """Ends the processes."""
    for worker in self._workers:
      worker.close()
    self._workers = []

  def map(self, convert: Callable[[Block], Done], blocks: Iterator[Block]) -> Iterator[tuple[Block, Done]]:
    """Every block with what became of it, in order. Raises RunError where a worker ended."""
    for _, block in zip(range(self._alone if self._count > 1 else sys.maxsize), blocks, strict=False):
      yield block, convert(block)
    first = next(blocks, None)
    if first is None:
      return
    yield from _Run(self._started(convert), convert, first, blocks)()

  def _started(self, convert: Callable[[Block], Done]) -> "list[_Worker]":
    """The processes, which have got what they do."""
    self._workers = self._workers or [_Worker(self._environment) for _ in range(self._count)]
    job = pickle.dumps(convert, pickle.HIGHEST_PROTOCOL)
    for worker in self._workers:
      worker.take(job)
    return self._workers


class _Run:
  """One pass over blocks."""

  def __init__(self, workers: "list[_Worker]", convert: Callable[[Block], Done], first: Block, blocks: Iterator[Block]):
    self._workers, self._convert, self._blocks = workers, convert, blocks
    self._waiting: collections.OrderedDict[int, tuple[Block, Done | None]] = collections.OrderedDict()
    self._next, self._number, self._ended = first, 0, False

  def __call__(self) -> Iterator[tuple[Block, Done]]:
    while not self._ended or self._waiting:
      self._hand_out()
      self._collect(self._busy() or self._alone())
      yield from self._whole()

  def _whole(self) -> Iterator[tuple[Block, Done]]:
    """What is done up to the first block that is not."""
    while self._waiting:
      number, (block, done) = next(iter(self._waiting.items()))
      if done is None:
        return
      del self._waiting[number]
      yield block, done

  def _taken(self) -> tuple[int, Block]:
    """The next block and its number."""
    block, number = self._next, self._number
    following = next(self._blocks, None)
    self._ended = following is None
    self._next, self._number = following or [], number + 1
    self._waiting[number] = (block, None)
    return number, block

  def _hand_out(self) -> None:
    for worker in self._workers:
      # A block that waits for an earlier one is held in memory: no more of them than work for all.
      while not self._ended and worker.has_room() and len(self._waiting) < 2 * _AHEAD * len(self._workers):
        worker.give(*self._taken())

  def _busy(self) -> bool:
    """Whether all that can be done here is to wait for a worker that is at work."""
    return any(worker.is_ready for worker in self._workers)

  def _alone(self) -> bool:
    """Converts a block here, since no worker is ready yet; whether the answer of one is to be waited for."""
    if not self._ended:
      number, block = self._taken()
      self._waiting[number] = (block, self._convert(block))
    return False

  def _collect(self, waits: bool) -> None:
    """Takes what workers have done."""
    channels = {worker.channel: worker for worker in self._workers}
    for channel in connection.wait(list(channels), None if waits else 0):
      found = channels[channel].answer()  # pyright: ignore[reportArgumentType]
      if found is not None:
        number, done = found
        self._waiting[number] = (self._waiting[number][0], done)


class _Worker:
  """A process and what it holds. is_ready: whether it has begun to work."""

  def __init__(self, environment: Mapping[str, str] | None):
    self.channel, theirs = connection.Pipe()
    # Each has a core: a tokenizer that takes all of them for itself halves the rate of all.
    begin = "import os, sys; os.environ['TOKENIZERS_PARALLELISM'] = 'false'; "
    begin += f"sys.path[:] = {sys.path!r}; from itune_jax.data import worker; worker.main({theirs.fileno()})"
    how: dict[str, Any] = dict(pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL)
    self._process = subprocess.Popen([sys.executable, "-c", begin], **how)
    theirs.close()
    self.is_ready, self._held = False, 0

  def has_room(self) -> bool:
    """Whether it takes another block; one that is not ready yet gets none."""
    return self.is_ready and self._held < _AHEAD

  def take(self, job: bytes) -> None:
    """From now on it does this."""
    self._send(job)

  def give(self, number: int, block: Block) -> None:
    """Another block."""
    self._send(pickle.dumps((number, block), pickle.HIGHEST_PROTOCOL))
    self._held += 1

  def answer(self) -> tuple[int, Done] | None:
    """What it has done, None where it says that it is ready. Raises RunError where it ended."""
    try:
      found = pickle.loads(self.channel.recv_bytes())
    except (EOFError, OSError):
      raise self._gone() from None
    self.is_ready = True
    if found is not None:
      self._held -= 1
    return found

  def _send(self, message: bytes) -> None:
    try:
      self.channel.send_bytes(message)
    except OSError:
      raise self._gone() from None

  def _gone(self) -> errors.RunError:
    code = self._process.wait()
    how = f"was killed by signal {-code}, for want of memory perhaps" if code < 0 else f"ended with code {code}"
    return errors.RunError(f"a process that prepares rows {how}; what is whole is kept: run it again, with --workers=1")

  def close(self) -> None:
    """Ends it."""
    self.channel.close()
    self._process.kill()
    self._process.wait()
