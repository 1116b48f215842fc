"""Sites, stacks, caches and rotary positions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.nn.attention import kv_cache
from itune_jax.nn import rope
from itune_jax.nn import site
from itune_jax.nn import skeleton as skeleton_lib
from tests import tiny


def test_contract_has_the_gradients_of_einsum():
  x, w = jax.random.normal(jax.random.key(0), (2, 3, 4, 5)), jax.random.normal(jax.random.key(1), (4, 5, 6))
  ours = jax.grad(lambda x, w: (site.contract(x, w, 2) ** 2).sum(), argnums=(0, 1))(x, w)
  theirs = jax.grad(lambda x, w: (jnp.einsum("btnh,nhd->btd", x, w) ** 2).sum(), argnums=(0, 1))(x, w)
  for a, b in zip(ours, theirs, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4)


def test_proj_refuses_a_kernel_of_another_order():
  with pytest.raises(ValueError, match="contracted axes"):
    site.Proj("...D,ND->...N", (4, 4), ("heads", "embed"), jax.random.key(0))


def test_skeleton_round_trip_and_misfit():
  base = tiny.base()
  skeleton, _ = skeleton_lib.disassemble(base.module)
  again = skeleton_lib.disassemble(skeleton.build(base.params))[1]
  assert again.keys() == base.params.keys()
  with pytest.raises(ValueError, match="missing"):
    skeleton.build({})


@pytest.mark.parametrize("by_layer", [False, True])
def test_ring_cache_keeps_the_last_window(by_layer):
  cache = kv_cache.Cache.empty(1, 1, 4, 1, 2)
  cache = cache.by_layer() if by_layer else cache
  for position in range(6):
    at, valid = jnp.full((1, 1), position), jnp.ones((1, 1), bool)
    cache = cache.mark(at, valid).write(
      0, jnp.full((1, 1, 1, 2), position, jnp.float32), jnp.zeros((1, 1, 1, 2)), at, valid
    )
  assert sorted(np.asarray(cache.positions_BS)[0]) == [2, 3, 4, 5]
  k_BKHS, _ = cache.read(0)
  np.testing.assert_array_equal(np.asarray(k_BKHS)[0, 0, 0], np.asarray(cache.positions_BS)[0])


def test_insert_replaces_one_row():
  one = kv_cache.Cache(jnp.ones((2, 1, 1, 2, 4)), jnp.ones((2, 1, 1, 4, 2)), jnp.arange(4)[None])
  filled = kv_cache.Cache.empty(2, 3, 4, 1, 2).entered(one, np.asarray([0]), np.asarray([1]))
  assert np.asarray(filled.k_LBKHS).sum(axis=(0, 2, 3, 4)).tolist() == [0, 16, 0]
  assert np.asarray(filled.positions_BS).tolist() == [[-1] * 4, [0, 1, 2, 3], [-1] * 4]


def test_rope_preserves_relative_angles():
  x = jax.random.normal(jax.random.key(0), (1, 1, 1, 8))
  dot = lambda i, j: float(
    jnp.sum(
      rope.rotate(x, rope.Rope().tables(jnp.full((1, 1), i), 8))
      * rope.rotate(x, rope.Rope().tables(jnp.full((1, 1), j), 8))
    )
  )
  np.testing.assert_allclose(dot(3, 7), dot(103, 107), rtol=1e-4)


@pytest.mark.parametrize("kind", ["linear", "llama3"])
def test_scaled_rope_slows_the_low_frequencies(kind):
  plain, scaled = (
    rope.Rope(base=500000.0).frequencies(64),
    rope.Rope(base=500000.0, scaling=kind, factor=8.0).frequencies(64),
  )
  np.testing.assert_allclose(scaled[-1], plain[-1] / 8, rtol=1e-5)
  assert (scaled[0] == plain[0]) == (kind == "llama3")
