"""Several processes as one program: how they join, what they agree on, and how they end together."""

import os
import signal
import sys
import threading
import time
from typing import Any

import jax
from jax.experimental import multihost_utils
from jax.sharding import Mesh
import numpy as np

from itune_jax.core import axes as axes_lib
from itune_jax.core import errors
from itune_jax.core import log
from itune_jax.parallel import shard

JOIN_S = 300  # so long a process waits for the others to come
HEARTBEAT_S = 30  # a process that is silent for so long is lost
GRACE_S = 3  # what the process that holds JAX's service leaves to the others, when all end for the same reason
_holds_service = threading.Event()


def connect(cluster: str) -> None:
  """Joins this process to its cluster, before anything else touches JAX.

  Args:
    cluster: "auto" where JAX can find out by itself (TPU pods, GKE, Slurm, Open MPI), else "HOST:PORT,N,I": the
      address of process 0, how many processes there are, and which of them this is.

  Raises InputError when it cannot be read, or nobody answers there.
  """
  given: dict[str, Any] = {}
  if cluster != "auto":
    try:
      address, count, index = cluster.split(",")
      given = dict(coordinator_address=address, num_processes=int(count), process_id=int(index))
      given["cluster_detection_method"] = "deactivate"
    except ValueError:
      raise errors.InputError(f"--cluster={cluster}: write auto, or HOST:PORT,PROCESSES,INDEX") from None
  try:
    jax.distributed.initialize(initialization_timeout=JOIN_S, heartbeat_timeout_seconds=HEARTBEAT_S, **given)
    if jax.process_index() == 0:  # this waits until all have joined, so that none ends before the others are there
      _holds_service.set()
  except (RuntimeError, ValueError) as e:
    raise errors.InputError(f"--cluster={cluster}: cannot join ({str(e).splitlines()[0][:160]})") from None


def barrier(name: str) -> None:
  """Waits until every process is here."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)


def agreed(value: int) -> int:
  """The lead's value, in every process."""
  return value if jax.process_count() == 1 else int(multihost_utils.broadcast_one_to_all(value))


def text_of_lead(text: str) -> str:
  """The lead's text, in every process: what is read from a disk may be there in one of them only."""
  if jax.process_count() == 1:
    return text
  size = agreed(len(text.encode()))
  data = np.zeros(1 << max(size - 1, 0).bit_length(), np.uint8)  # few sizes: each is a program of its own
  if jax.process_index() == 0:
    data[:size] = np.frombuffer(text.encode(), np.uint8)
  return bytes(multihost_utils.broadcast_one_to_all(data)[:size]).decode()


def several() -> bool:
  """Whether this process has joined others. Asks nothing of them: they may be gone."""
  return jax.distributed.is_initialized()


def leave(code: int) -> None:
  """Ends this process without waiting for the others, who may be waiting for it.

  The one that holds JAX's service goes last: JAX would end the others before they can say why they end.
  """
  if _holds_service.is_set():
    time.sleep(GRACE_S)
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code)


def rows(mesh: Mesh, rules: axes_lib.Rules, count: int, micro_batches: int = 1) -> list[int]:
  """Which of `count` global rows the devices of this process hold, in the order of `micro_batches` cuts."""
  each = count // micro_batches
  shape = (micro_batches, each, 1)
  mine = shard.held(shard.batch_sharding(shape, mesh, rules, stacked=True), shape, axis=1)
  return [cut * each + row for cut in range(micro_batches) for row in mine]


class Stop:
  """Whether somebody asked this run to stop, by SIGTERM or Ctrl-C; every process gets the same answer at the same step.

  A second Ctrl-C does not wait for the step: it is a KeyboardInterrupt. Of several processes any may be asked.
  """

  def __init__(self):
    self._asked, self._before = False, {}

  def __enter__(self) -> "Stop":
    if threading.current_thread() is threading.main_thread():
      # Several processes agree through JAX's coordination service, which listens to SIGTERM itself.
      if jax.process_count() == 1:
        self._before = {signal.SIGTERM: signal.signal(signal.SIGTERM, self._ask)}
      if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell's background job ignores it
        self._before[signal.SIGINT] = signal.signal(signal.SIGINT, self._ask)
    return self

  def __exit__(self, *exc) -> None:
    for number, before in self._before.items():
      signal.signal(number, before)

  def due(self, step: int) -> bool:
    """Asked once a step, from the same step on, by every process."""
    return multihost_utils.reached_preemption_sync_point(step) if jax.process_count() > 1 else self._asked

  def _ask(self, number: int, frame: Any) -> None:
    if number == signal.SIGINT:
      signal.signal(signal.SIGINT, signal.default_int_handler)
      # In a thread: a handler that prints may find the stream in use by what it has interrupted.
      text = "stopping: what is under way ends and the step is saved; Ctrl-C again stops at once, without saving"
      threading.Thread(target=log.info, args=(text,)).start()
      if jax.process_count() > 1:
        os.kill(os.getpid(), signal.SIGTERM)
    self._asked = True
