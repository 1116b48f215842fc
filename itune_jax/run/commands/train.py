"""`itune train`: one run from values to checkpoints, metrics and evaluations."""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import dataclasses
import functools
import math
import os
import time
from typing import Any, NamedTuple

import jax

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import digests
from itune_jax.core import files
from itune_jax.core import log
from itune_jax.core import numerics
from itune_jax.data import feed as feed_lib
from itune_jax.data import mixture as mixture_lib
from itune_jax.data import stored_reference
from itune_jax.data import validation as validation_lib
from itune_jax.data.render import chat
from itune_jax.evals import heldout
from itune_jax.nn import skeleton
from itune_jax.nn import stack
from itune_jax.parallel import hosts
from itune_jax.parallel import mesh as mesh_lib
from itune_jax.parallel import shard
from itune_jax.peft import attach
from itune_jax.peft import method as method_lib
from itune_jax.run import adapters as adapters_lib
from itune_jax.run import adapting
from itune_jax.run import begins
from itune_jax.run import calibrate
from itune_jax.run import command
from itune_jax.run import evaluators
from itune_jax.run import gin_setup
from itune_jax.run import identity
from itune_jax.run import listeners
from itune_jax.run import owner
from itune_jax.run import rendering as rendering_lib
from itune_jax.run import results
from itune_jax.run import run_dir as run_dir_lib
from itune_jax.run import session as session_lib
from itune_jax.run import specs
from itune_jax.run import views as views_lib
from itune_jax.select import mixing as mixing_lib
from itune_jax.train import checkpoint
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
  """A training run as one value; calling it trains, or goes on with the run that is in `run_dir`.

  Its length is `steps`, or as many as `epochs` passes over the data take: exactly one of them is set.

  model: the base. peft: the methods, or the parameters that are opened. mixture: the data. validation: what of it, or
  beside it, the loss is measured on. rendering: how conversations become tokens. packing: the geometry of a step's
  batch. objective: the loss. optimizer: what makes updates of gradients. mesh: how devices are laid out. precision:
  which dtype holds what. remat: what the backward pass finds saved. evals: evaluators that run in training. keep: which
  checkpoints stay. early_stop: when training ends before its last step. steps: optimizer steps, 0 beside epochs.
  epochs: passes over the data, 0 beside steps. mixing: the rule that changes the rates of the sources while it trains,
  None for none. micro_batches: pieces that a batch is cut into, one behind the other, to save memory. seed: of
  everything that is drawn. views: other models that the objective asks for, by name. warm_start: a run or adapter whose
  trained arrays the run starts from. wandb_project: where Weights & Biases gets the figures, "" for nowhere.
  debug_nans: stops at the first value that is not a number. profile: writes a profiler's trace of steps 2 to 4.
  """

  model: specs.Model
  peft: Sequence[Any]
  mixture: mixture_lib.Mixture
  rendering: chat.Rendering
  packing: feed_lib.Packing
  objective: contracts.Objective
  optimizer: contracts.Optimizer
  mesh: mesh_lib.MeshSpec | mesh_lib.Auto
  precision: numerics.Precision
  remat: stack.Remat
  evals: Sequence[contracts.Evaluation]
  keep: checkpoint.Keep
  early_stop: loop.EarlyStop
  steps: int
  micro_batches: int
  seed: int
  epochs: float = 0
  validation: validation_lib.Validation = validation_lib.Validation()
  views: Mapping[str, views_lib.View] = dataclasses.field(default_factory=dict)
  mixing: mixing_lib.Adaptive | None = None
  warm_start: str = ""
  wandb_project: str = ""
  debug_nans: bool = False
  profile: bool = False

  def __post_init__(self):
    whole = check.fits(self.steps, int) and self.steps >= 0
    check.require(whole, f"STEPS must be a positive integer, not {self.steps!r}")
    some = check.fits(self.epochs, float) and 0 <= self.epochs < math.inf
    check.require(some, f"EPOCHS must be a positive number, not {self.epochs!r}")
    check.require(
      bool(self.steps) != bool(self.epochs),
      f"STEPS = {self.steps} and EPOCHS = {self.epochs:g}: set one of them, and the other to 0",
    )
    self._check_parts()
    check.seed(self.seed)
    check.require(
      isinstance(self.micro_batches, int) and self.micro_batches > 0 and not self.packing.rows % self.micro_batches,
      f"PACKING rows = {self.packing.rows} do not divide into MICRO_BATCHES = {self.micro_batches!r}",
    )
    check.require(
      self.micro_batches == 1 or not self.objective.couples_batch,
      f"this {type(self.objective).__name__} compares all examples of a step: MICRO_BATCHES must be 1",
    )

  def _check_parts(self) -> None:
    """Raises InputError for a part of another kind, such as a name in place of a value (`PEFT=lora`)."""
    kinds: dict[str, tuple[type, ...]] = {
      "MODEL": (specs.Model,),
      "MIXTURE": (mixture_lib.Mixture,),
      "RENDERING": (chat.Rendering,),
      "PACKING": (feed_lib.Packing,),
      "OBJECTIVE": (contracts.Objective,),
      "OPTIMIZER": (contracts.Optimizer,),
      "MESH": (mesh_lib.MeshSpec, mesh_lib.Auto),
      "PRECISION": (numerics.Precision,),
      "REMAT": (stack.Remat,),
      "EVALS": (tuple, list),
      "VIEWS": (Mapping,),
      "MIXING": (mixing_lib.Adaptive, type(None)),
    }
    for name, kind in kinds.items():
      value, what = getattr(self, name.lower()), " or ".join(one.__name__ for one in kind)
      check.require(
        isinstance(value, kind), f"{name} must be {_a(what)}, such as a part of gin_configs sets, not {value!r}"
      )
    methods = self.peft if isinstance(self.peft, (tuple, list)) else ()
    check.require(
      methods and all(isinstance(one, method_lib.Method) for one in methods),
      f"PEFT must be a tuple of one method or more, such as (@lora.Lora(),), not {self.peft!r}; --peft=NAME is a part",
    )
    evaluators.require(self.evals)

  def __call__(self, *, run_dir: str, dry_run: bool = False, argv: Sequence[str] = ()) -> Run:
    """Trains to `steps`. With dry_run everything is built and traced, and nothing written.

    Raises InputError when a part cannot be had or does not fit the others, and where `run_dir` holds another run;
    RunError when the run fails or is stopped.
    """
    run_dir_lib.check_place(run_dir)
    changes = {} if dry_run else run_dir_lib.check_same(run_dir, self)
    with contextlib.nullcontext() if dry_run else owner.owned(run_dir):
      return self._run(run_dir, dry_run, argv, changes)

  def _run(self, run_dir: str, dry_run: bool, argv: Sequence[str], changes: Mapping[str, tuple[str, str]]) -> Run:
    jax.config.update("jax_debug_nans", self.debug_nans)
    reading = rendering_lib.open_renderer(self.model, self.rendering)
    session_lib.prepared(self.validation.trained(self._mixture), reading)  # before the base is loaded, which takes long
    how: dict[str, Any] = dict(mesh=self.mesh, precision=self.precision, remat=self.remat, seed=self.seed)
    session = session_lib.open_session(self.model, self.peft, **how, tokenizer=reading.tokenizer)
    renderer = session.renderer(self.rendering)
    data = self._data(session, renderer)
    lasting = self._lasting(data.feed)
    check.require(
      not (getattr(session.base.cfg, "scores", 0) and self.validation),
      "a reward model has no loss on text: leave VAL_DATA and VAL_FRACTION out; evals/preferred.gin is for pairs",
    )
    session = self._begun(session, data, run_dir, dry_run)
    bound = evaluators.bound([*self.evals, *lasting._validations()], renderer, self.seed)
    evaluators.say_idle(bound)
    keep = evaluators.with_mode(self.keep, bound, "checkpoint.Keep.metric")
    early_stop = evaluators.with_mode(self.early_stop, bound, "loop.EarlyStop.metric")
    others, arrays = views_lib.make(
      self.objective, self.views, session_lib.beside(session, self.remat), bool(self.warm_start)
    )
    memory, arrays = step_lib.memory_of(self.objective, others, arrays)
    state, step_fn = lasting._step(session, others, memory)
    facts = run_dir_lib.facts_of(
      session, positions=self._positions, steps=lasting.steps, feed=data.feed, manifest=data.manifest
    )
    if dry_run:
      jax.eval_shape(step_fn, state, {**session.frozen, **arrays}, data.batch(0))
      return Run(run_dir, facts)
    checkpointer = checkpoint.Checkpointer(run_dir, keep, session.identity(self.rendering), session.constants)
    latest = checkpointer.latest()
    done = int(os.path.basename(latest)) if latest else 0
    run_dir_lib.claim(
      run_dir, self, changes, argv=argv, facts=facts, manifest=data.manifest, steps=lasting.steps, done=done
    )
    checkpointer.belong_to(run_dir_lib.id_of(run_dir))
    run_dir_lib.check_room(run_dir, state, self.keep.last + (self.keep.best if self.keep.metric else 0))
    if latest:
      state, constants = checkpointer.restore(latest, state)
      session = session.with_arrays(constants)
      data.feed.restore(checkpointer.source_state(latest))
      log.info(f"resuming from {latest}")
    frozen = {**session.frozen, **arrays}
    mixers = self._mixers(session, data, frozen, others)
    ready = _Ready(session, frozen, state, step_fn, data, bound, checkpointer, early_stop, others, mixers)
    return lasting._loop(run_dir, ready)

  def _mixers(self, session: session_lib.Session, data: "_Data", frozen, others) -> list[contracts.Hook]:
    """What changes the rates of the sources, if anything does."""
    if self.mixing is None:
      return []
    where = {name: value.sharding for name, value in session.trainable.items()}
    made_of = (session.binder, self.objective, others, where, frozen)
    given = adapting.Given(*made_of, self.packing, data.rows, data.opened, data.put, self.seed)
    return [adapting.make(self.mixing, data.feed, self._mixture, self.validation, given)]

  @functools.cached_property
  def _mixture(self) -> mixture_lib.Mixture:
    """The data, tasks and data sets as `itune prepare` read them."""
    return rendering_lib.opened(self.mixture)

  @property
  def _positions(self) -> int:
    """Of one optimizer step."""
    return self.packing.rows * self.packing.row_length

  def _lasting(self, feed: feed_lib.Packed) -> "Train":
    """The run with its number of steps, which hangs on the data where it is given in epochs."""
    if not self.epochs:
      return self
    whole = self.epochs * feed.steps_per_epoch()
    check.require(math.isfinite(whole), f"EPOCHS = {self.epochs:g}: this data does not say how long it is; give STEPS")
    steps = max(1, math.ceil(whole))
    return dataclasses.replace(self, steps=steps, epochs=0)

  def _validations(self) -> list[heldout.HeldOut]:
    """The loss on what validates the run, if anything does."""
    if not self.validation:
      return []
    every, sources = self.validation.every or max(1, self.steps // 10), self.validation.sources(self._mixture)
    return [heldout.HeldOut(name="validation", sources=sources, every=every, row_length=self.packing.row_length)]

  def _data(self, session: session_lib.Session, renderer: chat.Renderer) -> "_Data":
    mesh, rules, each = session.mesh, session.rules, self.packing.rows // self.micro_batches
    rows = hosts.rows(mesh, rules, self.packing.rows, self.micro_batches)
    taught = views_lib.sources_of(self.views)
    teacher = views_lib.stored_teacher_of(self.objective, self.views)
    of = (self.objective.columns, self._reference(session), taught, teacher)
    feed, manifest = session_lib.open_feed(
      self.validation.trained(self._mixture), renderer, self.packing, self.seed, rows, *of
    )
    opened = lambda mixture: session_lib.open_sources(mixture, renderer, self.seed, *of)
    manifest |= adapting.manifest_of(self.mixing, self._mixture, self.validation, opened)
    _warn_of_idle_shards(mesh, each)

    def put(batch):
      cut = jax.tree.map(lambda x: x.reshape(self.micro_batches, -1, *x.shape[1:]), batch)
      return shard.global_batch(cut, mesh, rules, each, stacked=True)

    return _Data(feed, manifest, put, rows, opened)

  def _reference(self, session: session_lib.Session) -> stored_reference.Of | None:
    """Whose log-probs the batches bring, where the reference is one that is stored."""
    if not views_lib.are_stored(self.views):
      return None
    return stored_reference.Of(session.base.digest, adapters_lib.digest(self.warm_start), self.precision.compute)

  def _begun(self, session: session_lib.Session, data: "_Data", run_dir: str, dry_run: bool) -> session_lib.Session:
    """The session with its methods as they begin: calibrated, and with the arrays of an earlier run."""
    session = self._calibrated(session, data, run_dir, dry_run)
    if not self.warm_start:
      return session
    adapters_lib.say_packing(self.warm_start, self.model)
    return session.with_arrays(adapters_lib.arrays_for(session.attached, self.warm_start, session.base))

  def _calibrated(self, session: session_lib.Session, data: "_Data", run_dir: str, dry_run: bool):
    """Methods that start from data measure it; those of a run that goes on are as its checkpoint says."""
    found = run_dir_lib.checkpoints(run_dir)
    dtype = self.precision.trained
    if not dry_run and not found:
      return calibrate.from_data(session, self.objective, data.batch, self.seed, dtype)
    methods = adapters_lib.methods_of(found[-1]) if found else session.attached.methods
    if methods == session.attached.methods:
      return session
    return calibrate.reattached(session, methods, self.seed, dtype, {})

  def _step(
    self, session: session_lib.Session, others: Mapping[str, step_lib.FrozenView], memory: Mapping[str, Any]
  ) -> tuple[state_lib.State, Callable]:
    """The state before the first step, and the compiled step."""
    attached = session.attached
    transform, rate = self.optimizer.make(self.steps, attached.trainable, skeleton.leaves(attached.module))
    transform = attach.wrap_optimizer(attached.methods, transform, self.steps)
    state = state_lib.create(session.trainable, transform, self.seed, session.mesh, memory)
    where = {name: value.sharding for name, value in state.trainable.items()}
    penalty = attach.penalty_of(attached.methods)
    return state, step_lib.make_step(session.binder, self.objective, transform, rate, where, penalty, others)

  def _loop(self, run_dir: str, ready: "_Ready") -> Run:
    session, done = ready.session, int(ready.state.step)
    path, stop = results.metrics_file(run_dir), hosts.Stop()
    hooks = listeners.hooks_of(
      run_dir, steps=self.steps, done=done, wandb_project=self.wandb_project, values=identity.values_of(self)
    )
    timing = listeners.FirstStep(os.path.join(run_dir, "profile") if self.profile else "")
    engine, started = session.engine(), time.perf_counter()
    engine = dataclasses.replace(engine, reference=_reference_engine(engine, ready))
    train = loop.Loop(
      step_fn=timing.wrap(
        begins.checked(ready.step_fn, self.objective, self.precision.compute, done, views_lib.are_stored(self.views))
      ),
      frozen=ready.frozen,
      source=ready.data.feed,
      put=ready.data.put,
      steps=self.steps,
      hooks=[*hooks, *ready.mixers],
      evaluators=ready.evaluators,
      view=lambda trainable: engine.with_params({**trainable, **session.frozen}),
      used=lambda state: self.optimizer.used(state.opt_state, state.trainable),
      record=lambda step, name, result: results.write(run_dir, f"step_{step:06d}", name, result),
      asked=stop.due,
      checkpointer=ready.checkpointer,
      save_every=self.keep.every,
      early_stop=ready.early_stop,
      run_dir=run_dir,
      history=results.evaluations(path, done),
      clock=listeners.clock_of(session, self._positions),
    )
    with stop:
      state = train.run(ready.state)
    hosts.barrier("trained")  # the lead has written all its lines
    metrics = results.summary(path) | {
      "first_step_s": timing.seconds,
      "train_s": time.perf_counter() - started,
      "steps": float(state.step),
    }
    if state.step > done and log.is_lead():
      files.write_json(os.path.join(run_dir, "train.json"), metrics)
    return Run(run_dir, metrics)


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs the command; returns the figures of the run."""
  if args.verify:
    digests.keep_in(digests.kept_in(), verify=True)
  run = gin_setup.call(Train)(run_dir=args.run_dir, dry_run=args.dry_run, argv=tuple(args.argv))
  return {"run_dir": run.run_dir, **run.metrics}


class _Data(NamedTuple):
  """What a run trains on: the feed, the manifest of its mixture, how a batch gets onto the mesh, which of its rows are
  this process's, and how the sources of another prepared mixture are opened."""

  feed: feed_lib.Packed
  manifest: dict[str, Any]
  put: Callable[[Any], Any]
  rows: Sequence[int]
  opened: Callable[[mixture_lib.Mixture], adapting.Opened]

  def batch(self, k: int) -> Any:
    """Global batch k on the mesh, leaves [M, B, T]."""
    return self.put(self.feed.batch(k))


class _Ready(NamedTuple):
  """All that a run's loop is made of."""

  session: session_lib.Session
  frozen: dict[str, Any]
  state: state_lib.State
  step_fn: Callable
  data: _Data
  evaluators: list[contracts.Evaluator]
  checkpointer: checkpoint.Checkpointer
  early_stop: loop.EarlyStop
  others: Mapping[str, step_lib.FrozenView]
  mixers: list[contracts.Hook]


def _reference_engine(engine: Any, ready: _Ready) -> Any:
  """The engine of the reference; None for one that follows the policy, is stored, or is not there."""
  other = ready.others.get("reference")
  if other is None or not other.names or other.every:
    return None
  return dataclasses.replace(engine, bind=other.bind, params={n: ready.frozen[key] for n, key in other.names}, kept={})


def _a(what: str) -> str:
  return f"an {what}" if what[0] in "AEIOU" else f"a {what}"


def _warn_of_idle_shards(mesh, rows: int) -> None:
  shards = mesh.shape.get("data", 1) * mesh.shape.get("fsdp", 1)
  if rows % shards:
    log.info(f"{rows} rows a micro-batch do not divide among {shards} data shards: every device computes all of them")
