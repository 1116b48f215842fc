"""How long the runs of a sweep will take on a slice that is not here, and which fit: `itune plan` of every point."""

from collections.abc import Sequence
import json
import subprocess
import sys
from typing import NamedTuple

from itune_jax.core import errors
from itune_jax.core import log
from itune_jax.run.sweep import cells as cells_lib


class Estimate(NamedTuple):
  """What `itune plan` says of one point.

  fits: whether a step fits the memory. hours: of all its steps, without start, evaluation and saving; None where it
  does not fit, or its number of steps hangs on data (EPOCHS).
  """

  title: str
  fits: bool
  hours: float | None


def of(cells: Sequence[cells_lib.Cell], common: Sequence[str], topology: str) -> list[Estimate]:
  """One estimate for each point, by its first seed; the others compile to the same program.

  Raises RunError with the last line of `itune plan` where a point cannot be planned.
  """
  first: dict[str, cells_lib.Cell] = {}
  for cell in cells:
    first.setdefault(json.dumps([sorted(cell.point.items()), cell.steps], default=str), cell)
  return [_one(cell, common, topology) for cell in first.values()]


def _one(cell: cells_lib.Cell, common: Sequence[str], topology: str) -> Estimate:
  found = _plan([*common, *cell.flags(), f"--topology={topology}"], cell.title)
  fits, steps = bool(found["fits"]), found.get("steps")
  hours = found["step_s"] * steps / 3600 if fits and steps else None
  time = f"{found['step_s']:.3g} s a step" if fits else "DOES NOT FIT"
  log.info(f"{cell.title}: {time}" + (f", {steps} steps: {hours:.2g} h" if hours is not None else ""))
  return Estimate(cell.title, fits, hours)


def _plan(argv: Sequence[str], title: str) -> dict:
  command = [sys.executable, "-m", "itune_jax.run.cli", "plan", *argv]
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  if done.returncode:
    said = done.stderr.strip().splitlines() or [f"ended with {done.returncode}, and said nothing"]
    raise errors.RunError(f"{title}: {said[-1]}")
  return json.loads(done.stdout.strip().splitlines()[-1])
