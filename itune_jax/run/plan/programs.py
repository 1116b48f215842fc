"""The programs that `itune plan` compiles: those of training, scoring, prefill and decoding, made of shapes alone."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from itune_jax.core import axes as axes_lib
from itune_jax.core import tree
from itune_jax.core import vocabulary
from itune_jax.models import view
from itune_jax.peft import attach
from itune_jax.run.plan import shapes
from itune_jax.sampling.decode import one_token
from itune_jax.sampling.decode import prefill as prefill_lib
from itune_jax.sampling.decode import row_state
from itune_jax.sampling.score import branches as branches_lib
from itune_jax.sampling.score import score as score_lib
from itune_jax.train import state as state_lib
from itune_jax.train import step as step_lib

CHOICES = 4, 16  # continuations of a context, and tokens of each, that `choices` is planned for
ROUND = 64  # tokens of a row between two refills, for `decode`


class Step(NamedTuple):
  """A compiled function's source, the shapes that it takes, and what is known of it beforehand.

  useful: operations that one position needs. unknown_turns: of loops whose number of turns depends on values.
  """

  fn: Any
  given: tuple[Any, ...]
  facts: dict[str, float]
  mesh: Mesh
  parts: dict[str, float]  # GiB a chip of what is handed to it
  useful: float
  unknown_turns: int


def train(model: shapes.Model) -> Step:
  """One optimizer step on PACKING, in MICRO_BATCHES."""
  run = model.run
  transform, rate = run.optimizer.make(run.steps, model.trainable, model.leaves)
  transform = attach.wrap_optimizer(run.peft, transform, run.steps)
  others, arrays = shapes.beside(model)
  memory, arrays = step_lib.memory_of(run.objective, others, arrays)
  frozen = {**model.frozen, **arrays}
  state = state_lib.abstract(model.trainable, transform, model.mesh, memory)
  where = {name: value.sharding for name, value in model.trainable.items()}
  penalty = attach.penalty_of(run.peft)
  fn = step_lib.make_step(model.binder, run.objective, transform, rate, where, penalty, others)
  batch = shapes.batch(model, (run.micro_batches, run.packing.rows // run.micro_batches, run.packing.row_length), True)
  trained, numbers = tree.size(model.trainable), shapes.numbers(model.frozen)
  # Forward, the gradient of inputs, and of trained weights: two operations each; a view runs forward alone.
  useful = 6.0 * trained + 4.0 * numbers + sum(2.0 * _seen(model, arrays, other) for other in others.values())
  parts = {"trained": model.trainable, "optimizer": state.opt_state, "frozen": model.frozen}
  parts |= {"views": {**arrays, **state.memory}} if arrays or state.memory else {}
  turns = _loss_turns(model, batch.tokens_BT.shape, run.objective.chunk)
  return _step(model, fn, (state, frozen, batch), parts, useful, turns)


def _seen(model: shapes.Model, arrays: dict[str, Any], other: step_lib.FrozenView) -> int:
  """How many weights a view runs through."""
  every = {**model.params, **arrays}
  return shapes.numbers({name: every[key] for name, key in other.names if key in every})


def score(model: shapes.Model) -> Step:
  """Log-likelihoods of PACKING's rows."""
  packing = model.run.packing
  batch = shapes.batch(model, (packing.rows, packing.row_length))
  given, turns = (model.params, batch), _loss_turns(model, batch.tokens_BT.shape)
  return _step(model, score_lib.program(model.binder), given, {"weights": model.params}, _forward(model), turns)


def prefill(model: shapes.Model) -> Step:
  """The prompts of PACKING's rows, one to a row, into a cache of their length."""
  shape = (model.run.packing.rows, model.run.packing.row_length)
  fn, given = prefill_lib.program(model.binder), _prompts(model, shape)
  return _step(model, fn, given, {"weights": model.params}, _forward(model, "head/", "embed/"), 1)  # no logits


def prefill_next(model: shapes.Model) -> Step:
  """The next piece of PACKING's rows, prompts as long as they are, behind their own keys."""
  rows, length = model.run.packing.rows, min(prefill_lib.CHUNK, model.run.packing.row_length)
  before = _prefilled(model)
  given = (model.params, before, shapes.batch(model, (rows, length)), model.shaped(jnp.int32, (rows,), None))
  parts = {"weights": model.params, "cache": before.cache}
  step = _step(model, prefill_lib.next_program(model.binder), given, parts, _forward(model, "head/", "embed/"), 1)
  return step._replace(facts=step.facts | {"positions_per_step": rows * length})


def choices(model: shapes.Model) -> Step:
  """CHOICES continuations behind each of PACKING's rows, contexts whose keys are kept."""
  rows, shards = model.run.packing.rows, prefill_lib.shards(model.binder)
  each, tokens = CHOICES
  before, number = _prefilled(model), lambda dtype, *shape: model.shaped(dtype, shape, "batch", None)
  first = branches_lib.First(number(jnp.int32, rows, each), number(jnp.float32, rows, each))
  length = -(-rows * each * tokens // shards)
  behind = shapes.batch(model, (shards, length)), number(jnp.int32, rows, each * tokens)
  given = (model.params, before.cache, before.last_BD, first, *behind)
  parts = {"weights": model.params, "cache": before.cache}
  turns = _loss_turns(model, (shards, length))
  step = _step(model, branches_lib.program(model.binder), given, parts, _forward(model), turns)
  return step._replace(facts=step.facts | {"positions_per_step": rows * each * tokens})


def decode(model: shapes.Model) -> Step:
  """A round of ROUND tokens for each of PACKING's rows behind a cache of their length."""
  packing, binder = model.run.packing, one_token.laid_out(model.binder, model.params)
  where = binder.shardings(model.params)
  params = {n: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where[n]) for n, x in model.params.items()}
  shapes = row_state.empty_program(binder).eval_shape(params, row_state.Shape(packing.rows, packing.row_length, 2))
  whole = lambda x: model.shaped(x.dtype, x.shape, *[None] * len(x.shape))
  cache = _laid_out(shapes.cache, binder)
  state = jax.tree.map(whole, shapes._replace(cache=None, keys_B=None))._replace(cache=cache, keys_B=shapes.keys_B)
  number = lambda dtype, *shape: model.shaped(dtype, shape, *[None] * len(shape))
  how = row_state.Round(number(jnp.int32, 2), number(jnp.int32), number(jnp.bool_, packing.rows))
  given = (params, state, number(jnp.int32), how)
  loop = row_state.loop_program(binder)
  step = _step(model, loop, given, {"weights": params, "cache": cache}, _forward(model), ROUND)
  return step._replace(facts=step.facts | {"positions_per_step": packing.rows * ROUND})


PROGRAMS = {
  "train": train,
  "score": score,
  "choices": choices,
  "prefill": prefill,
  "prefill_next": prefill_next,
  "decode": decode,
  "synth": decode,  # what a teacher does nearly all the time
}


def _prompts(model: shapes.Model, shape: tuple[int, int]) -> tuple[Any, ...]:
  """What `prefill.program` is given for prompts of this length, one to a row."""
  rows, last_B = model.shaped(jnp.int32, shape, "batch", "length"), model.shaped(jnp.int32, shape[:1], None)
  return model.params, shapes.batch(model, shape), rows, last_B, shape[1]


def _prefilled(model: shapes.Model) -> prefill_lib.Prefilled:
  """The cache of PACKING's rows, one prompt each."""
  packing = model.run.packing
  made = prefill_lib.program(model.binder).eval_shape(*_prompts(model, (packing.rows, packing.row_length)))
  last_BD = model.shaped(made.last_BD.dtype, made.last_BD.shape, None, None)
  return prefill_lib.Prefilled(_laid_out(made.cache, model.binder), last_BD)


def _laid_out(cache: Any, binder: view.Binder) -> Any:
  """A cache's shapes with their places on the mesh."""
  axes = row_state.axes_of(cache)
  spec = lambda x, axes: axes_lib.partition_spec(axes, x.shape, dict(binder.rules), binder.mesh)
  shaped = lambda x, axes: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(binder.mesh, spec(x, axes)))
  return jax.tree.map(shaped, cache, axes)


def _step(model: shapes.Model, fn, given, parts, useful: float, turns: int) -> Step:
  packing, trained = model.run.packing, tree.size(model.trainable)
  facts: dict[str, float] = {
    "parameters": trained + shapes.numbers(model.frozen),
    "trainable_parameters": trained,
    "positions_per_step": packing.rows * packing.row_length,
  }
  return Step(fn, given, facts, model.mesh, {k: shapes.gib_a_chip(v) for k, v in parts.items()}, useful, turns)


def _forward(model: shapes.Model, *without: str) -> float:
  """Operations of one position: an input table of its own is only looked up."""
  untied = any(name.startswith("head/") for name in model.params)
  without = (*without, "embed/") if untied else without
  return 2.0 * shapes.numbers({n: v for n, v in model.params.items() if not without or not n.startswith(without)})


def _loss_turns(model: shapes.Model, shape: tuple[int, ...], chunk: int = 0) -> int:
  """Turns of the loop over chunks of the vocabulary matmul, when every position counts."""
  *_, rows, length = shape
  shards = model.shards("loss_batch"), model.shards("act_vocab")
  return -(-length // vocabulary.span_of(rows, length, vocabulary.chunk_over(model.cfg.vocab, shards, chunk)))
