"""Hooks: what is written of every step, and how fast steps are."""

from collections.abc import Mapping
import json
import time
from typing import Any

import jax

from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import jsontext
from itune_jax.core import lazy
from itune_jax.core import log
from itune_jax.parallel.cost import chips

# It imports torch where that is installed, which who only reads a run's files need not wait for.
tensorboardX = lazy.module("tensorboardX")
REMOTE_SECONDS = 20  # between two writings of the metrics into a bucket


class Jsonl(contracts.Hook):
  """metrics.jsonl: one object a line. On resume, lines past the restored step are dropped first.

  A bucket takes no more lines at the end of an object, so there it is written anew every few seconds and by `flush`.
  """

  def __init__(self, path: str, step: int):
    self._path, self._written = path, time.monotonic()
    kept = [line for line in self.read(path) if line["step"] <= step]
    reached = max((line["step"] for line in kept), default=0)
    if reached < step:
      log.info(f"{path}: ends at step {reached}, and the run goes on from {step}: the figures between are lost")
    self._lines = [json.dumps(line) + "\n" for line in kept]
    files.write_text(path, "".join(self._lines))
    self._file = None if files.is_remote(path) else files.opened(path, "a")

  @staticmethod
  def read(path: str) -> list[dict[str, Any]]:
    """The whole lines of a metrics file; its last line may have been cut off by a kill, and is then left out.

    Raises InputError, with its number, for any other line that is no object with a step and figures, and for one whose
    step lies before that of the line above it.
    """
    if not files.exists(path):
      return []
    found: list[dict[str, Any]] = []
    with files.opened(path, "rb") as f:
      lines = f.read().splitlines()
    for number, line in enumerate(lines, 1):
      try:
        one = jsontext.loads(line.decode())
      except ValueError as e:  # also bytes that are no text
        if number == len(lines):
          break
        raise errors.InputError(f"{path}:{number}: is no JSON ({jsontext.said(e)}); remove the line") from None
      _check_line(one, found[-1]["step"] if found else 0, f"{path}:{number}")
      found.append(one)
    return found

  def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
    line = json.dumps({"step": step, **metrics}) + "\n"
    if self._file is not None:
      self._file.write(line)
      self._file.flush()
      return
    self._lines.append(line)
    if time.monotonic() - self._written > REMOTE_SECONDS:
      self.flush()

  def flush(self) -> None:
    """Writes a bucket's object anew."""
    if self._file is None:
      files.write_text(self._path, "".join(self._lines))
      self._written = time.monotonic()

  def close(self) -> None:
    """Closes the file."""
    self.flush()
    if self._file is not None:
      self._file.close()


def _check_line(one: Any, before: int, where: str) -> None:
  if not isinstance(one, dict) or type(one.get("step")) is not int:
    raise errors.InputError(f"{where}: is no object with a step; remove the line")
  if one["step"] < before:
    raise errors.InputError(f"{where}: step {one['step']} stands behind step {before}: are these lines of two runs?")
  figures = one if "step_s" not in one else {"trained_tokens": None, **one}  # speed is their quotient
  for key, value in figures.items():
    if not isinstance(value, (int, float)) or isinstance(value, bool):
      raise errors.InputError(f"{where}: {key} is {jsontext.shown(value)}, no figure; remove the line")


class TensorBoard(contracts.Hook):
  """Scalars for TensorBoard, written without TensorFlow."""

  def __init__(self, folder: str, step: int):
    self._writer = tensorboardX.SummaryWriter(folder, purge_step=step + 1 if step else None)

  def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
    for name, value in metrics.items():
      if isinstance(value, (int, float)):
        self._writer.add_scalar(name, value, step)

  def flush(self) -> None:
    """Writes the scalars so far."""
    self._writer.flush()

  def close(self) -> None:
    """Flushes."""
    self._writer.close()


class Wandb(contracts.Hook):
  """Weights & Biases, given its run object (the library is optional)."""

  def __init__(self, run: Any):
    self._run = run

  def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
    self._run.log(dict(metrics), step=step)

  def close(self) -> None:
    """Ends the run."""
    self._run.finish()


class Clock:
  """How fast steps are, how much of the chips they use, and how much of the run they are.

  flops: operations that the positions of a step need: 6 for each trained parameter and 4 for each frozen one; attention
  is not counted, and padding earns nothing. peak: of all chips together a second; 0 where it is not known.
  """

  def __init__(self, flops: float = 0.0, peak: float = 0.0):
    self._flops, self._peak, self._inside = flops, peak, 0.0
    self._last: float | None = None
    self._started = time.perf_counter()

  def lap(self, metrics: Mapping[str, float]) -> dict[str, float]:
    """Figures of the step that just ended; none of the first and of one behind a pause, which held more than a step.

    goodput: the share of the time so far that was spent in steps; the rest is compilation, evaluations and saving.
    """
    now = time.perf_counter()
    last, self._last = self._last, now
    if last is None:
      return {}
    seconds = now - last
    self._inside += seconds
    rate = self._flops * (1 - metrics["padding_share"]) / seconds
    return {
      "step_s": seconds,
      "trained_tokens_per_s": metrics["trained_tokens"] / seconds,
      "tflops_per_s": rate / 1e12,
      **({"mfu": rate / self._peak} if self._peak else {}),
      "goodput": self._inside / (now - self._started),
      "memory_gib": chips.memory_gib(jax.local_devices()),
    }

  def pause(self) -> None:
    """Forgets the last step: what follows (an evaluation, a save) is not training time."""
    self._last = None
