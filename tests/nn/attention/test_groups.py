"""Branches see the trunk of their group: the forms that run on CPU over rows in which a prompt stands once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.nn.attention import flash
from itune_jax.nn.attention import kernels
from itune_jax.nn.attention import mask
from itune_jax.nn.attention import native
from itune_jax.nn.attention import splash
from tests.nn.attention import once
from tests.nn.attention import test_native

MORE = [(s, 40 + 37 * s, ((4, 2), (3, 1), (2, 2))[s % 3], 16, 5 + 13 * s, (None, 7, 40)[s % 3], 0.0) for s in range(12)]


@pytest.mark.parametrize(
  "seed, T, heads, H, longest, window, softcap",
  [
    (1, 200, (6, 2), 48, 60, 50, 0.0),
    (2, 100, (2, 2), 32, 15, None, 3.0),
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


def one_group(T=1280, trunk=640, branches=5, length=64):
  """A row of a segment alone, a group, and padding."""
  row, at = np.zeros((3, T), np.int32), 64
  row[0, :at], row[2, :at] = 1, np.arange(at)
  for s, (group, n, first) in enumerate([(1, trunk, 0), *[(-1, length, trunk)] * branches], 2):
    here = slice(at, at + n)
    row[0, here], row[1, here], row[2, here] = s, group, first + np.arange(n)
    at += n
  return mask.Rows(*(jnp.asarray(x)[None] for x in row))


@pytest.mark.parametrize("window", [None, 200])
def test_only_blocks_that_are_seen_are_walked_over(window):
  """A step for each pair of blocks in which one sees the other: here blocks are whole pieces of segments."""
  rows, block = one_group(), kernels.BLOCK
  T, index = rows.segments_BT.shape[1], jnp.arange(1280)
  seen = np.asarray(mask.visible(rows, rows, index[None], index[None], window))[0]
  pairs = seen.reshape(T // block, block, T // block, block).any((1, 3))
  by_block, walk = kernels._walk(mask.spans(rows, window), T // block)
  each = jax.vmap(lambda i: walk(0, i, lambda j, found: found.at[j].add(1), jnp.zeros(T // block, jnp.int32)))
  np.testing.assert_array_equal(each(jnp.arange(T // block)), pairs.astype(np.int32))
  assert by_block.first_BT.shape == (1, T // block, block) and pairs.sum() < 0.4 * pairs.size
  tile = flash.Tiles(block, block, 4, 1)
  found = flash._seen(rows, window, flash.How(1.0, 0.0, tile, tile, True))
  first, _, count = found.keys[0]
  own = lambda i: max(int(i + 1 - first[i]), 0)
  assert [own(i) + int(count[i]) for i in range(T // block)] == pairs.sum(1).tolist()
  last, _, count = found.queries[0]
  assert [max(int(last[j] - j), 0) + int(count[j]) for j in range(T // block)] == pairs.sum(0).tolist()


@pytest.mark.parametrize("form", ["loop", "native", "flash", "splash"])
def test_nothing_of_every_pair_exists(form):
  rows, (given, _) = one_group(), once.arrays(0, 1280, (2, 1), 16, B=1)
  attend = {
    "loop": lambda *x: kernels._packed((0.25, 0.0), *x, mask.spans(rows)),
    "native": lambda *x: native.packed((0.25, 0.0), *x, rows, None),
    "flash": lambda *x: flash.packed((0.25, 0.0), *x, rows),
    "splash": lambda *x: splash.packed((0.25, 0.0), *x, rows),
  }[form]
  if form == "native" and native._targets() is None:
    pytest.skip("no C++ compiler")
  loss = lambda *x: sum(jnp.sum(y) for y in attend(*x))
  assert "1280,1280" not in str(jax.make_jaxpr(jax.grad(loss, (0, 1, 2)))(*given))
