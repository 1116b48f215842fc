"""Exceptions of pieces of work that other processes do, kept in a folder until all is done: the one that is raised then
is that of the first piece, whoever was quicker. A runner of pipelines would say it in pages, and try again."""

import contextlib
import os
import pickle
from collections.abc import Iterator

from itune_jax.core import files

_ENDING = ".fault"


@contextlib.contextmanager
def kept(folder: str, piece: int) -> Iterator[None]:
  """Keeps what is raised in a piece of work. piece: its number, 0 or more."""
  try:
    yield
  except Exception as e:
    path = os.path.join(folder, f"{piece:08}{_ENDING}")
    partial = f"{path}.{os.getpid()}.partial"
    with open(partial, "wb") as f:
      pickle.dump(e, f)
    os.replace(partial, path)


def raise_first(folder: str) -> None:
  """Raises what was kept of the first piece, if anything was, and keeps it no longer."""
  found = [os.path.join(folder, name) for name in files.names(folder) if name.endswith(_ENDING)]
  if not found:
    return
  with open(found[0], "rb") as f:
    fault = pickle.load(f)
  for path in found:
    os.remove(path)
  raise fault
