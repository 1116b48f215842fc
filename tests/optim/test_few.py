"""Optimizers of full tuning that keep less than two numbers a parameter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.nn import skeleton
from itune_jax.objectives import sft
from itune_jax.optim import adamw
from itune_jax.optim import galore
from itune_jax.optim import lisa
from itune_jax.optim import schedule
from itune_jax.peft.methods import full
from itune_jax.train import state as state_lib
from itune_jax.train import step as step_lib
from tests import tiny

RATE = schedule.Schedule(rate=1e-2, kind="constant", warmup=0)


def reference_galore(gradients, rank, every, scale, b1=0.9, b2=0.999, eps=1e-8):
  """The authors' loop for one matrix [in, out] in float64: the change of every step at a rate of one."""
  fan_in, fan_out = gradients[0].shape
  mu = nu = 0.0
  for t, g in enumerate(gradients):
    if t % every == 0:
      u, _, vt = np.linalg.svd(g)
      p = u[:, :rank] if fan_in <= fan_out else vt[:rank].T
    low = p.T @ g if fan_in <= fan_out else g @ p
    mu, nu = b1 * mu + (1 - b1) * low, b2 * nu + (1 - b2) * low**2
    step = (mu / (1 - b1 ** (t + 1))) / (np.sqrt(nu / (1 - b2 ** (t + 1))) + eps)
    yield scale * (p @ step if fan_in <= fan_out else step @ p.T)


@pytest.mark.parametrize("shape,num_in", [((6, 3, 4), 1), ((2, 4, 5), 2), ((5, 5), 1)], ids=["wide", "tall", "square"])
def test_galore_is_the_authors_loop_in_every_layer(shape, num_in):
  rs = np.random.RandomState(0)
  gradients = rs.randn(5, 3, *shape)  # 5 steps of 3 layers
  leaf = contracts.Leaf(1, num_in)
  transform = galore.scale_by_galore(leaf, 2, 2, 0.25, 0.9, 0.999, 1e-8)
  params = {"w": jnp.zeros((3, *shape))}
  state, found = transform.init(params), []
  update = jax.jit(transform.update)
  for g in gradients:
    change, state = update({"w": jnp.asarray(g, jnp.float32)}, state)
    found.append(np.asarray(change["w"]))
  fan_in = int(np.prod(shape[:num_in]))
  for layer in range(3):
    # Directions have no sign, and a moment that is kept when they are taken anew would: it is compared within a period.
    mine = gradients[:2, layer].reshape(2, fan_in, -1)
    for t, expected in enumerate(reference_galore(list(mine), 2, 2, 0.25)):
      np.testing.assert_allclose(found[t][layer].reshape(fan_in, -1), expected, atol=2e-5)
  fan_out = int(np.prod(shape[num_in:]))
  small, large = sorted((fan_in, fan_out))
  assert sum(x.size for x in jax.tree.leaves(state)) == 1 + 3 * 2 * (small + 2 * large)


def trained(optimizer, steps=4, mesh=None):
  """Full tuning of the tiny model: (parameters after every step, programs added after the second, state)."""
  mesh = mesh or tiny.mesh(1)
  attached = tiny.attach(tiny.base(mesh), full.Full(), the_mesh=mesh)
  params = {n: attached.params[n] for n in sorted(attached.trainable)}
  transform, rate = optimizer.make(steps, params, skeleton.leaves(attached.module))
  state = state_lib.create(params, transform, 0, mesh)
  where = {n: v.sharding for n, v in params.items()}
  step = step_lib.make_step(tiny.binder(attached.module, mesh), sft.Sft(chunk=16), transform, rate, where)
  seen, programs = [jax.device_get(params)], []
  for k in range(steps):
    batch = jax.tree.map(lambda x: jnp.asarray(x)[None], tiny.packed(tiny.examples(6, seed=k), 32, 8))
    state, metrics = step(state, {}, batch)
    assert metrics["finite"] == 1
    seen.append(jax.device_get(state.trainable))
    programs.append(step._cache_size())
  return seen, programs[-1] - programs[min(1, steps - 1)], state


def test_lisa_moves_the_layers_of_its_draw_only_as_adam_begun_anew_and_recompiles_nothing():
  optimizer = lisa.Lisa(schedule=RATE, layers=1, every=2, clip=0.0, weight_decay=0.1)
  seen, added, state = trained(optimizer, steps=8)
  draws = [int(optimizer._active(jnp.int32(t), 2)[0]) for t in range(8)]
  assert set(draws) == {0, 1} and draws[::2] == draws[1::2] and added == 0
  name = "blocks/attn/q/kernel"
  for t, active in enumerate(draws):
    moved = [not np.array_equal(seen[t][name][i], seen[t + 1][name][i]) for i in range(2)]
    assert moved == [i == active for i in range(2)]
    assert not np.array_equal(seen[t]["embed/table"], seen[t + 1]["embed/table"])
    if t % 2 == 0:  # the first step of Adam is the sign of the gradient: every number moves by the rate
      change = seen[t + 1][name][active] - seen[t][name][active]
      assert np.median(np.abs(change)) == pytest.approx(1e-2, rel=0.2)
  moments = sum(x.size for p, x in jax.tree_util.tree_leaves_with_path(state.opt_state) if name in str(p))
  assert moments == 2 * seen[0][name][0].size


def test_clipping_under_lisa_counts_the_active_layers_only():
  """A huge gradient in a layer that rests changes nothing."""
  optimizer = lisa.Lisa(schedule=RATE, layers=1, every=2, clip=1.0)
  params = {"blocks/w": jnp.ones((2, 3)), "head": jnp.ones(3)}
  transform, _ = optimizer.make(4, params, {"blocks/w": contracts.Leaf(1, 0)})
  active = int(optimizer._active(jnp.int32(0), 2)[0])
  quiet = {"blocks/w": jnp.full((2, 3), 0.1), "head": jnp.full(3, 0.1)}
  loud = {**quiet, "blocks/w": quiet["blocks/w"].at[1 - active].set(1e6)}
  run = lambda g: transform.update(g, transform.init(params), params)
  jax.tree.map(np.testing.assert_array_equal, *(jax.device_get(run(g)) for g in (quiet, loud)))
  with pytest.raises(errors.InputError, match="Lisa.layers = 3, and a stack has 2"):
    transform, _ = lisa.Lisa(layers=3).make(4, params, {"blocks/w": contracts.Leaf(1, 0)})
    transform.update(quiet, transform.init(params), params)


@pytest.mark.parametrize(
  "optimizer",
  [
    galore.GaLore(schedule=RATE, rank=2, every=2, scale=1.0),
    pytest.param(lisa.Lisa(schedule=RATE, layers=1, every=2), marks=pytest.mark.full),
  ],
  ids=["galore", "lisa"],
)
@pytest.mark.heavy
def test_sharded_steps_are_those_of_one_device_and_moments_lie_as_parameters(optimizer):
  one, _, small = trained(optimizer, steps=3)
  eight, _, state = trained(optimizer, steps=3, mesh=tiny.mesh(8, fsdp=4, tensor=2))
  for name, value in one[-1].items():
    np.testing.assert_allclose(eight[-1][name], value, atol=2e-3, err_msg=name)  # a tenth of what one step moves
  a_device = sum(x.addressable_shards[0].data.size for x in jax.tree.leaves(state.opt_state))
  assert a_device < 0.5 * sum(x.size for x in jax.tree.leaves(small.opt_state))


def test_both_keep_less_than_adam():
  attached = tiny.attach(tiny.base(), full.Full())
  params = {n: attached.params[n] for n in sorted(attached.trainable)}

  def size(optimizer):
    transform, _ = optimizer.make(4, params, skeleton.leaves(attached.module))
    return sum(x.size for x in jax.tree.leaves(jax.eval_shape(transform.init, params)))

  for optimizer in (galore.GaLore(schedule=RATE, rank=2, scale=1.0), lisa.Lisa(schedule=RATE, layers=1)):
    assert size(optimizer) < 0.75 * size(adamw.AdamW(schedule=RATE))
