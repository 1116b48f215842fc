"""The GPU kernels against the full score matrix; both results and their gradients. On CPU in Pallas' interpreter."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.nn.attention import flash
from itune_jax.nn.attention import kernels
from itune_jax.nn.attention import mask
from tests.nn.attention import once

INTERPRET = jax.default_backend() != "gpu"


def segments_of(rs, T, padded):
  lengths, total = [], 0
  while total < T - padded:
    lengths.append(min(int(rs.randint(1, T)), T - padded - total))
    total += lengths[-1]
  return np.repeat([*range(1, len(lengths) + 1), 0], [*lengths, padded])


@pytest.mark.parametrize(
  "T, heads, H, window, softcap",
  [(200, (4, 2), 16, None, 0.0), (256, (6, 1), 24, 40, 0.0), (33, (2, 2), 64, None, 3.0)],
)
def test_flash_equals_reference_with_gradients_of_out_and_lse(T, heads, H, window, softcap):
  rs, (N, K) = np.random.RandomState(T), heads
  q, k, v = (jnp.asarray(rs.randn(2, T, n, H), jnp.float32) for n in (N, K, K))
  segments = jnp.asarray(np.stack([segments_of(rs, T, 0), segments_of(rs, T, T // 6)]), jnp.int32)
  d_out, d_lse = jnp.asarray(rs.randn(2, T, N, H), jnp.float32), jnp.asarray(rs.randn(2, T, N), jnp.float32)
  how = (H**-0.5, softcap)

  def ours(q, k, v):
    by = (flash.Tiles(32, 16, 4, 1), flash.Tiles(16, 32, 4, 1))  # blocks of both shapes, several a row
    reach = None if window is None else jnp.int32(window)
    return flash.packed(how, q, k, v, mask.Rows(segments), reach, interpret=INTERPRET, by=by)

  def theirs(q, k, v):
    return kernels.reference(q, k, v, mask.Rows(segments), window=window, scale=how[0], softcap=softcap)

  def loss(attend):
    def run(q, k, v):
      out, lse = attend(q, k, v)
      seen = (segments != 0)[..., None]
      return jnp.sum(out * d_out) + jnp.sum(jnp.where(seen, lse * d_lse, 0)), (out, lse)

    return jax.jit(jax.value_and_grad(run, argnums=(0, 1, 2), has_aux=True))(q, k, v)

  with jax.default_matmul_precision("highest"):
    (_, found), grads = loss(ours)
    (_, wanted), expected = loss(theirs)
  for a, b in zip(found, wanted, strict=True):
    np.testing.assert_allclose(a, b, atol=2e-5)
  for a, b in zip(grads, expected, strict=True):
    np.testing.assert_allclose(a, b, atol=2e-4)


@pytest.mark.parametrize("H, window", [(64, None), (96, 300), pytest.param(128, None, marks=pytest.mark.full)])
@pytest.mark.heavy
def test_bfloat16_at_its_own_blocks_is_as_near_to_float32_as_the_plain_form(H, window):
  rs, (B, T, N, K) = np.random.RandomState(H), (2, 640, 4, 2)
  draw = lambda n: jnp.asarray(rs.randn(B, T, n, H), jnp.bfloat16)
  q, k, v, d_out = draw(N), draw(K), draw(K), draw(N)
  segments = jnp.asarray(np.stack([segments_of(rs, T, 0), segments_of(rs, T, 70)]), jnp.int32)
  reach = None if window is None else jnp.int32(window)
  flashed = lambda *x: flash.packed((H**-0.5, 0.0), *x, mask.Rows(segments), reach, interpret=INTERPRET)[0]
  plain = lambda *x: kernels.reference(*x, mask.Rows(segments), window=window)[0]

  def grads(attend, *x):
    loss = lambda *x: jnp.sum(attend(*x).astype(jnp.float32) * d_out.astype(jnp.float32))
    return attend(*x), *jax.grad(loss, (0, 1, 2))(*x)

  with jax.default_matmul_precision("highest"):
    exact = jax.jit(functools.partial(grads, plain))(*(x.astype(jnp.float32) for x in (q, k, v)))
  off = lambda found: [
    float(jnp.linalg.norm((f.astype(jnp.float32) - e).ravel()) / jnp.linalg.norm(e.ravel()))
    for f, e in zip(found, exact, strict=True)
  ]
  ours, theirs = (off(jax.jit(functools.partial(grads, attend))(q, k, v)) for attend in (flashed, plain))
  assert max(ours) < 0.01 and max(a / b for a, b in zip(ours, theirs, strict=True)) < 1.5, (ours, theirs)


@pytest.mark.parametrize(
  "seed, T, heads, H, window, softcap",
  [
    (1, 200, (4, 2), 24, 40, 0.0),
    pytest.param(0, 256, (3, 1), 16, None, 0.0, marks=pytest.mark.full),
    pytest.param(2, 330, (2, 2), 64, None, 3.0, marks=pytest.mark.full),
    pytest.param(3, 500, (2, 1), 16, 90, 0.0, marks=pytest.mark.full),
  ],
)
def test_prompts_that_stand_once_equal_prompts_repeated(seed, T, heads, H, window, softcap):
  by = (flash.Tiles(32, 16, 4, 1), flash.Tiles(16, 32, 4, 1))  # blocks of both shapes, several a row
  reach = None if window is None else jnp.int32(window)
  attend = lambda *x: flash.packed((H**-0.5, softcap), *x, reach, interpret=INTERPRET, by=by)
  with jax.default_matmul_precision("highest"):
    once.check([attend], seed, T, heads, H, 60, window=window, softcap=softcap)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("dtype, H", [("bfloat16", 64), ("bfloat16", 128), ("float32", 128), ("bfloat16", 256)])
@pytest.mark.by_default(2)
def test_it_lowers_for_cuda_at_its_own_blocks(dtype, H, grouped):
  shape = lambda n: jax.ShapeDtypeStruct((2, 512, n, H), dtype)
  rows = mask.Rows(*(jax.ShapeDtypeStruct((2, 512), jnp.int32),) * (3 if grouped else 1))

  def run(q, k, v, rows):
    return jax.grad(lambda *x: flash.packed((0.1, 0.0), *x, rows)[0].astype(jnp.float32).sum(), (0, 1, 2))(q, k, v)

  text = jax.jit(run).trace(shape(4), shape(2), shape(2), rows).lower(lowering_platforms=("cuda",)).as_text()
  assert all(name in text for name in ("attention_forward", "attention_backward_q", "attention_backward_kv"))
