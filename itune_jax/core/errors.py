"""The two errors a user sees as one line: bad input (exit code 2) and a failed run (exit code 1)."""


class InputError(ValueError):
  """Something the user gave is wrong. The message says what, where, and what to do."""


class RunError(RuntimeError):
  """The input was fine and the run failed all the same (non-finite loss, full disk, ...)."""
