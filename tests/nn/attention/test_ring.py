"""Rows cut along their length attend exactly as whole ones, forwards and backwards."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.core import axes
from itune_jax.core import batch as batch_lib
from itune_jax.nn.attention import kernels
from itune_jax.nn.attention import mask
from itune_jax.nn.attention import ring
from tests import tiny
from tests.nn.attention import once
from tests.nn.attention import test_kernels


@pytest.mark.parametrize("window,softcap", [(None, 0.0), (24, 0.0), (None, 5.0)])
@pytest.mark.parametrize(
  "shape", [dict(devices=4, fsdp=1, sequence=4), dict(devices=8, data=2, fsdp=1, tensor=2, sequence=2)]
)
@pytest.mark.by_default(2)
def test_ring_equals_reference(shape, window, softcap):
  T = 64
  q, k, v, rows, d = test_kernels.draw(T, test_kernels.ragged(T, 7))
  mesh = tiny.mesh(**shape)
  ctx = batch_lib.Ctx(None, rows.segments_BT, mesh=mesh, rules=tuple(axes.DEFAULT_RULES.items()))
  assert ring.applies(ctx, T) and not ring.applies(ctx, T + 1)

  def both(attend):
    def loss(q, k, v):
      out, lse = attend(q, k, v)
      return (out * d).sum() + jnp.where(rows.segments_BT[..., None] > 0, lse, 0).sum()

    return *attend(q, k, v), *jax.grad(loss, argnums=(0, 1, 2))(q, k, v)

  how = dict(window=window, softcap=softcap)
  ours = jax.jit(lambda: both(lambda q, k, v: ring.packed(q, k, v, rows, ctx, **how)))()
  theirs = jax.jit(lambda: both(lambda q, k, v: kernels.reference(q, k, v, rows, **how)))()
  for a, b in zip(ours, theirs, strict=True):
    np.testing.assert_allclose(a, b, atol=2e-5)


def test_keys_go_round_and_are_never_gathered():
  T, mesh = 64, tiny.mesh(devices=8, fsdp=1, sequence=8)
  q, k, v, rows, _ = test_kernels.draw(T, [[1] * T] * 2)
  ctx = batch_lib.Ctx(None, rows.segments_BT, mesh=mesh, rules=tuple(axes.DEFAULT_RULES.items()))
  place = lambda x: jax.device_put(x, jax.NamedSharding(mesh, jax.P(None, "sequence")))
  run = jax.jit(lambda q, k, v, rows: ring.packed(q, k, v, rows, ctx)[0])
  text = run.lower(*jax.tree.map(place, (q, k, v, rows))).compile().as_text()
  assert "collective-permute" in text and "all-gather" not in text


@pytest.mark.parametrize(
  "seed, shape, H, window, softcap",
  [
    (0, dict(devices=3, fsdp=1, sequence=3), 8, None, 0.0),
    (0, dict(devices=8, data=2, fsdp=2, tensor=2), 16, 24, 0.0),
    pytest.param(1, dict(devices=8, data=2, fsdp=1, tensor=2, sequence=2), 16, 24, 2.0, marks=pytest.mark.full),
    pytest.param(3, dict(devices=8, fsdp=1, sequence=8), 8, 40, 0.0, marks=pytest.mark.full),
    pytest.param(4, dict(devices=8, fsdp=1, sequence=8), 8, None, 3.0, marks=pytest.mark.full),
  ],
)
@pytest.mark.by_default(1)
def test_prompts_that_stand_once_equal_prompts_repeated(seed, shape, H, window, softcap):
  """A trunk may lie in an earlier stretch than its branches, and end in the next."""
  T, mesh = 192, tiny.mesh(**shape)
  rules = tuple(axes.DEFAULT_RULES.items())

  def attend(q, k, v, rows):
    ctx = batch_lib.Ctx(rows.positions_BT, rows.segments_BT, groups_BT=rows.groups_BT, mesh=mesh, rules=rules)
    packed = ring.packed if ring.applies(ctx, T) else kernels.packed
    assert (packed is ring.packed) == ("sequence" in shape)
    return packed(q, k, v, mask.Rows.of(ctx), ctx, window=window, softcap=softcap)

  once.check([attend], seed, T, (4, 2), H, 70, window=window, softcap=softcap)
