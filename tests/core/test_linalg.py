"""Inverses, orthonormal columns, and factorisations that do not wait for each other."""

import jax
import jax.numpy as jnp
import numpy as np

from itune_jax.core import linalg


def skew(n, size, scale):
  q = np.random.RandomState(0).randn(n, size, size).astype(np.float32) * scale
  return jnp.asarray(q - q.transpose(0, 2, 1))


def test_inverse_of_one_plus_skew():
  for scale in (0.01, 1.0, 10.0):
    a = jnp.eye(16)[None] + skew(5, 16, scale)
    np.testing.assert_allclose(linalg.inverse(a) @ a, np.broadcast_to(np.eye(16), a.shape), atol=2e-4 * max(1, scale))
  loss = lambda f: lambda a: jnp.sum(jnp.sin(f(a)))
  a = jnp.eye(6)[None] + skew(3, 6, 0.5)
  np.testing.assert_allclose(jax.grad(loss(linalg.inverse))(a), jax.grad(loss(jnp.linalg.inv))(a), atol=1e-5)


def test_orthonormal_columns():
  u = jnp.asarray(np.random.RandomState(0).randn(20, 5).astype(np.float32))
  basis = linalg.orthonormal(u)
  np.testing.assert_allclose(basis.T @ basis, np.eye(5), atol=1e-6)
  np.testing.assert_allclose(linalg.orthonormal(basis), basis, atol=1e-6)
  q, r = np.linalg.qr(np.asarray(u))
  np.testing.assert_allclose(basis, q * np.sign(np.diagonal(r)), atol=1e-5)


def test_many_factorisations_in_one_program_end():
  """Batched, twelve of them hang on two cores."""
  xs = [jax.random.normal(jax.random.key(i), (36, 32, 32)) for i in range(12)]
  run = jax.jit(lambda xs: [(jax.vmap(linalg.qr)(x)[0], jax.vmap(linalg.svd)(x)[1], linalg.inverse(x)) for x in xs])
  for _ in range(5):
    found = jax.block_until_ready(run(xs))
  assert found[0][0].shape == (36, 32, 32)
