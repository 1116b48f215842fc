"""Rates by differentiating through K steps: the gradient is that of finite differences, and following it helps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.objectives import sft
from itune_jax.peft.methods import lora
from itune_jax.train import unroll as unroll_lib
from tests import tiny

pytestmark = pytest.mark.heavy


def stacked(count, seed):
  packed = [tiny.packed(tiny.examples(6, seed=seed + k), 32, 4) for k in range(count)]
  return jax.tree.map(lambda *x: jnp.stack([jnp.asarray(one)[None] for one in x]), *packed)


def test_the_gradient_through_steps_is_the_finite_difference_and_rates_follow_it():
  attached = tiny.randomise(tiny.attach(tiny.base(), lora.Lora(rank=2, alpha=4.0)))
  trainable = {n: attached.params[n] for n in attached.trainable}
  frozen = {n: v for n, v in attached.params.items() if n not in trainable}
  how = unroll_lib.Unroll(groups=(".*/a", ".*/b"), rate=2e-2, steps=4, outer_rate=0.5)
  bind, objective = tiny.binder(attached.module), sft.Sft(chunk=16)
  inner, outer = stacked(3, 0), jax.tree.map(lambda x: x[0], stacked(1, 0))
  run = jax.jit(unroll_lib.loss_behind(bind, objective, how, trainable, {}, jax.random.key(0)))
  logs = jnp.log(jnp.full(2, how.rate))
  value = lambda logs: run(logs, trainable, frozen, inner, outer)
  grad = jax.jacfwd(value)(logs)
  for i in range(2):
    step = jnp.zeros(2).at[i].set(0.05)
    np.testing.assert_allclose(grad[i], (value(logs + step) - value(logs - step)) / 0.1, rtol=0.05, atol=2e-4)
  learned = unroll_lib.learn(bind, objective, how, trainable, frozen, lambda n: (inner, outer))
  assert learned.losses[-1] < learned.losses[0] and learned.rates.keys() == {".*/a", ".*/b"}
  with pytest.raises(ValueError, match="matches no trained parameter"):
    unroll_lib.Unroll(groups=("nothing", ".*")).numbers(list(trainable))
