"""Branches see the trunk of their group: the forms that run on CPU over rows in which a prompt stands once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.nn.attention import kernels
from itune_jax.nn.attention import mask
from itune_jax.nn.attention import native
from tests.nn.attention import once
from tests.nn.attention import test_native

MORE = [(s, 40 + 37 * s, ((4, 2), (3, 1), (2, 2))[s % 3], 16, 5 + 13 * s, (None, 7, 40)[s % 3], 0.0) for s in range(12)]


@pytest.mark.parametrize(
  "seed, T, heads, H, longest, window, softcap",
  [
    (1, 200, (6, 2), 48, 90, 50, 0.0),
    (2, 100, (2, 2), 32, 30, None, 3.0),
    *(pytest.param(*case, marks=pytest.mark.full) for case in MORE),
  ],
)
def test_prompts_that_stand_once_equal_prompts_repeated(seed, T, heads, H, longest, window, softcap):
  how, reach = (H**-0.5, softcap), None if window is None else jnp.int32(window)
  forms = [
    lambda *x: kernels.reference(*x, window=window, softcap=softcap),
    lambda q, k, v, rows: kernels._packed(how, q, k, v, mask.spans(rows, reach)),
  ]
  if native._targets() is not None:
    forms.append(lambda *x: native.packed(how, *x, reach))
  once.check(forms, seed, T, heads, H, longest, window=window, softcap=softcap)


def test_ranges_say_what_segments_groups_and_positions_say():
  """`mask.spans`, by which kernels go, is `mask.visible`, by which the full score matrix goes; in stretches too."""
  index = jnp.arange(60)

  @jax.jit
  def run(rows, window):
    inside = lambda rows, at: jax.vmap(lambda spans: mask.inside(spans, at, at))(mask.spans(rows, window))
    stretch = mask.renumbered(jax.tree.map(lambda x: x[:, 30:], rows))
    return mask.visible(rows, rows, index[None], index[None], window), inside(rows, index), inside(stretch, index[:30])

  for seed in range(20):
    for window in (1000, 1, 9):
      seen, found, behind = run(once.draw(seed, 60, 5 + seed).rows, window)
      np.testing.assert_array_equal(found, seen)
      np.testing.assert_array_equal(behind, seen[:, 30:, 30:])


@test_native.needs_compiler
def test_the_kernel_gives_the_same_bits_every_time():
  drawn, (given, cotangents) = once.draw(4, 900, 200), once.arrays(4, 900, (6, 2), 32)
  run = lambda: once.both(lambda *x: kernels.packed(*x, drawn.rows), given, cotangents, drawn.rows.segments_BT)
  first = run()
  for _ in range(3):  # which thread takes what differs
    for a, b in zip(first, run(), strict=True):
      np.testing.assert_array_equal(a, b)
