"""Optimizers whose result is another point than where gradients are taken, and Muon, against optax and plain loops."""

import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

from itune_jax.core import contracts
from itune_jax.optim import averaged
from itune_jax.optim import muon
from itune_jax.optim import schedule

RATE = schedule.Schedule(rate=1e-2, kind="constant", warmup=0.0)
NAMES = {"blocks/attn/q/kernel": (2, 4, 6), "norm/scale": (4,)}
LEAVES = {"blocks/attn/q/kernel": contracts.Leaf(1, 1), "norm/scale": contracts.Leaf(0, 0)}


def run(optimizer, steps=6):
  """Parameters behind each step, and what is used of each state."""
  rs = np.random.RandomState(0)
  params = {name: jnp.asarray(rs.randn(*shape), jnp.float32) for name, shape in NAMES.items()}
  transform, _ = optimizer.make(steps, params, LEAVES)
  state, seen = transform.init(params), [(params, optimizer.used(transform.init(params), params))]
  for _ in range(steps):
    grads = {name: jnp.asarray(rs.randn(*shape), jnp.float32) for name, shape in NAMES.items()}
    updates, state = transform.update(grads, state, params)
    params = optax.apply_updates(params, updates)
    seen.append((params, optimizer.used(state, params)))
  return seen, rs


def test_averages_are_those_of_a_plain_loop():
  name = "norm/scale"
  seen, _ = run(averaged.Averaged(schedule=RATE, decay=0.8))
  mean = np.asarray(seen[1][0][name])
  for params, used in seen[2:]:
    mean = 0.8 * mean + 0.2 * np.asarray(params[name])
    np.testing.assert_allclose(used[name], mean, rtol=1e-5)
  seen, _ = run(averaged.Averaged(schedule=RATE, average="swa", start=2, every=2))
  np.testing.assert_array_equal(seen[2][1][name], seen[2][0][name])
  np.testing.assert_allclose(seen[6][1][name], np.mean([seen[3][0][name], seen[5][0][name]], axis=0), rtol=1e-5)


def test_schedule_free_is_optaxs_adamw():
  optimizer = averaged.ScheduleFree(schedule=RATE, clip=0.0)
  seen, _ = run(optimizer)
  rs = np.random.RandomState(0)
  params = {name: jnp.asarray(rs.randn(*shape), jnp.float32) for name, shape in NAMES.items()}
  theirs = optax.contrib.schedule_free_adamw(1e-2, b1=0.9, b2=0.999, eps=1e-8)
  state = theirs.init(params)
  for own, used in seen[1:]:
    grads = {name: jnp.asarray(rs.randn(*shape), jnp.float32) for name, shape in NAMES.items()}
    updates, state = theirs.update(grads, state, params)
    params = optax.apply_updates(params, updates)
    evaluated = optax.contrib.schedule_free_eval_params(state, params)
    for name in NAMES:
      np.testing.assert_allclose(own[name], params[name], rtol=2e-5, atol=1e-6)
      np.testing.assert_allclose(used[name], evaluated[name], rtol=2e-5, atol=1e-6)
  with pytest.raises(ValueError, match="has no schedule"):
    averaged.ScheduleFree()


def test_muon_is_optaxs_in_every_layer_at_adamws_size():
  optimizer = muon.Muon(schedule=RATE, clip=0.0)
  seen, _ = run(optimizer, 1)
  rs = np.random.RandomState(0)
  params = {name: jnp.asarray(rs.randn(*shape), jnp.float32) for name, shape in NAMES.items()}
  kernel = "blocks/attn/q/kernel"
  grad = jnp.asarray(rs.randn(*NAMES[kernel]), jnp.float32)
  step = (np.asarray(seen[1][0][kernel]) - np.asarray(params[kernel])) / -1e-2
  for layer in range(2):
    theirs = optax.contrib.scale_by_muon()
    wanted, _ = theirs.update(grad[layer], theirs.init(grad[layer]))
    np.testing.assert_allclose(step[layer], 0.2 * np.sqrt(6) * np.asarray(wanted), rtol=1e-3, atol=1e-4)
  assert 0.1 < np.sqrt((step**2).mean()) < 0.3


def test_an_anchor_draws_to_the_start():
  far, near = (run(averaged.Anchored(schedule=RATE, anchor=a))[0][-1][0]["norm/scale"] for a in (1e-6, 5.0))
  start = run(averaged.Anchored(schedule=RATE))[0][0][0]["norm/scale"]
  assert jnp.abs(near - start).sum() < jnp.abs(far - start).sum()
