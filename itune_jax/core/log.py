"""Messages to the person at the terminal: stderr, lead process only; stdout is for results."""

import contextlib
import sys
import time


def is_lead() -> bool:
  """Whether this process is the one that prints and writes. One that never imported JAX has joined no others."""
  jax = sys.modules.get("jax")
  return jax is None or jax.process_index() == 0


def info(message: str) -> None:
  """Prints one line on stderr."""
  if is_lead():
    print(message, file=sys.stderr, flush=True)


@contextlib.contextmanager
def timed(what: str):
  """Prints what was done and how long it took."""
  start = time.perf_counter()
  yield
  info(f"{what} ({time.perf_counter() - start:.1f} s)")
