"""What watches a training run: hooks for the person and for files, the clock, and the time of the first step."""

from collections.abc import Mapping
import os
import time

import jax

from itune_jax.core import contracts
from itune_jax.core import files
from itune_jax.core import log
from itune_jax.core import tree
from itune_jax.parallel.cost import chips
from itune_jax.run import console
from itune_jax.run import loading
from itune_jax.run import results
from itune_jax.run import run_dir as run_dir_lib
from itune_jax.run import session as session_lib
from itune_jax.train import hooks


class Bar(contracts.Hook):
  """Steps, loss, trained tokens a second and time left, for the person; a line of each evaluation and checkpoint."""

  def __init__(self, steps: int, done: int):
    self._bars, self._step = console.Bars("steps"), done
    self._bar = self._bars.add("train", total=steps, done=done)
    self._bars.start()

  def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
    self._step = step
    if "loss" not in metrics:
      log.info(f"step {step}: {_figures(metrics)}", event="evaluation", step=step, figures=dict(metrics))
      return
    speed = metrics.get("trained_tokens_per_s")  # which the first step, the one that compiles, does not have
    said = f"loss {metrics['loss']:.3f}" + (f"  {speed:,.0f} trained tokens/s" if speed else "")
    self._bar.reach(step, note=said)

  def flush(self) -> None:
    """A checkpoint of the last step is saved now."""
    log.info(f"step {self._step}: checkpoint", event="checkpoint", step=self._step)

  def close(self) -> None:
    """Leaves the last line standing."""
    self._bars.stop()


def _figures(metrics: Mapping[str, float]) -> str:
  """The figures over all of each evaluator, or, of one that has none such, the first few."""
  overall = {name: value for name, value in metrics.items() if name.count("/") == 1} or dict(metrics)
  shown = [
    f"{name} {value:.4g}" + (f" [{ends[0]:.4g}, {ends[1]:.4g}]" if ends else "")
    for name, value, ends in console.bounds(overall)
  ]
  return ", ".join(shown[:6]) + (", …" if len(shown) > 6 else "")


class FirstStep:
  """Seconds from the start of the loop to the end of the first step (compilation, mostly); traces steps 2 to 4."""

  def __init__(self, trace: str):
    self._started, self._trace, self._calls, self.seconds = time.perf_counter(), trace, 0, 0.0

  def wrap(self, step_fn):
    """The step, watched."""

    def timed(*args):
      self._calls += 1
      if self._trace and self._calls == 2:
        jax.profiler.start_trace(self._trace)
      out = step_fn(*args)
      if self._calls == 1:
        jax.block_until_ready(out[1])
        self.seconds = time.perf_counter() - self._started
      if self._trace and self._calls == 4:
        jax.block_until_ready(out[1])
        jax.profiler.stop_trace()
      return out

    return timed


def hooks_of(
  run_dir: str, *, steps: int, done: int, wandb_project: str, values: Mapping[str, str]
) -> list[contracts.Hook]:
  """The hooks of a run of which `done` steps are done, in the lead process.

  Raises InputError when a project is named for Weights & Biases, and the library is not installed.
  """
  if not log.is_lead():
    return []
  found: list[contracts.Hook] = [hooks.Jsonl(results.metrics_file(run_dir), done), Bar(steps, done)]
  if files.is_remote(run_dir):
    log.info("TensorBoard's files are not written into a bucket; metrics.jsonl holds the same figures")
  else:
    found.append(hooks.TensorBoard(os.path.join(run_dir, "tensorboard"), done))
  if not wandb_project:
    return found
  return [*found, results.wandb_hook(wandb_project, run_dir, run_dir_lib.id_of(run_dir), values)]


def clock_of(session: session_lib.Session, positions: int) -> hooks.Clock:
  """The clock of steps of so many positions."""
  return hooks.Clock(positions * operations(session), chips.peak_flops(list(session.mesh.devices.flat)))


def operations(session: session_lib.Session) -> float:
  """What a position of a training step needs: 6 for each trained parameter and 4 for each frozen one, packed or not."""
  return 6.0 * tree.size(session.trainable) + 4.0 * loading.count(session.frozen, session.base)
