"""The training loop: and nothing else is in this file."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import os
from typing import Any, Literal

import jax
import numpy as np

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import log
from itune_jax.core import ranges
from itune_jax.train import checkpoint
from itune_jax.train import hooks as hooks_lib
from itune_jax.train import state as state_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class EarlyStop:
  """Stop when a metric has not improved for `patience` evaluations in a row; off while `metric` is empty.

  mode: which way it improves; what the metric itself says unless given.

  metric: a figure of the evaluators. patience: how many evaluations it may go without improving.
  """

  metric: str = ""
  patience: ranges.PositiveInt = 3
  mode: Literal["", "min", "max"] = ""

  def __post_init__(self):
    check.check_types(self)

  def due(self, history: Sequence[Mapping[str, float]]) -> bool:
    """Whether the evaluations so far say stop."""
    values = [h[self.metric] for h in history if self.metric in h]
    if not self.metric or len(values) <= self.patience:
      return False
    best = max if self.mode == "max" else min
    return best(values[: -self.patience]) == best(values)

  def said(self, step: int) -> str:
    """Why a run ends before its last step, and what makes it go on."""
    return (
      f"stopped early at step {step}: {self.metric} has not improved for {self.patience} evaluations; raise "
      "EarlyStop.patience or leave out EarlyStop.metric to go on"
    )


@dataclasses.dataclass(kw_only=True)
class Loop:
  """Everything a run of the loop takes.

  put: cuts a batch into micro-batches and lays it on the mesh. view: the engine of given trainable parameters, which
  evaluators and live sources ask. used: what of a state these are, where an average is the result. asked: whether
  somebody wants the run to stop at this step, the same answer for all processes.
  """

  step_fn: Callable
  frozen: dict[str, Any]
  source: contracts.BatchSource
  put: Callable[[Any], Any]
  steps: int
  hooks: Sequence[contracts.Hook]
  evaluators: Sequence[contracts.Evaluator]
  view: Callable[[Mapping[str, Any]], Any]
  record: Callable[[int, str, contracts.EvalResult], None]
  checkpointer: checkpoint.Checkpointer
  save_every: int
  early_stop: EarlyStop
  asked: Callable[[int], bool]
  run_dir: str
  used: Callable[[state_lib.State], Mapping[str, Any]] = lambda state: state.trainable
  history: list[dict[str, float]] = dataclasses.field(default_factory=list)
  max_nonfinite: int = 5
  clock: hooks_lib.Clock = dataclasses.field(default_factory=hooks_lib.Clock)

  def run(self, state: state_lib.State) -> state_lib.State:
    """Trains to `steps`. Order: evaluate and save what is due on the state at hand, take a batch, dispatch the
    step, then publish the metrics of the step before, so that the host never waits for the device."""
    step, pending, bad = int(state.step), None, 0
    start = step  # a checkpoint is saved after its step's evaluations: on resume neither is due again
    clock, changes, batches = self.clock, -1, None
    stopped = self.early_stop.due(self.history)  # a run that stopped stays so
    engine = lambda: self.view(state.trainable)
    try:
      while True:
        due = [e for e in self.evaluators if step > start and self._is_due(e, step)]
        waiting = [hook for hook in self.hooks if step < self.steps and hook.due(step)]
        asked = self.asked(step)
        saves = step > start and (step >= self.steps or asked or bool(self.save_every) and step % self.save_every == 0)
        if due or waiting or saves or asked or stopped or step >= self.steps:
          bad = self._publish(pending, clock, bad)
          pending = None
          metrics = self._evaluate(step, state, due)
          self.history += [metrics] if metrics else []
          stopped = stopped or bool(metrics) and self.early_stop.due(self.history)
          stop = step >= self.steps or stopped
          if stopped and start < step < self.steps:  # the end has come early
            metrics |= self._evaluate(step, state, [e for e in self.evaluators if e.every < 0])
          self._look(step, state, () if stop else waiting)
          if saves or stop and step > start:
            for hook in self.hooks:
              hook.flush()
            used = self.used(state)
            result = {} if used is state.trainable else dict(used)
            self.checkpointer.save(step, state, metrics, self.source.state(), result)
          clock.pause()
          if stop:
            self.checkpointer.finish()
            if stopped and step < self.steps:
              log.info(self.early_stop.said(step))
            return state
          if asked:
            done = f"step {step} is saved" if step else "nothing was trained yet"
            raise errors.RunError(f"asked to stop (SIGTERM or Ctrl-C): {done}; the same command goes on from it")
        if batches is None or changes != self.source.changes:  # what was read ahead is not what comes
          changes, batches = self.source.changes, self.source.iterate(step, engine)
        batch = next(batches)
        state, metrics = self.step_fn(state, self.frozen, self.put(batch))
        bad = self._publish(pending, clock, bad)
        step += 1
        pending = (step, metrics, batch)
    except jax.errors.JaxRuntimeError as e:
      raise self._explained(e, step) from None
    except BaseException:
      self.checkpointer.finish()  # what is being saved is made whole first
      raise
    finally:
      for hook in self.hooks:
        hook.close()

  def _explained(self, e: Exception, step: int) -> Exception:
    """What a failed program means for the user, as a RunError; the error itself where that is not known."""
    said = str(e).splitlines()[0]
    if "RESOURCE_EXHAUSTED" in str(e):
      self.checkpointer.finish()
      return errors.RunError(
        f"after step {step}: out of memory ({said[:200]}); more MICRO_BATCHES, fewer PACKING rows, "
        "a REMAT that keeps less, or a larger mesh need less"
      )
    if jax.process_count() == 1:
      return e
    return errors.RunError(
      f"after step {step}: another process of this run is gone ({said[:120]}); start all of them "
      "again with the same command"
    )

  def _is_due(self, evaluator: contracts.Evaluator, step: int) -> bool:
    """Whether an evaluator runs at a step, one that runs at the end alone where the run has all its steps."""
    return step >= self.steps if evaluator.every < 0 else bool(evaluator.every) and step % evaluator.every == 0

  def _publish(self, pending, clock, bad: int) -> int:
    if pending is None:
      return bad
    step, metrics, batch = pending
    metrics = {name: float(value) for name, value in jax.device_get(metrics).items()}
    metrics |= clock.lap(metrics)
    for hook in self.hooks:
      hook(step, metrics)
    if metrics["finite"]:
      return 0
    self._dump(step, batch)
    if bad + 1 >= self.max_nonfinite:
      raise errors.RunError(
        f"step {step}: the loss or gradient was not finite {bad + 1} times in a row; the last such batch is in "
        f"{self.run_dir}/nonfinite_{step:06d}.npz. Lower the learning rate or inspect the batch"
      )
    return bad + 1

  def _dump(self, step, batch) -> None:
    part = f".{jax.process_index()}" if jax.process_count() > 1 else ""  # every process has its own rows
    path = os.path.join(self.run_dir, f"nonfinite_{step:06d}{part}.npz")
    with files.opened(path, "wb") as f:
      np.savez(f, **{f.name: x for f in dataclasses.fields(batch) if (x := getattr(batch, f.name)) is not None})
    log.info(f"step {step}: loss or gradient not finite; parameters kept as they were, batch saved to {path}")

  def _look(self, step, state, waiting) -> None:
    for one in waiting:
      found = one.between(step, state)
      for hook in self.hooks if found else ():
        hook(step, found)

  def _evaluate(self, step, state, due) -> dict[str, float]:
    found: dict[str, float] = {}
    engine = self.view(self.used(state)) if due else None  # one for all: what it lays out serves the whole round
    for evaluator in due:
      result = evaluator.run(engine)
      self.record(step, evaluator.name, result)
      found |= result.figures
    for hook in self.hooks if found else ():
      hook(step, found)
    return found
