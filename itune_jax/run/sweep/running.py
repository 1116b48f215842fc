"""Runs the cells of a sweep on this machine, in order or several at a time. What is done stays done."""

from collections.abc import Mapping, Sequence
from concurrent import futures
import contextlib
import dataclasses
import math
import os
import queue
import subprocess
import sys
import threading
import time
from typing import Any

from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import log
from itune_jax.run import results
from itune_jax.run.sweep import cells as cells_lib
from itune_jax.run.sweep import sub_meshes

_UNPREPARED = "itune prepare"  # what training says where its mixture was not prepared


@dataclasses.dataclass(frozen=True)
class Done:
  """A finished run. figures: of its last step and evaluations, and what it took. folder: its run directory."""

  cell: cells_lib.Cell
  folder: str
  figures: Mapping[str, float]


class Runner:
  """Runs cells below a folder, each in one named by its digest.

  out: the folder. common: the flags of `itune train` that all share. workers: how many run at a time. groups: devices
  for one run each, which then run at a time in place of `workers`.
  """

  def __init__(self, out: str, common: Sequence[str], workers: int = 1, groups: Sequence[sub_meshes.Group] = ()):
    self._out, self._common, self._workers = out, list(common), len(groups) or workers
    self._free: queue.SimpleQueue[sub_meshes.Group | None] = queue.SimpleQueue()
    for one in groups or [None] * workers:
      self._free.put(one)
    self._content = cells_lib.content_of(common)
    self._prepares, self._begun = threading.Lock(), False
    self._children: set[subprocess.Popen] = set()
    self._digests: dict[tuple[str, ...], str] = {}
    self.failed: dict[str, str] = {}

  def folder(self, cell: cells_lib.Cell) -> str:
    """The run directory of a cell. What its flags name is read once: a plan asks for each folder several times."""
    key = tuple(cell.flags())
    if key not in self._digests:
      self._digests[key] = cells_lib.digest(cell, self._common, self._content)
    return os.path.join(self._out, "runs", self._digests[key])

  def _beside(self, kind: str, cell: cells_lib.Cell, ending: str) -> str:
    """A file of a cell outside of its run directory, which is training's alone."""
    return os.path.join(self._out, kind, f"{os.path.basename(self.folder(cell))}.{ending}")

  def done(self, cell: cells_lib.Cell) -> Done | None:
    """What a cell left, if it ran to its end."""
    path = self._beside("done", cell, "json")
    return Done(cell, self.folder(cell), files.read_json(path)["figures"]) if files.exists(path) else None

  def run(self, cells: Sequence[cells_lib.Cell]) -> list[Done]:
    """Runs what is not done; returns what is, in the order of the cells. Failures are kept in `failed`, by title.

    Runs that wait when somebody stops the command are not begun, and those that run are told to save.
    """
    unique = list({self.folder(cell): cell for cell in cells}.values())
    missing = [cell for cell in unique if self.done(cell) is None]
    if len(missing) < len(cells):
      log.info(f"{len(cells) - len(missing)} of {len(cells)} runs are done already, or equal to another")
    clock = _Clock(len(missing), self._workers)
    files.make_folder(os.path.join(self._out, "runs"))
    with futures.ThreadPoolExecutor(self._workers) as pool:
      waiting = [pool.submit(self._one, cell, clock) for cell in missing]
      try:
        for each in futures.as_completed(waiting):
          each.result()
      except BaseException:
        for each in waiting:
          each.cancel()
        self._stop()
        raise
    found = (self.done(cell) for cell in cells)
    return [one for one in found if one is not None]

  def _one(self, cell: cells_lib.Cell, clock: "_Clock") -> None:
    group = self._free.get()  # there is one for each that runs at a time
    try:
      self._on(group, cell, clock)
    finally:
      self._free.put(group)

  def _on(self, group: sub_meshes.Group | None, cell: cells_lib.Cell, clock: "_Clock") -> None:
    folder = self.folder(cell)
    clock.says(cell.title if group is None else f"{cell.title} on {group}")
    flags, log_file = [*self._common, *cell.flags()], self._beside("logs", cell, "txt")
    started = time.perf_counter()
    with self._prepares:
      self._prepared_once(flags, log_file)
    failure, peak = self._train(flags, folder, log_file, group)
    if failure and _UNPREPARED in failure:
      with self._prepares:
        failure = self._itune(["prepare", *flags], log_file)[0]
      if not failure:
        failure, peak = self._train(flags, folder, log_file, group)
    seconds = time.perf_counter() - started
    figures: dict[str, float] = {}
    if not failure:
      try:
        figures = figures_of(folder) | {"seconds": seconds, "peak_gib": peak}
      except errors.RunError as e:  # it ended well, and yet left nothing: the others run all the same
        failure = str(e)
    if failure:
      self.failed[cell.title] = failure
    else:
      files.write_json(self._beside("done", cell, "json"), {"cell": _told(cell), "flags": flags, "figures": figures})
    clock.ended(cell.title, seconds, failure)

  def _prepared_once(self, flags: Sequence[str], log_file: str) -> None:
    """Prepares the data of the first cell; that of others that differ in their data is prepared when they ask."""
    if not self._begun:
      self._begun = True
      self._itune(["prepare", *flags], log_file)

  def _train(
    self, flags: Sequence[str], folder: str, log_file: str, group: sub_meshes.Group | None
  ) -> tuple[str, float]:
    return self._itune(["train", *flags, f"--run_dir={folder}"], log_file, group.environment if group else None)

  def _itune(
    self, argv: Sequence[str], log_file: str, environment: Mapping[str, str] | None = None
  ) -> tuple[str, float]:
    """Runs a command, with more in its environment; returns (its last line if it failed, peak GiB)."""
    files.make_folder(os.path.dirname(log_file))
    told = {**os.environ, **(environment or {})}
    with open(log_file, "ab") as f:
      child = subprocess.Popen([sys.executable, "-m", "itune_jax.run.cli", *argv], stdout=f, stderr=f, env=told)
      self._children.add(child)
      _, status, usage = os.wait4(child.pid, 0)
      child.returncode = os.waitstatus_to_exitcode(status)
      self._children.discard(child)
    if not status:
      return "", usage.ru_maxrss / 2**20
    with open(log_file, encoding="utf-8", errors="replace") as f:
      said = f.read().strip().splitlines()
    return said[-1] if said else f"ended with {child.returncode}, and said nothing", 0.0

  def _stop(self) -> None:
    for child in list(self._children):
      with contextlib.suppress(ProcessLookupError):
        child.terminate()


def figures_of(folder: str) -> dict[str, float]:
  """The figures of a finished run: of its steps, its evaluations, and its size.

  Raises RunError where the run left none.
  """
  try:
    facts = files.read_json(os.path.join(folder, "run.json"))["facts"]
    train = files.read_json(os.path.join(folder, "train.json"))
  except (errors.InputError, KeyError) as e:
    raise errors.RunError(f"{folder}: the run left no figures: {e}") from None
  kept = ("trainable_parameters", "padding_share", "epochs")
  found = {name: float(facts[name]) for name in kept if name in facts} | train
  for label in results.labels(folder)[-1:]:
    for name in files.names(os.path.join(folder, "evals", label)):
      if name.endswith(".json"):
        found |= results.read(folder, label, name.removesuffix(".json")).figures
  if not found.get("trained_tokens_per_s"):  # a run of so few steps that none was timed
    found.pop("trained_tokens_per_s", None)
  return {name: float(value) for name, value in found.items() if isinstance(value, (int, float))}


class _Clock:
  """Says what runs, and how long the others will take."""

  def __init__(self, total: int, workers: int):
    self._total, self._workers, self._begun, self._seconds = total, workers, 0, []
    self._lock = threading.Lock()

  def says(self, title: str) -> None:
    with self._lock:
      self._begun += 1
      log.info(f"run {self._begun} of {self._total}: {title}{self._left()}")

  def ended(self, title: str, seconds: float, failure: str) -> None:
    with self._lock:
      self._seconds.append(seconds)
      log.info(f"FAILED {title}: {failure}" if failure else f"done in {seconds:.0f} s: {title}")

  def _left(self) -> str:
    if not self._seconds:
      return ""
    rounds = math.ceil((self._total - len(self._seconds)) / self._workers)
    minutes = rounds * sum(self._seconds) / len(self._seconds) / 60
    return f" (about {minutes:.0f} minutes left)"


def _told(cell: cells_lib.Cell) -> dict[str, Any]:
  return {"values": dict(cell.point), "seed": cell.seed, "steps": cell.steps}
