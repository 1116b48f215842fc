"""Whether two answers to a mathematical problem are the same value: math-verify, in a process of its own.

Symbolic algebra may take for ever, or all memory. math-verify limits its time by signals, which work in the main thread
alone; here the limit is that of a process, which is ended and started anew. So any thread may ask, and no answer of a
model ends an evaluation. Settings are math-verify's own, as lm-eval's `minerva_math` has them.
"""

from collections.abc import Iterable, Iterator
import contextlib
import importlib.util
import json
import os
import select
import subprocess
import sys
from typing import NamedTuple

from itune_jax.core import errors

_WORKER = os.path.join(os.path.dirname(__file__), "math_worker.py")
_START = 120.0  # seconds until sympy is imported on a busy machine


class Verdict(NamedTuple):
  """Whether two answers are the same value. problem: "" or why it is not known, which counts as not the same."""

  same: bool
  problem: str = ""


def verdicts(pairs: Iterable[tuple[str, str]], *, seconds: float = 10.0) -> list[Verdict]:
  """The verdict on each pair of a gold text and an answer, both with what stands around the mathematics.

  seconds: for one pair. Raises InputError where math-verify is not installed, RunError where it does not start.
  """
  with Comparer(seconds) as comparer:
    return [comparer.verdict(gold, answer) for gold, answer in pairs]


class Comparer:
  """Compares answers one by one in a process that is started when first needed. A context manager."""

  def __init__(self, seconds: float = 10.0):
    """seconds: for one pair. Raises InputError where math-verify is not installed."""
    if importlib.util.find_spec("math_verify") is None:
      raise errors.InputError("math answers are compared by math-verify: pip install 'math-verify==0.9.0'")
    self.seconds = seconds
    self._process: subprocess.Popen[bytes] | None = None

  def __enter__(self) -> "Comparer":
    """Starts nothing."""
    return self

  def __exit__(self, *error: object) -> None:
    """Ends the process."""
    self._end()

  def verdict(self, gold: str, answer: str) -> Verdict:
    """The verdict on one pair. Raises RunError where the process does not start."""
    process = self._process or self._started()
    line = json.dumps([gold, answer, self.seconds]).encode() + b"\n"
    with contextlib.suppress(BrokenPipeError):
      _pipe(process.stdin).write(line)
      _pipe(process.stdin).flush()
    said = _line(process, self.seconds)
    if said is None:
      self._end()
      return Verdict(False, "time")
    if not said:
      self._end()
      return Verdict(False, "failed")
    return Verdict(json.loads(said))

  def _started(self) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", _WORKER]  # -P: its folder, which has a `numbers`, is no place for imports
    pipe = subprocess.PIPE
    self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
    if not _line(self._process, _START):
      self._end()
      raise errors.RunError(f"math-verify did not start within {_START:.0f} s: try `{' '.join(command)}` by hand")
    return self._process

  def _end(self) -> None:
    if process := self._process:
      process.kill()
      process.wait()
      for pipe in _pipes(process):
        with contextlib.suppress(BrokenPipeError):
          pipe.close()
    self._process = None


def _line(process: subprocess.Popen[bytes], seconds: float) -> bytes | None:
  """A line that the process says, None when it says nothing in time, b"" when it has ended."""
  readable, _, _ = select.select([_pipe(process.stdout)], [], [], seconds)
  return _pipe(process.stdout).readline() if readable else None


def _pipes(process: subprocess.Popen[bytes]) -> Iterator:
  yield from (pipe for pipe in (process.stdin, process.stdout) if pipe)


def _pipe(pipe):
  assert pipe is not None  # both are asked for
  return pipe
