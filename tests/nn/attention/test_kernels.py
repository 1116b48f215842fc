"""The block kernel is the full softmax, forwards and backwards, over any cut of rows into segments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.nn.attention import kernels
from itune_jax.nn.attention import mask


def draw(T, segments, seed=0):
  keys = jax.random.split(jax.random.key(seed), 4)
  make = lambda key, heads: jax.random.normal(key, (2, T, heads, 8))
  return (
    make(keys[0], 6),
    make(keys[1], 2),
    make(keys[2], 2),
    mask.Rows(jnp.asarray(segments, jnp.int32)),
    make(keys[3], 6),
  )


def ragged(T, seed):
  """Two rows of segments of random lengths, the second with padding behind."""
  rs, rows = np.random.RandomState(seed), []
  for padded in (0, T // 5):
    ids, s = [], 0
    while len(ids) < T - padded:
      s += 1
      ids += [s] * rs.randint(1, T // 2)
    rows.append(ids[: T - padded] + [0] * padded)
  return rows


@pytest.mark.parametrize("T", [1, 63, 64, 200])
def test_packed_equals_reference(T):
  q, k, v, rows, d = draw(T, ragged(T, T) if T > 1 else [[1], [1]])

  def both(attend):
    out, lse = attend(q, k, v, rows)
    loss = (
      lambda q, k, v: (attend(q, k, v, rows)[0] * d).sum()
      + jnp.where(rows.segments_BT[..., None] > 0, attend(q, k, v, rows)[1], 0).sum()
    )
    return out, lse, *jax.grad(loss, argnums=(0, 1, 2))(q, k, v)

  ours, theirs = jax.jit(lambda: both(kernels.packed))(), jax.jit(lambda: both(kernels.reference))()
  for a, b in zip(ours, theirs, strict=True):
    np.testing.assert_allclose(a, b, atol=2e-5)


def test_padding_sees_nothing_and_is_finite():
  q, k, v, _, _ = draw(16, [[0] * 16] * 2)
  out, lse = kernels.packed(q, k, v, mask.Rows(jnp.zeros((2, 16), jnp.int32)))
  assert (np.asarray(out) == 0).all() and (np.asarray(lse) == np.float32(kernels.NEG)).all()


def test_merge_of_two_key_sets_equals_attention_over_both():
  q, k, v, _, _ = draw(12, [[1] * 12] * 2)
  k_BKHS, v_BKSH = k.transpose(0, 2, 3, 1), v.swapaxes(1, 2)
  positions = jnp.broadcast_to(jnp.arange(12)[None], (2, 12))
  attend = lambda keep: kernels.cached(q, k_BKHS, v_BKSH, positions, jnp.where(keep[None], positions, -1))
  first = jnp.arange(12) < 5
  merged, _ = kernels.merge(*attend(first), *attend(~first))
  np.testing.assert_allclose(merged, attend(jnp.ones(12, bool))[0], atol=1e-5)


def test_one_token_of_cached_equals_the_many_token_form():
  q, k, v, _, _ = draw(9, [[1] * 9] * 2)
  k_BKHS, v_BKSH = k.transpose(0, 2, 3, 1), v.swapaxes(1, 2)
  positions = jnp.broadcast_to(jnp.arange(9)[None], (2, 9))
  many, _ = kernels.cached(q, k_BKHS, v_BKSH, positions, positions)
  one, _ = kernels.cached(q[:, 4:5], k_BKHS, v_BKSH, positions[:, 4:5], positions)
  np.testing.assert_allclose(one, many[:, 4:5], atol=1e-6)
