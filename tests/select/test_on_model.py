"""Scores on a model: packed passes and batched gradients give what one row alone gives, on one device and on eight."""

import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.core import pack
from itune_jax.peft.methods import lora
from itune_jax.sampling import engine as engine_lib
from itune_jax.select.scores import gradients
from tests import tiny

pytestmark = pytest.mark.heavy


@functools.cache
def made(devices):
  mesh = tiny.mesh(devices)
  base = tiny.base(mesh)
  attached = tiny.randomise(tiny.attach(base, lora.Lora(rank=2), the_mesh=mesh))
  binder = tiny.binder(attached.module, mesh)
  trainable = {name: attached.params[name] for name in attached.trainable}
  frozen = {name: value for name, value in attached.params.items() if name not in trainable}
  return attached, binder, trainable, frozen, engine_lib.Engine(binder, attached.params, 128, (0,))


ITEMS = [pack.Item(*given) for given in tiny.examples(64)]


@pytest.mark.parametrize("devices", [1, pytest.param(8, marks=pytest.mark.full)])
def test_values_do_not_hang_on_company(devices):
  """64 rows together give the values of each alone to 1e-5: nats, surprises, pooled states."""
  attached, _, _, _, engine = made(devices)
  together, alone = engine.losses(ITEMS), [engine.losses([one])[0] for one in ITEMS[:6]]
  assert max(np.abs(a.nats - b.nats).max() for a, b in zip(together, alone, strict=False)) <= 1e-5
  logp = np.asarray(jax.nn.log_softmax(tiny.logits(attached, tiny.unpacked(ITEMS[:6], 32), tiny.mesh(devices))))
  for row, (item, nats, said) in enumerate(zip(ITEMS[:6], together, engine.surprises(ITEMS), strict=False)):
    at = np.flatnonzero(item.weights[1:])
    own = logp[row, at]
    assert np.allclose(nats.nats, -own[np.arange(len(at)), item.ids[1:][at]], atol=1e-5)
    mean = (np.exp(own) * own).sum(axis=-1)
    spread = np.sqrt((np.exp(own) * (own - mean[:, None]) ** 2).sum(axis=-1))
    assert np.allclose(said.logprob, -nats.nats, atol=1e-5)
    assert np.allclose(said.mean, mean, atol=1e-5) and np.allclose(said.deviation, spread, atol=1e-5)
  weigh = lambda n: np.arange(1, n + 1)
  pooled = engine.pooled([one.ids for one in ITEMS], weigh)
  assert all(np.allclose(engine.pooled([ITEMS[i].ids], weigh)[0], pooled[i], atol=1e-5) for i in range(4))
  with pytest.raises(errors.InputError, match="item 0: 199 positions; a model that knows 128"):
    engine.losses([pack.Item(np.zeros(200, np.int32), np.ones(200, np.float32))])


@pytest.mark.parametrize("devices", [1, pytest.param(8, marks=pytest.mark.full)])
def test_gradients_of_many_are_those_of_each(devices):
  """By Adam and projected, 64 together, 16 or one at a time; and equal to grad of one row's loss and explicit signs."""
  _, binder, trainable, frozen, engine = made(devices)
  examples = [(one,) for one in ITEMS[:-2]] + [tuple(ITEMS[-2:])]
  rs = np.random.RandomState(0)
  noise = lambda scale: {name: jnp.asarray(scale * rs.rand(*x.shape), jnp.float32) for name, x in trainable.items()}
  moments = gradients.Moments(noise(1e-2), noise(1e-4))
  run = functools.partial(
    gradients.projected, binder, trainable, frozen, dims=64, seed=3, moments=moments, put=engine.put
  )
  unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
  many = unit(run(examples, size=64))
  few = unit(run(examples[-3:], size=1))
  assert np.abs(many[-3:] - few).max() <= 1e-5
  if devices > 1:
    return

  def loss(trainable, rows):
    batch = jax.tree.map(jnp.asarray, pack.fill([list(rows)], 64))
    view = binder({**trainable, **frozen})
    weights = jnp.asarray(batch.weights_BT)
    return -(weights * view.token_logprobs(batch, view.context(batch))).sum() / weights.sum()

  names = sorted(trainable)
  for example, found in zip(examples[-1:], many[-1:], strict=True):
    one = jax.jit(jax.grad(lambda params, rows=example: loss(params, rows)))(trainable)
    total = np.zeros(64)
    for name in names:
      g, m, v = (np.asarray(x[name], np.float64).reshape(-1) for x in (one, *moments))
      step = (0.9 * m + 0.1 * g) / np.sqrt(0.999 * v + 0.001 * g * g + 1e-8)
      key = jax.random.fold_in(jax.random.key(3), zlib.crc32(name.encode()))
      matrix = np.concatenate([gradients.signs(key, i, 64) for i in range(-(-len(step) // gradients.PIECE))])
      assert set(np.unique(matrix)) == {-1.0, 1.0} and abs(matrix.mean()) < 0.05
      total += step @ matrix[: len(step)]
    assert np.abs(unit(total[None])[0] - found).max() <= 1e-5
