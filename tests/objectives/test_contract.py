"""What every objective keeps: the gradient of whole logits, however rows, devices, layers and micro-batches are cut."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.core import axes
from itune_jax.core import numerics
from itune_jax.models import view
from itune_jax.peft.methods import full
from itune_jax.peft.methods import lora
from itune_jax.train import step as step_lib
from tests import tiny
from tests.objectives import table

METHODS = (lora.Lora(rank=2, alpha=4.0), lora.Lora(name="head", rank=2, sites="embed"))
OTHER = dataclasses.replace(tiny.CONFIG, width=24, heads=2, kv_heads=1, head_dim=8, mlp=40)
RULES = dict(axes.DEFAULT_RULES) | {"heads": (), "mlp": ("tensor",), "vocab": (), "vocab_out": ()}

EVERY = [*table.ROWS, *(pytest.param(name, marks=pytest.mark.full) for name in table.FULL_ROWS)]


class Whole(view.BoundModel):
  """Functions of the vocabulary by whole logits: what chunks must equal."""

  def _logits(self, batch, ctx):
    return self.project(self.hidden(batch.tokens_BT, ctx)[0], ctx).astype(jnp.float32)

  def token_logprobs(self, batch, ctx, *, temperature=1.0, chunk=0):
    logp = jax.nn.log_softmax(self._logits(batch, ctx) / temperature)
    return jnp.where(batch.weights_BT != 0, numerics.at_target(logp, batch.targets_BT), 0)

  def over_vocabulary(self, fn, batch, ctx, *, others=(), columns=(), chunk=0):
    logits = [self._logits(batch, ctx), *(v._logits(batch, c) for v, c in others)]
    keep = batch.weights_BT != 0
    return jax.tree.map(lambda x: jnp.where(numerics.align_front(keep, x), x, 0), fn(tuple(logits), columns))


@dataclasses.dataclass(frozen=True)
class WholeBinder:
  """Gives `Whole` views."""

  inner: view.Binder

  def __call__(self, params):
    return Whole(self.inner.skeleton.build(params), self.inner)


def policy(mesh, remat="none", scores=0, more=()):
  if not scores:
    return tiny.randomise(tiny.attach(tiny.base(mesh, remat=remat), *METHODS, *more, the_mesh=mesh))
  cfg = dataclasses.replace(tiny.CONFIG, scores=scores, tied=False)
  methods = (METHODS[0], full.Full(params="head/kernel"))
  return tiny.randomise(tiny.attach(tiny.base(mesh, cfg, remat=remat), *methods, the_mesh=mesh))


def others_of(row, mesh, whole=False):
  """The views that a row asks for, and their arrays."""
  kind = WholeBinder if whole else lambda bind: bind
  if row.others == "base":
    base = tiny.base(mesh)
    return {
      "reference": step_lib.FrozenView(kind(tiny.binder(base.module, mesh)), tuple((n, n) for n in base.params))
    }, {}
  cfg, rules = (OTHER, RULES) if row.others == "model" else (tiny.CONFIG, dict(axes.DEFAULT_RULES))
  (name,) = row.objective.needs
  other = tiny.base(mesh, cfg, seed=5)
  bind = view.Binder.of(other.module, mesh, rules, "float32")
  where = bind.shardings(other.params)
  params = {n: jax.device_put(x, where[n]) for n, x in other.params.items()}
  bind = kind(bind) if row.words is None else view.WithWords(kind(bind), lambda: row.words)
  found, arrays = step_lib.frozen_tree(name, bind, params)
  return {name: found}, arrays


def run(row, mesh, batch, cuts=1, remat="none", whole=False):
  attached = policy(mesh, remat, row.scores, row.methods)
  others, arrays = others_of(row, mesh, whole) if row.objective.needs else ({}, {})
  bind = tiny.binder(attached.module, mesh)
  bind = WholeBinder(bind) if whole else bind
  trainable = {n: attached.params[n] for n in attached.trainable}
  frozen = {n: v for n, v in attached.params.items() if n not in trainable} | arrays
  cut = jax.tree.map(lambda x: jnp.asarray(x).reshape(cuts, -1, *x.shape[1:]), batch)
  go = lambda t, f, b: step_lib.gradients(bind, row.objective, t, f, b, jax.random.key(0), others)
  return jax.device_get(jax.jit(go)(trainable, frozen, cut))


@functools.cache
def expected(name):
  """Loss, weight, metrics and gradient of whole logits, on one device, of two examples a row at most."""
  row = table.ALL_ROWS[name]
  return run(row, tiny.mesh(1), row.batch(32, 24), whole=True)


def same(found, name):
  sums, grads = found
  wanted_sums, wanted = expected(table.ALL_ROWS[name].same_as or name)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), sums, wanted_sums)
  for key in wanted:
    size = max(np.linalg.norm(wanted[key]), 1e-6)
    assert np.linalg.norm(grads[key] - wanted[key]) <= 1e-5 * size, key


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.by_default(1, heavy=4)
def test_packed_rematerialised_on_eight_devices_in_two_cuts(name):
  row = table.ALL_ROWS[name]
  same(
    run(
      row,
      tiny.mesh(8, data=2, fsdp=2, tensor=2),
      row.batch(),
      cuts=1 if row.objective.couples_batch else 2,
      remat="taps",
    ),
    name,
  )


@pytest.mark.full
@pytest.mark.parametrize("name", table.ALL_ROWS)
@pytest.mark.parametrize("cuts", [1, 2, 4, 8])
def test_any_cut_into_micro_batches(name, cuts):
  row = table.ALL_ROWS[name]
  if cuts > 1 and row.objective.couples_batch:
    pytest.skip("a run refuses to cut it")
  same(run(row, tiny.mesh(1), row.batch(), cuts=cuts), name)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.by_default(2, heavy=4)
def test_the_policy_has_a_gradient_and_nothing_else(name):
  row, mesh = table.ALL_ROWS[name], tiny.mesh(1)
  _, grads = expected(name)
  assert all(np.abs(grad).max() > 0 for key, grad in grads.items() if "head" not in key or "/b" in key)
  if not row.objective.needs:
    return
  attached = policy(mesh, more=row.methods)
  others, arrays = others_of(row, mesh)
  batch = jax.tree.map(jnp.asarray, row.batch())
  batch = dataclasses.replace(batch, memory={k: jnp.float32(v) for k, v in row.objective.remembers.items()})

  def loss(arrays):
    views = {"policy": tiny.binder(attached.module, mesh)(attached.params)}
    views |= {name: other({**attached.params, **arrays}) for name, other in others.items()}
    return row.objective(views, batch, jax.random.key(0)).loss

  keys = {key for other in others.values() for _, key in other.names}
  theirs = {key: value for key, value in {**attached.params, **arrays}.items() if key in keys}
  for key, grad in jax.grad(loss)(theirs).items():
    assert not np.abs(grad).any(), f"{key} is no policy's"
