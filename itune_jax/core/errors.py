"""The two errors a user sees as one line: bad input (exit code 2) and a failed run (exit code 1)."""

from itune_jax.core import jsontext


class InputError(ValueError):
  """Something the user gave is wrong. The message says what, where, and what to do: on one line, whatever of the user's
  it repeats."""

  def __init__(self, message: object = ""):
    super().__init__(jsontext.line(str(message).replace("\n", " ")))


class RunError(RuntimeError):
  """The input was fine and the run failed all the same (non-finite loss, full disk, ...)."""
