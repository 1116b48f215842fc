"""What worker processes do in tests: a module that imports next to nothing, since each of them imports it."""

import os
import sys

HEAVY = ("jax", "tensorflow", "torch")


class Spy:
  """Converts, and then says in its error which heavy packages the process has imported, and which process it is."""

  def __init__(self, convert):
    self._convert, self._here = convert, os.getpid()

  def __call__(self, block):
    done = self._convert(block)
    done.error = RuntimeError("" if os.getpid() == self._here else f"worker: {sorted(set(HEAVY) & set(sys.modules))}")
    return done


class Dies:
  """Ends every process but the one that made it."""

  def __init__(self):
    self._here = os.getpid()

  def __call__(self, block):
    if os.getpid() != self._here:
      os._exit(3)
    return block
