"""A run's model made of shapes: what its parameters are, and where they lie on devices that need not be there."""

from collections.abc import Mapping
import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from itune_jax.core import axes as axes_lib
from itune_jax.core import batch as batch_lib
from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import pack
from itune_jax.core import rng
from itune_jax.core import vocabulary
from itune_jax.data import stored_reference
from itune_jax.models import load as load_lib
from itune_jax.models import published
from itune_jax.models import view
from itune_jax.models import vlm
from itune_jax.models.hf import config
from itune_jax.nn import skeleton
from itune_jax.parallel import shard
from itune_jax.peft import attach
from itune_jax.run import loading
from itune_jax.run import process
from itune_jax.run import specs
from itune_jax.run import views
from itune_jax.run.commands import train as train_lib
from itune_jax.train import step as step_lib

GIB = 2**30


class Model(NamedTuple):
  """A run's model and methods on devices that need not be there: shapes with shardings."""

  run: train_lib.Train
  cfg: Any
  mesh: Mesh
  rules: axes_lib.Rules
  binder: view.Binder
  trainable: dict[str, Any]
  frozen: dict[str, Any]
  leaves: dict[str, contracts.Leaf]
  base: load_lib.Base

  @property
  def params(self) -> dict[str, Any]:
    """All of them."""
    return {**self.trainable, **self.frozen}

  def shards(self, axis: str) -> int:
    """Over how many devices a logical axis is laid."""
    return batch_lib.Ctx(None, None, mesh=self.mesh, rules=self.binder.rules).shards(axis)

  def shaped(self, dtype: Any, shape: tuple[int, ...], *axes: str | None) -> Any:
    """An array of this shape, laid out by the rules of its axes."""
    spec = axes_lib.partition_spec(axes, shape, self.rules, self.mesh)
    return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(self.mesh, spec))


def open_model(run: train_lib.Train, devices: Any) -> Model:
  """The model of a run. Raises InputError when its shape is not known."""
  mesh, rules = run.mesh.make(devices), run.mesh.rules
  process.multiply_as(run.precision)
  cfg = shape_of(run.model)
  if run.model.scores:
    cfg = dataclasses.replace(cfg, scores=run.model.scores, tied=False)
  base = load_lib.abstract(
    cfg,
    mesh=mesh,
    rules=rules,
    dtypes=loading.dtypes_of(run.peft, run.precision),
    remat=run.remat,
    quantised=run.model.quant,
  )
  attached = attach.attach(
    base.module, base.params, tuple(run.peft), rng.root(0), mesh=mesh, rules=rules, dtype=run.precision.trained
  )
  binder = view.Binder.of(attached.module, mesh, rules, run.precision.compute)
  trainable = {n: attached.params[n] for n in sorted(attached.trainable)}
  frozen = {n: v for n, v in attached.params.items() if n not in trainable}
  return Model(run, cfg, mesh, rules, binder, trainable, frozen, skeleton.leaves(attached.module), base)


def beside(model: Model) -> tuple[dict[str, step_lib.FrozenView], dict[str, Any]]:
  """The views that the run's objective asks for, and their arrays as shapes. Raises InputError as `views.make` does."""
  run = model.run

  def opened(asked: views.Model) -> views.Other:
    rules = {**model.rules, **asked.rules}
    base = load_lib.abstract(
      shape_of(asked.model),
      mesh=model.mesh,
      rules=rules,
      dtypes=loading.dtypes_of((), asked.precision),
      remat=run.remat,
      quantised=asked.model.quant,
    )
    bind = view.Binder.of(base.module, model.mesh, rules, asked.precision.compute)
    return views.Other(bind, base.params, "", lambda: _numbers(shape_of(asked.model).vocab))

  def on_base(adapters: Mapping[str, str]) -> tuple[view.Binder, Mapping[str, Any]]:
    raise errors.InputError(f"views.Adapters are read from {', '.join(adapters.values())}: a plan opens no adapter")

  own = (model.base, model.binder, model.params, frozenset(model.trainable), "")
  policy = views.Policy(*own, opened, on_base, lambda: _numbers(model.cfg.vocab))
  return views.make(run.objective, run.views, policy, bool(run.warm_start))


def _numbers(vocab: int) -> dict[str, int]:
  """Words of a vocabulary of which only the size is known: a plan takes all that may be common for common."""
  return {str(i): i for i in range(vocab)}


def shape_of(model: specs.Model) -> Any:
  """The config of a model, without its weights."""
  if model.config is not None:
    return model.config
  if model.base in published.CONFIGS:
    return config.config_from_hf(published.CONFIGS[model.base], model.base)
  return load_lib.open_source(specs.resolve(model.base)).config()


def numbers(params: Mapping[str, Any]) -> int:
  """How many weights parameters stand for: two for a byte of 4-bit codes, none for the scales of packed kernels."""
  kernels = {n: v for n, v in params.items() if not n.rpartition("/")[0].endswith("/kernel") or n.endswith("/codes")}
  return sum(math.prod(v.shape) * (2 if v.dtype == jnp.uint8 else 1) for v in kernels.values())


def gib_a_chip(shapes: Any) -> float:
  """What arrays of these shapes and shardings take on one device."""
  sizes = [math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(shapes)]
  return sum(sizes) / GIB


def chunk_of(model: Model) -> int:
  """Positions that the objective projects onto the vocabulary at a time, for each shard of the rows."""
  return vocabulary.chunk_over(model.cfg.vocab, (1, model.shards("act_vocab")), model.run.objective.chunk)


def _images(vision: Any, shape: tuple[int, ...], sharding: Any) -> Any:
  """The pixels of rows as full of images as they can be, in the places that training gives them."""
  slots = pack.image_slots([max(1, shape[-1] // vision.patches)])
  return jax.ShapeDtypeStruct((*shape[:-1], slots, vision.size, vision.size, 3), jnp.float32, sharding=sharding)


def batch(model: Model, shape: tuple[int, ...], stacked: bool = False) -> batch_lib.Batch:
  """A batch of [B, T], or [M, B, T] in micro-batches, laid out as those of a run."""
  sharding = shard.batch_sharding(shape, model.mesh, model.rules, stacked=stacked)
  make = lambda dtype: jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)
  ints = lambda: make(jnp.int32)
  plain = batch_lib.Batch(ints(), ints(), make(jnp.float32), ints(), ints(), prefix_BT=ints())
  if isinstance(model.cfg, vlm.VlmConfig):
    plain = dataclasses.replace(plain, images=_images(model.cfg.vision, shape, sharding))
  wanted = (*model.run.objective.columns, *((stored_reference.REFERENCE,) if views.are_stored(model.run.views) else ()))
  if not stacked or not wanted:
    return plain
  of = lambda c: jax.ShapeDtypeStruct((*shape, *c.shape), jnp.dtype(c.dtype), sharding=sharding)
  grouped = any(column.name in _OF_GROUPS for column in wanted)
  columns = {column.name: of(column) for column in wanted}
  return dataclasses.replace(plain, columns=columns, groups_BT=ints() if grouped else None)


_OF_GROUPS = ("side", "label", "score", "ahead")  # columns of answers that are compared: their prompts stand once
