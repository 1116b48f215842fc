"""OFT's own transpose rules: what is rotated, kernel or vectors, changes nothing but the cost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.nn import site
from itune_jax.peft.methods import oft


@pytest.mark.parametrize("rows", [3, 40])
@pytest.mark.parametrize("n, size", [(4, 3), (oft.UNROLLED + 1, 2)])
def test_every_gradient_of_a_rotated_product_is_that_of_its_formula(rows, n, size):
  keys = jax.random.split(jax.random.key(0), 4)
  x, w = jax.random.normal(keys[0], (2, rows, n * size)), jax.random.normal(keys[1], (n * size, 5, 7))
  blocks, probe = jax.random.normal(keys[2], (n, size, size)), jax.random.normal(keys[3], (2, rows, 5, 7))

  def formula(x, blocks, w):
    whole = jax.scipy.linalg.block_diag(*blocks)
    return jnp.sum(probe * jnp.einsum("bti,ij,jno->btno", x, whole, w))

  def ours(x, blocks, w):
    handle = oft.RotatedWeight(site.Weight(lambda: w, w.shape), blocks)
    return jnp.sum(probe * handle.contract(x, 1))

  both = [jax.jit(jax.value_and_grad(f, argnums=(0, 1, 2)))(x, blocks, w) for f in (ours, formula)]
  for got, expected in zip(*map(jax.tree.leaves, both), strict=True):
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
