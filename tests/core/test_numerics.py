"""Sums that are written for speed are the plain ones, with their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.core import numerics


def test_scaled_rows_and_products_summed_are_the_plain_forms_with_gradients():
  x, y = jax.random.normal(jax.random.key(0), (2, 3, 5, 7))
  plain = lambda x, y: jnp.sum(jnp.sin(x * jax.lax.rsqrt(jnp.mean(x * y, axis=-1, keepdims=True) ** 2 + 1)))

  def ours(x, y):
    return jnp.sum(jnp.sin(numerics.scale_rows(x, jax.lax.rsqrt((numerics.dot_last(x, y) / 7) ** 2 + 1))))

  found, wanted = (jax.jit(jax.value_and_grad(f, (0, 1)))(x, y) for f in (ours, plain))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, wanted)


@pytest.mark.parametrize("offset", [0.0, 300.0, -300.0])
def test_softmax_parts_are_those_of_softmax_at_any_level(offset):
  logits = 4 * jax.random.normal(jax.random.key(0), (3, 11)) + offset
  parts, total, lse = numerics.softmax_parts(logits)
  np.testing.assert_allclose(parts / total, jax.nn.softmax(logits), rtol=1e-5)
  np.testing.assert_allclose(lse, jax.nn.logsumexp(logits, axis=-1), rtol=1e-6)
