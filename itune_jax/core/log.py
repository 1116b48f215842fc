"""Messages to the person at the terminal: stderr, lead process only; stdout is for results."""

import contextlib
import datetime
import json
import sys
import time
from typing import Any

_as_json = False


def is_lead() -> bool:
  """Whether this process is the one that prints and writes. One that never imported JAX has joined no others."""
  jax = sys.modules.get("jax")
  return jax is None or jax.process_index() == 0


def in_json() -> None:
  """From now on each line is a JSON object: time, event, text, and what else is known of it."""
  global _as_json
  _as_json = True


def as_json() -> bool:
  """Whether lines are JSON objects."""
  return _as_json


def info(message: str, event: str = "info", **fields: Any) -> None:
  """Prints one line on stderr. event, fields: what a machine reads of it (`in_json`)."""
  if not is_lead():
    return
  if _as_json:
    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    message = json.dumps({"time": at, "event": event, "text": message, **fields}, default=str)
  print(message, file=sys.stderr, flush=True)


@contextlib.contextmanager
def timed(what: str):
  """Prints what was done and how long it took."""
  start = time.perf_counter()
  yield
  info(f"{what} ({time.perf_counter() - start:.1f} s)")
