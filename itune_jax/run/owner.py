"""Who trains in a run directory: one process (and those it leads) at a time."""

from collections.abc import Iterator, Mapping
import contextlib
import os
import socket
import threading
import time
from typing import Any

import filelock

from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import log

BEAT_S = 20.0  # between two signs of life in a bucket


@contextlib.contextmanager
def owned(run_dir: str) -> Iterator[None]:
  """Keeps every other process from training in a run directory for as long as this one (the lead) does.

  On a disk a lock of the system, which goes with its process. A bucket has none: there the owner writes its name anew
  every BEAT_S seconds, and one that has been silent for three beats is gone.

  Raises InputError, naming the owner, when there is one.
  """
  if not log.is_lead():
    yield
    return
  is_new = not files.exists(run_dir)
  files.make_folder(run_dir)
  me = {"host": socket.gethostname(), "process": os.getpid()}
  try:
    with _beating(run_dir, me) if files.is_remote(run_dir) else _locked(run_dir, me):
      yield
  finally:
    if is_new and not files.is_remote(run_dir) and not files.names(run_dir):
      os.rmdir(run_dir)


def _refused(run_dir: str, owner: Any) -> errors.InputError:
  who = (
    f"process {owner['process']} on {owner['host']}" if isinstance(owner, dict) and "process" in owner else "another"
  )
  return errors.InputError(f"{run_dir} is being trained by {who}: wait for it to end, or give another --run_dir")


@contextlib.contextmanager
def _locked(run_dir: str, me: Mapping[str, Any]) -> Iterator[None]:
  path = os.path.join(run_dir, "owner.json")
  lock = filelock.FileLock(os.path.join(run_dir, ".owner.lock"))
  try:
    lock.acquire(timeout=0)
  except filelock.Timeout:
    raise _refused(run_dir, files.read_json(path) if files.exists(path) else None) from None
  try:
    files.write_json(path, me)
    yield
  finally:
    with contextlib.suppress(OSError):
      os.remove(path)
    if files.names(run_dir) == [os.path.basename(lock.lock_file)]:  # a run that was refused leaves nothing behind
      os.remove(lock.lock_file)
    lock.release()


@contextlib.contextmanager
def _beating(run_dir: str, me: Mapping[str, Any]) -> Iterator[None]:
  path, ended = os.path.join(run_dir, "owner.json"), threading.Event()
  if files.exists(path):
    owner = files.read_json(path)
    last = owner.get("beat") if isinstance(owner, dict) else None
    if isinstance(last, (int, float)) and time.time() - last < 3 * BEAT_S:
      raise _refused(run_dir, owner)

  beat = lambda: files.write_json(path, {**me, "beat": time.time()})
  beat()

  def beats():
    while not ended.wait(BEAT_S):
      beat()

  thread = threading.Thread(target=beats, name="owner", daemon=True)
  thread.start()
  try:
    yield
  finally:
    ended.set()
    thread.join()
    files.remove(path)
