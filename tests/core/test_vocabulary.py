"""Functions over the vocabulary are the plain ones, chunk by chunk, with their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.core import vocabulary

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
  ours = lambda h, w: vocabulary.cross_entropy(lambda x, at: x @ w, h, targets, weights, chunk=chunk, z_loss=0.01)[0]
  value, grads = jax.value_and_grad(ours, argnums=(0, 1))(h, w)
  expected, wanted = jax.value_and_grad(lambda h, w: plain(h, w, targets, weights, 0.01), argnums=(0, 1))(h, w)
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  for a, b in zip(grads, wanted, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_frozen_head_costs_no_gradient_and_logits_are_never_whole():
  h, w, targets, weights = setup()
  loss = lambda h: vocabulary.cross_entropy(lambda x, at: x @ w, h, targets, weights, chunk=3)[0]
  text = str(jax.make_jaxpr(jax.grad(loss))(h))
  assert f"f32[{B},{T},{V}]" not in text
  assert f"f32[{D},{V}] = dot_general" not in text, "dW of a frozen head is formed"


def test_per_position_figures():
  h, w, targets, weights = setup()
  _, nll, hit = vocabulary.cross_entropy(lambda x, at: x @ w, h, targets, weights, chunk=4)
  logp = jax.nn.log_softmax(h @ w)
  expected = -jnp.take_along_axis(logp, targets[..., None], -1)[..., 0]
  np.testing.assert_allclose(nll, jnp.where(weights != 0, expected, 0), atol=1e-5)
  assert (np.asarray(hit) == np.asarray((weights != 0) & (logp.argmax(-1) == targets))).all()


def test_losses_of_each_position_are_differentiated_too():
  h, w, targets, weights = setup()
  scale = jax.random.normal(jax.random.key(9), (B, T))

  def ours(h, w):
    loss, nll, _ = vocabulary.cross_entropy(lambda x, at: x @ w, h, targets, weights, chunk=5)
    return 0.5 * loss + (scale * jnp.square(nll)).sum()

  def wanted(h, w):
    nll = -jnp.take_along_axis(jax.nn.log_softmax(h @ w), targets[..., None], -1)[..., 0]
    return 0.5 * (weights * nll).sum() + (scale * jnp.square(jnp.where(weights != 0, nll, 0))).sum()

  close(jax.value_and_grad(ours, (0, 1))(h, w), jax.value_and_grad(wanted, (0, 1))(h, w))


def close(found, wanted):
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5), found, wanted)


def divergence(student, teacher, scale):
  """Something of two models and a column: a Jensen-Shannon divergence, and an entropy."""
  p, q = jax.nn.log_softmax(student), jax.nn.log_softmax(teacher)
  m = jnp.logaddexp(p, q) - jnp.log(2)
  jsd = 0.5 * ((jnp.exp(p) * (p - m)).sum(-1) + (jnp.exp(q) * (q - m)).sum(-1))
  return {"jsd": scale * jsd, "entropy": -(jnp.exp(p) * p).sum(-1)}


@pytest.mark.parametrize("chunk", [1, 6, 1000])
def test_a_function_of_two_models_is_that_of_their_whole_logits(chunk):
  h, w, _, weights = setup()
  teacher_h, teacher_w = jax.random.normal(jax.random.key(5), (B, T, 6)), jax.random.normal(jax.random.key(6), (6, V))
  scale = jax.random.uniform(jax.random.key(7), (B, T))
  total = lambda found: (found["jsd"] ** 2).sum() + (found["entropy"] * scale).sum()

  def ours(h, w, teacher_h, teacher_w):
    models = (
      vocabulary.Projection(lambda x, at: x @ w, h),
      vocabulary.Projection(lambda x, at: x @ teacher_w, teacher_h),
    )
    fn = lambda logits, scale: divergence(*logits, scale)
    return total(vocabulary.over_vocabulary(fn, models, weights != 0, scale, chunk=chunk))

  def wanted(h, w, teacher_h, teacher_w):
    found = divergence(h @ w, teacher_h @ teacher_w, scale)
    return total(jax.tree.map(lambda x: jnp.where(weights != 0, x, 0), found))

  given = h, w, teacher_h, teacher_w
  close(jax.value_and_grad(ours, (0, 1, 2, 3))(*given), jax.value_and_grad(wanted, (0, 1, 2, 3))(*given))
  text = str(jax.make_jaxpr(jax.grad(ours, (0, 1)))(*given))
  assert chunk > B * T or f"f32[{B},{T},{V}]" not in text


def test_log_probabilities_of_tokens_at_a_temperature():
  h, w, targets, weights = setup()
  scale = jax.random.normal(jax.random.key(9), (B, T))
  ours = lambda h, w: vocabulary.token_logprobs(lambda x, at: x @ w, h, targets, weights != 0, temperature=0.7, chunk=5)
  wanted = lambda h, w: jnp.take_along_axis(jax.nn.log_softmax(h @ w / 0.7), targets[..., None], -1)[..., 0]
  close(ours(h, w), jnp.where(weights != 0, wanted(h, w), 0))
  loss = lambda fn: lambda h, w: (jnp.where(weights != 0, fn(h, w), 0) * scale).sum()
  close(jax.grad(loss(ours), (0, 1))(h, w), jax.grad(loss(wanted), (0, 1))(h, w))
  frozen = str(jax.make_jaxpr(jax.grad(lambda h: loss(ours)(h, w)))(h))
  assert f"f32[{D},{V}] = dot_general" not in frozen, "dW of a frozen head is formed"


def test_a_column_that_is_differentiated_is_refused():
  h, w, _, weights = setup()
  fn = lambda logits, column: logits[0].sum(-1) * column
  model = (vocabulary.Projection(lambda x, at: x @ w, h),)
  with pytest.raises(TypeError, match="column is differentiated"):
    jax.grad(lambda column: vocabulary.over_vocabulary(fn, model, weights != 0, column).sum())(weights)
