"""How a command ends: the exit code of an error and its one line, what SIGTERM does, and the end of a closed pipe."""

import contextlib
import os
import select
import signal
import sys
from typing import Any

from itune_jax.core import errors
from itune_jax.core import jsontext

TERMINATED = 143  # 128 + SIGTERM, likewise
CLOSED_PIPE = 141  # 128 + SIGPIPE: what a shell says of a program that ended so
_LONGEST = 4000  # characters of the line that says an error
ERRORS = (errors.InputError, errors.RunError, KeyboardInterrupt, OSError)  # all that a line explains


class Terminated(KeyboardInterrupt):
  """Somebody sent SIGTERM. It goes the way of Ctrl-C: files are left whole, and child processes are stopped."""


def raise_on_sigterm() -> None:
  """Makes SIGTERM an exception of this process. The default would end it at once, and leave its children running."""
  owner = os.getpid()

  def end(number: int, frame: Any) -> None:
    del frame
    signal.signal(number, signal.SIG_DFL)  # the next one ends it at once
    if os.getpid() != owner:  # a fork of it, which has the handler as well
      os.kill(os.getpid(), number)
      return
    raise Terminated

  signal.signal(signal.SIGTERM, end)


def explained(error: BaseException) -> tuple[int, str]:
  """The exit code of one of ERRORS, and its line: 2 for bad input, 1 for a run that failed."""
  if isinstance(error, Terminated):
    return TERMINATED, "stopped by SIGTERM; what was committed is whole, and the same command resumes"
  if isinstance(error, KeyboardInterrupt):
    return 1, "stopped by Ctrl-C; what was committed is whole, and the same command resumes"
  text = f"{error.filename or 'the system'}: {error.strerror or error}" if isinstance(error, OSError) else str(error)
  return (2 if isinstance(error, errors.InputError) else 1), _short(jsontext.line(" ".join(text.split())))


def _short(line: str) -> str:
  """A line that a person can read: where a value of the user's own is longer than that, its middle is left out."""
  return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} … {line[-_LONGEST // 2 :]}"


def nobody_reads() -> bool:
  """Whether the pipe behind stdout or stderr is closed. What is still meant for it is thrown away from then on, so
  that the interpreter, which flushes both as it ends, does not trip over it again."""
  closed = [stream for stream in (sys.stdout, sys.stderr) if _is_closed(stream)]
  for stream in closed:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
  return bool(closed)


def _is_closed(stream) -> bool:
  with contextlib.suppress(OSError, ValueError):  # a stand-in, which has no file behind it
    asked = select.poll()
    asked.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in asked.poll(0))
  return False
