"""A process that converts blocks of rows: a program that `workers` starts.

It reads what to do (a pickled function), then blocks with their numbers, and answers each with what became of it. It
ends when the process that started it does.
"""

import os
import pickle
import queue
import signal
import threading
from multiprocessing import connection
from typing import Any


def main(descriptor: int) -> None:
  """Works until nobody is there any more."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for who started this, and ends this then
  channel = connection.Connection(descriptor)
  waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
  # Read at once, so that who sends never waits for who computes.
  threading.Thread(target=_read, args=(channel, waiting), daemon=True).start()
  convert: Any = None  # what is to be done comes in front of the first block
  while True:
    message = pickle.loads(waiting.get())
    if isinstance(message, tuple):
      number, block = message
      answer = number, convert(block)
    else:
      convert, answer = message, None
    try:
      channel.send_bytes(pickle.dumps(answer, pickle.HIGHEST_PROTOCOL))
    except OSError:
      return


def _read(channel: connection.Connection, waiting: "queue.SimpleQueue[Any]") -> None:
  try:
    while True:
      waiting.put(channel.recv_bytes())
  except (EOFError, OSError):
    os._exit(0)  # nobody waits for an answer
