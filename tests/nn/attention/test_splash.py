"""The TPU kernels, in their interpreter, against the full score matrix; both results and their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.nn.attention import kernels
from itune_jax.nn.attention import mask
from itune_jax.nn.attention import splash


@pytest.mark.parametrize("softcap", [0.0, 2.0])
@pytest.mark.parametrize("in_front", [False, True])
def test_splash_equals_reference_with_gradients_of_out_and_lse(softcap, in_front):
  """Causal over its own keys; and over a stretch of keys in front, which some of its segments began in."""
  B, T, N, K, H = 2, 256, 4, 2, 16
  rs = np.random.RandomState(0)
  q, k, v = (jnp.asarray(rs.randn(B, T, n, H), jnp.float32) for n in (N, K, K))
  segments = jnp.asarray(np.stack([np.repeat([1, 2, 3, 0], [100, 60, 90, 6]), np.repeat([1, 2], [37, 219])]))
  before = jnp.asarray(np.stack([np.repeat([7, 1], [200, 56]), np.repeat([1], [256])])) if in_front else segments
  how = (H**-0.5, softcap)
  index = jnp.arange(T)[None]
  rows, k_rows = mask.Rows(segments), mask.Rows(before)
  seen_BTS = mask.visible(rows, k_rows, index + (T if in_front else 0), index)
  real = seen_BTS.any(-1)[..., None]

  def ours(q, k, v):
    if in_front:
      return splash.in_front(how, q, k, v, rows, k_rows, interpret=True)
    return splash.packed(how, q, k, v, rows, interpret=True)

  def theirs(q, k, v):
    return kernels.dense(q, k, v, seen_BTS, scale=how[0], softcap=softcap)

  d_out, d_lse = jnp.asarray(rs.randn(B, T, N, H), jnp.float32), jnp.asarray(rs.randn(B, T, N), jnp.float32)

  def loss(attend):
    def run(q, k, v):
      out, lse = attend(q, k, v)
      return jnp.sum(jnp.where(real[..., None], out * d_out, 0)) + jnp.sum(jnp.where(real, lse * d_lse, 0)), (out, lse)

    return jax.jit(jax.value_and_grad(run, argnums=(0, 1, 2), has_aux=True))

  (_, found), grads = loss(ours)(q, k, v)
  (_, wanted), expected = loss(theirs)(q, k, v)
  np.testing.assert_allclose(found[0], wanted[0], atol=2e-5)
  np.testing.assert_allclose(jnp.where(real, found[1], 0), jnp.where(real, wanted[1], 0), atol=2e-5)
  assert (np.where(real, kernels.NEG, found[1]) == kernels.NEG).all() and real.any() and not real.all()
  for g, e in zip(grads, expected, strict=True):
    np.testing.assert_allclose(g, e, atol=2e-4)
