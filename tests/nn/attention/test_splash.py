"""The TPU kernels, in their interpreter, against the full score matrix; both results and their gradients."""

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding
import numpy as np
import pytest

from itune_jax.nn.attention import kernels
from itune_jax.nn.attention import mask
from itune_jax.nn.attention import splash
from itune_jax.run.plan import topology as topology_lib
from tests.nn.attention import once


@pytest.mark.parametrize("softcap", [0.0, 2.0])
@pytest.mark.parametrize("in_front", [False, True])
@pytest.mark.by_default(1)
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


@pytest.mark.parametrize("seed, softcap", [(4, 0.0), pytest.param(8, 2.0, marks=pytest.mark.full)])
def test_prompts_that_stand_once_equal_prompts_repeated(seed, softcap):
  attend = lambda *x: splash.packed((16**-0.5, softcap), *x, interpret=True)
  once.check([attend], seed, 384, (4, 2), 16, 100, softcap=softcap)


def test_what_a_prompt_costs_when_it_stands_once_is_kept_once():
  """The merged result is what the backward pass finds, beside q, k and v: not that of either run."""
  shape = lambda *dims: jax.ShapeDtypeStruct((1, 256, *dims), jnp.float32)
  rows = mask.Rows(*(jax.ShapeDtypeStruct((1, 256), jnp.int32),) * 3)
  attend = lambda *x: splash.packed((0.25, 0.0), *x, interpret=True)
  vjp = lambda rows, *x: jax.vjp(lambda *y: attend(*y, rows), *x)[1]
  kept = lambda rows: jax.eval_shape(vjp, rows, *[shape(2, 128)] * 3)
  sizes = lambda rows: sorted(x.size for x in jax.tree.leaves(kept(rows)) if x.dtype == jnp.float32)
  assert sizes(rows) == sizes(mask.Rows(rows.segments_BT))


@pytest.mark.parametrize("in_front", [False, pytest.param(True, marks=pytest.mark.full)])
@pytest.mark.heavy
def test_mosaic_compiles_it(in_front):
  pytest.importorskip("libtpu", reason="the TPU compiler is not installed: pip install libtpu")
  there = SingleDeviceSharding(topology_lib.devices_of("v5e:2x2")[0])
  shape = lambda *dims, dtype=jnp.bfloat16: jax.ShapeDtypeStruct((2, 512, *dims), dtype, sharding=there)
  rows = mask.Rows(*(shape(dtype=jnp.int32),) * 3)

  def run(q, k, v, rows, k_rows):
    attend = (
      lambda *x: splash.in_front((0.1, 0.0), *x, rows, k_rows) if in_front else splash.packed((0.1, 0.0), *x, rows)
    )
    return jax.grad(lambda *x: sum(y.astype(jnp.float32).sum() for y in attend(*x)), (0, 1, 2))(q, k, v)

  text = jax.jit(run).lower(shape(4, 64), shape(2, 64), shape(2, 64), rows, rows).compile().as_text()
  assert text.count("tpu_custom_call") >= 6  # three kernels for segments, three for trunks
