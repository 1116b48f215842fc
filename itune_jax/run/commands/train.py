"""`itune train`: one run from values to checkpoints, metrics and evaluations."""

from collections.abc import Sequence
import dataclasses
import difflib
import os
import subprocess
import time
from typing import Any

import jax
import importlib.metadata

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import log
from itune_jax.core import numerics
from itune_jax.core import tree
from itune_jax.data.render import chat
from itune_jax.data import feed as feed_lib
from itune_jax.data import mixture as mixture_lib
from itune_jax.parallel.cost import chips
from itune_jax.parallel import hosts
from itune_jax.parallel import mesh as mesh_lib
from itune_jax.parallel import shard
from itune_jax.nn import stack
from itune_jax.nn import skeleton
from itune_jax.peft import attach
from itune_jax.run import calibrate
from itune_jax.run import gin_setup
from itune_jax.run import results
from itune_jax.run import runtime
from itune_jax.run import specs
from itune_jax.train import checkpoint
from itune_jax.train import hooks
from itune_jax.train import loop
from itune_jax.train import state as state_lib
from itune_jax.train import step as step_lib


@dataclasses.dataclass(frozen=True)
class Run:
  """What a finished run leaves: figures of the last step and of the evaluations, and where they are."""

  run_dir: str
  metrics: dict[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
  """A training run as one value; calling it trains, or goes on with the run that is in `run_dir`."""

  model: specs.Model
  peft: Sequence[Any]
  mixture: mixture_lib.Mixture
  rendering: chat.Rendering
  packing: feed_lib.Packing
  objective: contracts.Objective
  optimizer: Any
  mesh: mesh_lib.MeshSpec | mesh_lib.Auto
  precision: numerics.Precision
  remat: stack.Remat
  evals: Sequence[Any]
  keep: checkpoint.Keep
  early_stop: loop.EarlyStop
  steps: int
  micro_batches: int
  seed: int
  warm_start: str = ""
  wandb_project: str = ""
  debug_nans: bool = False
  profile: bool = False

  def __post_init__(self):
    check.require(isinstance(self.steps, int) and self.steps > 0, f"STEPS = {self.steps!r}; it is a positive integer")
    check.require(isinstance(self.seed, int), f"SEED = {self.seed!r}; it is an integer")
    check.require(
      isinstance(self.micro_batches, int) and self.micro_batches > 0 and not self.packing.rows % self.micro_batches,
      f"PACKING rows = {self.packing.rows} do not divide into MICRO_BATCHES = {self.micro_batches!r}",
    )

  def __call__(self, *, run_dir: str, dry_run: bool = False, argv: Sequence[str] = ()) -> Run:
    """Trains to `steps`. With dry_run everything is built and traced, and nothing written."""
    jax.config.update("jax_debug_nans", self.debug_nans)
    # --- data, model, methods ---
    session = runtime.open_session(
      self.model, self.peft, mesh=self.mesh, precision=self.precision, remat=self.remat, seed=self.seed
    )
    renderer = session.renderer(self.rendering)
    rows = hosts.rows(session.mesh, session.rules, self.packing.rows, self.micro_batches)
    feed, manifest = runtime.open_feed(self.mixture, renderer, self.packing, self.seed, rows)
    put = _put(session, self.micro_batches, self.packing.rows // self.micro_batches)
    session = self._calibrated(session, run_dir, lambda k: put(feed.batch(k)), dry_run)
    if self.warm_start:
      session = _warm(session, self.warm_start)
    evaluators = [e.bind(renderer, self.seed) for e in self.evals]
    # --- optimizer, state, step ---
    transform, rate = self.optimizer.make(
      self.steps, session.attached.trainable, skeleton.leaves(session.attached.module)
    )
    transform = attach.wrap_optimizer(session.attached.methods, transform, self.steps)
    state = state_lib.create(session.trainable, transform, self.seed, session.mesh)
    where = {name: value.sharding for name, value in state.trainable.items()}
    step_fn = step_lib.make_step(
      session.binder, self.objective, transform, rate, where, attach.penalty_of(session.attached.methods)
    )
    _warn_of_idle_shards(session.mesh, self.packing.rows // self.micro_batches)
    facts = _facts(session, feed, manifest, self.packing, self.steps)
    if dry_run:
      jax.eval_shape(step_fn, state, session.frozen, put(feed.batch(0)))
      return Run(run_dir, facts)
    # --- run directory: new, or the same run ---
    checkpointer = checkpoint.Checkpointer(run_dir, self.keep, runtime.identity(session), session.constants)
    _claim(run_dir, argv, facts, manifest)
    latest = checkpointer.latest()
    if latest:
      state, constants = checkpointer.restore(latest, state)
      session = session.with_arrays(constants)
      feed.restore(checkpointer.source_state(latest))
      log.info(f"resuming from {latest}")
    return self._loop(run_dir, session, state, step_fn, feed, put, evaluators, checkpointer)

  def _calibrated(self, session, run_dir, batch, dry_run):
    """Methods that start from data measure it; those of a run that goes on are as its checkpoint says."""
    found = checkpoint.committed(os.path.join(run_dir, "checkpoints"))
    dtype = self.precision.trained
    if not dry_run and not found:
      return calibrate.from_data(session, self.objective, batch, self.seed, dtype)
    methods = runtime.methods_of(found[-1]) if found else session.attached.methods
    if methods == session.attached.methods:
      return session
    return calibrate.reattached(session, methods, self.seed, dtype, {})

  def _loop(self, run_dir, session, state, step_fn, feed, put, evaluators, checkpointer) -> Run:
    done, path, stop = int(state.step), os.path.join(run_dir, "metrics.jsonl"), hosts.Stop()
    listeners = self._hooks(run_dir, path, done)
    timing = _FirstStep(os.path.join(run_dir, "profile") if self.profile else "")
    engine, started = session.engine(), time.perf_counter()
    train = loop.Loop(
      step_fn=timing.wrap(step_fn),
      frozen=session.frozen,
      source=feed,
      put=put,
      steps=self.steps,
      hooks=listeners,
      evaluators=evaluators,
      view=lambda trainable: engine.with_params({**trainable, **session.frozen}),
      record=lambda step, name, result: results.write(run_dir, f"step_{step:06d}", name, result),
      asked=stop.due,
      checkpointer=checkpointer,
      save_every=self.keep.every,
      early_stop=self.early_stop,
      run_dir=run_dir,
      history=results.evaluations(path, done),
      clock=self._clock(session),
    )
    with stop:
      state = train.run(state)
    hosts.barrier("trained")  # the lead has written all its lines
    metrics = results.summary(path) | {
      "first_step_s": timing.seconds,
      "train_s": time.perf_counter() - started,
      "steps": float(state.step),
    }
    if state.step > done and log.is_lead():
      files.write_json(os.path.join(run_dir, "train.json"), metrics)
    return Run(run_dir, metrics)

  def _clock(self, session) -> hooks.Clock:
    positions = self.packing.rows * self.packing.row_length
    return hooks.Clock(positions * operations(session), chips.peak_flops(list(session.mesh.devices.flat)))

  def _hooks(self, run_dir, path, done) -> list[contracts.Hook]:
    if not log.is_lead():
      return []
    listeners: list[contracts.Hook] = [hooks.Jsonl(path, done), hooks.Bar(self.steps, done)]
    if files.is_remote(run_dir):
      log.info("TensorBoard's files are not written into a bucket; metrics.jsonl holds the same figures")
    else:
      listeners.append(hooks.TensorBoard(os.path.join(run_dir, "tensorboard"), done))
    return [*listeners, results.wandb_hook(self.wandb_project, run_dir)] if self.wandb_project else listeners


def main(args) -> None:
  """Runs the command; the last line of stdout is one JSON object."""
  runtime.start(args.cluster)
  gin_setup.parse("train", args.gin_file, args.overrides)
  run = gin_setup.call(Train)(run_dir=args.run_dir, dry_run=args.dry_run, argv=tuple(args.argv))
  runtime.result({"run_dir": run.run_dir, **run.metrics})


class _FirstStep:
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


def operations(session: runtime.Session) -> float:
  """What a position of a training step needs: 6 for each trained parameter and 4 for each frozen one, packed or not."""
  packed, values = runtime.packed_weights(session.base)
  trained, frozen = tree.size(session.trainable), tree.size(session.frozen) - tree.size(packed) + values
  return 6.0 * trained + 4.0 * frozen


def _put(session, micro_batches, rows):
  def put(batch):
    cut = jax.tree.map(lambda x: x.reshape(micro_batches, -1, *x.shape[1:]), batch)
    return shard.global_batch(cut, session.mesh, session.rules, rows, stacked=True)

  return put


def _warm(session: runtime.Session, path: str) -> runtime.Session:
  """Parameters of an earlier run or adapter; the optimizer starts anew."""
  if files.exists(os.path.join(path, "adapter_config.json")):
    loaded = runtime.adapter_arrays(session, path)
    return session.with_arrays(loaded)
  folder = runtime.checkpoint_of(path)
  runtime.check_base(folder, session.base)
  return session.with_arrays(checkpoint.restore_trainable(folder, session.adapter))


def _facts(session, feed, manifest, packing, steps) -> dict[str, Any]:
  facts = {
    "parameters": tree.size(session.attached.params),
    "trainable_parameters": tree.size(session.trainable),
    "positions_per_step": packing.rows * packing.row_length,
    "steps": steps,
    "epochs": steps / feed.steps_per_epoch(),
    "padding_share": feed.padding_share(),
    "devices": session.mesh.size,
    "rows": sum(s["kept"] for s in manifest["sources"]),
  }
  log.info(
    f"training {facts['trainable_parameters']:,} of {facts['parameters']:,} parameters for {steps} steps of "
    f"{facts['positions_per_step']:,} positions ({facts['epochs']:.2f} epochs, padding {facts['padding_share']:.2%})"
  )
  return facts


def _warn_of_idle_shards(mesh, rows: int) -> None:
  shards = mesh.shape.get("data", 1) * mesh.shape.get("fsdp", 1)
  if rows % shards:
    log.info(f"{rows} rows a micro-batch do not divide among {shards} data shards: every device computes all of them")


def _claim(run_dir: str, argv, facts, manifest) -> None:
  """Makes the run directory (the lead does), or checks that the one there is of the same configuration."""
  operative, path = gin_setup.operative(), os.path.join(run_dir, "operative.gin")
  if files.exists(path):
    with files.opened(path) as f:
      before = f.read()
    if before != operative:
      diff = [
        line
        for line in difflib.unified_diff(before.splitlines(), operative.splitlines(), lineterm="", n=0)
        if line[:1] in "+-" and line[:3] not in ("+++", "---")
      ]
      raise errors.InputError(
        f"{run_dir} holds a run of another configuration; take another (- there, + here): {' | '.join(diff[:8])}"
      )
    return
  if checkpoint.committed(os.path.join(run_dir, "checkpoints")):
    raise errors.InputError(f"{run_dir} holds checkpoints but no operative.gin; use another --run_dir")
  if not log.is_lead():
    return
  files.make_folder(run_dir)
  files.write_text(os.path.join(run_dir, "config.gin"), gin_setup.given())
  files.write_json(
    os.path.join(run_dir, "run.json"),
    {"argv": list(argv), "commit": _commit(), "packages": _packages(), "facts": facts},
  )
  files.write_json(os.path.join(run_dir, "data.json"), manifest)
  files.write_text(path, operative)


def _commit() -> str:
  """The commit of the checkout, or nothing where there is no git (an image)."""
  command = ["git", "rev-parse", "HEAD"]
  try:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=os.path.dirname(__file__))
  except OSError:
    return ""
  return done.stdout.strip()


def _packages() -> dict[str, str]:
  return {
    name: importlib.metadata.version(name)
    for name in ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "transformers", "tokenizers")
  }
