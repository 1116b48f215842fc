"""A tiny decoder and packed batches, for tests: two layers, D=16."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from itune_jax.core import axes
from itune_jax.core import batch as batch_lib
from itune_jax.core import pack
from itune_jax.core import rng
from itune_jax.parallel import mesh as mesh_lib
from itune_jax.models import decoder
from itune_jax.models import load
from itune_jax.models import view
from itune_jax.nn import rope
from itune_jax.nn import stack
from itune_jax.peft import attach as attach_lib

CONFIG = decoder.DecoderConfig(
  vocab=64,
  width=16,
  depth=2,
  heads=4,
  kv_heads=2,
  head_dim=4,
  mlp=32,
  max_length=128,
  rope=rope.Rope(base=100.0),
  tied=True,
)


@functools.cache
def mesh(devices: int, **sizes: int):
  """A mesh over the first so many fake devices; those that no axis names are along fsdp."""
  return mesh_lib.MeshSpec(**sizes).make(jax.devices()[:devices])


def base(the_mesh=None, cfg=CONFIG, remat="none", seed=0):
  """A random model."""
  return load.initialise(
    cfg, seed=seed, mesh=the_mesh or mesh(1), rules=axes.DEFAULT_RULES, remat=stack.Remat(policy=remat)
  )


def attach(model, *methods, the_mesh=None, key=0):
  """Methods on a model."""
  return attach_lib.attach(model.module, model.params, methods, rng.root(key), mesh=the_mesh or mesh(1))


def binder(module, the_mesh=None):
  """The binder of a module."""
  return view.Binder.of(module, the_mesh or mesh(1), axes.DEFAULT_RULES, "float32")


def examples(count: int, vocab: int = 64, seed: int = 0, longest: int = 20):
  """(ids, weights) of random conversations; the second half is trained."""
  rs = np.random.RandomState(seed)
  found = []
  for _ in range(count):
    n = rs.randint(4, longest + 1)
    weights = (np.arange(n) >= n // 2).astype(np.float32) * rs.choice([0.5, 1.0, 2.0])
    found.append((rs.randint(0, vocab, n).astype(np.int32), weights.astype(np.float32)))
  return found


def packed(items, row_length: int, rows: int | None = None) -> batch_lib.Batch:
  """Items packed into rows (filled up with empty rows)."""
  members = pack.best_fit_decreasing([len(ids) - 1 for ids, _ in items], row_length)
  members += [[]] * ((rows or len(members)) - len(members))
  return pack.fill([[items[i] for i in row] for row in members], row_length)


def unpacked(items, row_length: int) -> batch_lib.Batch:
  """One item a row."""
  return pack.fill([[item] for item in items], row_length)


def logits(attached_or_base, batch, the_mesh=None, params=None):
  """Logits [B, T, V] under jit."""
  run = program(binder(attached_or_base.module, the_mesh))
  return run(attached_or_base.params if params is None else params, jax.tree.map(jnp.asarray, batch))


def rounding(model, batch, seeds: int = 4) -> float:
  """How far logits move where every weight moves by one unit in its last place: the float32 of the machine at hand.

  Processors add in different orders. Where two ways to the same logits round differently, a bound in these units holds
  on all of them, while a fixed one is right for one.
  """
  exact, moved = logits(model, batch), []
  for seed in range(seeds):
    up = np.random.RandomState(seed)
    nudge = lambda x: np.nextafter(x, np.where(up.rand(*x.shape) < 0.5, -np.inf, np.inf).astype(x.dtype))
    params = {
      name: jax.device_put(nudge(np.asarray(x)), x.sharding) if x.dtype == jnp.float32 else x
      for name, x in model.params.items()
    }
    moved.append(float(np.abs(logits(model, batch, params=params) - exact).max()))
  return max(moved)


@functools.cache
def program(bind):
  """Logits of (params, batch): one program for all models of a structure."""

  @jax.jit
  def run(params, batch):
    model = bind(params)
    ctx = model.context(batch)
    return model.project(model.hidden(batch.tokens_BT, ctx)[0], ctx)

  return run


def randomise(attached, scale: float = 0.1, seed: int = 1):
  """The attached model with random values added to all that trains, so that it is no identity."""
  params = dict(attached.params)
  for i, name in enumerate(sorted(attached.trainable)):
    noise = np.random.RandomState(seed * 1000 + i).randn(*params[name].shape).astype(np.float32) * scale
    params[name] = jax.device_put(np.asarray(params[name]) + noise, params[name].sharding)
  return dataclasses.replace(attached, params=params)
