"""The chunked loss is the plain loss; normalisation, z-loss and NEFTune are what they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.core import numerics
from itune_jax.objectives import sft
from tests import tiny

B, T, D, V = 3, 17, 8, 30


def setup():
  keys = jax.random.split(jax.random.key(0), 4)
  h, w = jax.random.normal(keys[0], (B, T, D)), jax.random.normal(keys[1], (D, V))
  targets = jax.random.randint(keys[2], (B, T), 0, V)
  weights = jnp.where(jax.random.uniform(keys[3], (B, T)) < 0.4, 1.5, 0.0).at[1].set(0)
  return h, w, targets, weights


def plain(h, w, targets, weights, z):
  logits = h @ w
  lse = jax.nn.logsumexp(logits, axis=-1)
  nll = lse - jnp.take_along_axis(logits, targets[..., None], -1)[..., 0]
  return (weights * (nll + z * lse**2)).sum()


@pytest.mark.parametrize("chunk", [1, 5, 12, 1000])
def test_chunked_equals_plain_with_gradients_of_head_and_hidden(chunk):
  h, w, targets, weights = setup()
  ours = lambda h, w: numerics.chunked_losses(lambda x: x @ w, h, targets, weights, chunk=chunk, z_loss=0.01)[0]
  value, grads = jax.value_and_grad(ours, argnums=(0, 1))(h, w)
  expected, wanted = jax.value_and_grad(lambda h, w: plain(h, w, targets, weights, 0.01), argnums=(0, 1))(h, w)
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  for a, b in zip(grads, wanted, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_frozen_head_costs_no_gradient_and_logits_are_never_whole():
  h, w, targets, weights = setup()
  loss = lambda h: numerics.chunked_losses(lambda x: x @ w, h, targets, weights, chunk=3)[0]
  text = str(jax.make_jaxpr(jax.grad(loss))(h))
  assert f"f32[{B},{T},{V}]" not in text
  assert f"f32[{D},{V}] = dot_general" not in text, "dW of a frozen head is formed"


def test_per_position_figures():
  h, w, targets, weights = setup()
  _, nll, hit = numerics.chunked_losses(lambda x: x @ w, h, targets, weights, chunk=4)
  logp = jax.nn.log_softmax(h @ w)
  expected = -jnp.take_along_axis(logp, targets[..., None], -1)[..., 0]
  np.testing.assert_allclose(nll, jnp.where(weights != 0, expected, 0), atol=1e-5)
  assert (np.asarray(hit) == np.asarray((weights != 0) & (logp.argmax(-1) == targets))).all()


def test_example_normalisation_weighs_every_example_alike():
  batch = tiny.packed(tiny.examples(9), 40)
  weights = np.asarray(sft.Sft(normalise="example").weights(jax.tree.map(jnp.asarray, batch)))
  for b in range(len(weights)):
    for s in range(1, batch.segments_BT[b].max() + 1):
      np.testing.assert_allclose(weights[b, batch.segments_BT[b] == s].sum(), 1, rtol=1e-5)


def test_neftune_scales_with_the_segment_and_not_the_row():
  segments = jnp.asarray([[1] * 4 + [2] * 16 + [0] * 4])
  scale = np.asarray(sft._neftune(segments, 5.0))[0]
  np.testing.assert_allclose(scale[[0, 4, 23]], [5 / 2, 5 / 4, 0], rtol=1e-5)


def test_unknown_normalisation_is_refused_in_words():
  with pytest.raises(ValueError, match="Sft.normalise = 'tokens'.*one of 'token', 'example'"):
    sft.Sft(normalise="tokens")
