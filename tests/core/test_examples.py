"""Sums over examples, by hand."""

import jax.numpy as jnp
import numpy as np

from itune_jax.core import examples
from itune_jax.core import pack

ITEM = lambda *ids: pack.Item(np.asarray(ids, np.int32), (np.arange(len(ids)) >= 4).astype(np.float32))
GROUP = pack.grouped([ITEM(1, 2, 3, 4, 5, 6), ITEM(1, 2, 3, 4, 7, 8, 9), ITEM(1, 2, 3, 4, 5)])  # a trunk of 3
BATCH = pack.fill([[ITEM(9, 8, 7), GROUP, GROUP.repeated()], [GROUP]], 32)
GIVEN = jnp.asarray(BATCH.segments_BT), jnp.asarray(BATCH.groups_BT)


def test_an_example_is_a_branch_with_its_trunk():
  x_BTC = jnp.asarray(np.random.RandomState(0).rand(2, 32, 3), jnp.float32)
  found = examples.totals(x_BTC, *GIVEN)
  total = lambda b, *stretches: sum(np.asarray(x_BTC[b, at : at + n]).sum(0) for at, n in stretches)
  trunk, alone = (2, 3), [(0, 2)]
  wanted = [alone, [trunk], [trunk, (5, 2)], [trunk, (7, 3)], [trunk, (10, 1)], [(11, 5)], [(16, 6)], [(22, 4)]]
  np.testing.assert_allclose(found[0, 1:9], [total(0, *stretches) for stretches in wanted], rtol=1e-5)
  np.testing.assert_allclose(found[1, 2], total(1, (0, 3), (3, 2)), rtol=1e-5)
  np.testing.assert_array_equal(found[:, 10:], 0)


def test_a_trunk_counts_for_each_of_its_branches():
  wanted = np.zeros((2, 32))
  wanted[0, :26], wanted[1, :9] = 1, 1
  wanted[0, 2:5], wanted[1, :3] = 3, 3
  np.testing.assert_array_equal(examples.copies(*GIVEN), wanted)
  np.testing.assert_array_equal(examples.copies(GIVEN[0]), wanted > 0)
  found = examples.over_branches(jnp.broadcast_to(jnp.arange(32.0)[None], (2, 32)), *GIVEN)
  np.testing.assert_array_equal(found[0, 2:5], 5 + 7 + 10)
  np.testing.assert_array_equal(found[0, 5:], 0)
