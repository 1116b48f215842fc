"""Prompts run where their rows lie, about so many positions of them at a time."""

import collections

import numpy as np
import pytest

from itune_jax.sampling.decode import turns

CHUNK = 100


@pytest.mark.parametrize("cuts", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_every_prompt_runs_once_a_shard_and_no_shard_has_more_than_a_turn(seed, cuts):
  rs = np.random.RandomState(seed)
  shards = rs.randint(1, 9)
  each = rs.randint(1, 9)
  rows = rs.permutation(shards * each)[: rs.randint(1, shards * each + 1)].tolist()
  free = [[row for row in rows if row // each == shard] for shard in range(shards)]
  count = rs.randint(1, len(rows) + 1)
  what = [int(rs.randint(0, max(1, count // rs.randint(1, 4)))) for _ in range(count)]  # equal ones among them
  length_of = {w: int(rs.choice([rs.randint(1, 30), rs.randint(60, 101), rs.randint(101, 400)])) for w in what}
  lengths = [length_of[w] for w in what]
  equal = [[i for i in range(count) if what[i] == w] for w in sorted(set(what))]
  most = int(rs.randint(1, 5))
  planned = turns.plan(equal, lengths, [list(f) for f in free], CHUNK, most, cuts)
  entered = collections.Counter()
  for turn in planned:
    assert [i for row in turn.held for i in row] == list(range(len(turn.firsts)))
    for shard, units in enumerate(turn.units):
      assert sum(lengths[u.members[0]] for u in units) <= CHUNK or len(units) == 1
      assert len(units) <= most and (not turn.is_long or len(units) <= 1)
      for unit in units:
        assert len(unit.members) == len(unit.rows) and set(unit.rows) <= set(free[shard])
        assert len({what[i] for i in unit.members}) == 1
        assert turn.is_long == (cuts and lengths[unit.members[0]] > CHUNK)
        entered.update(unit.members)
  assert entered == collections.Counter(range(count))
  used = [row for turn in planned for units in turn.units for unit in units for row in unit.rows]
  assert len(used) == len(set(used)) == count
  for same in equal:  # one runs for all that a shard has rows for
    ran = [shard for turn in planned for shard, units in enumerate(turn.units) for u in units if u.members[0] in same]
    assert len(ran) == len(set(ran))


def test_equal_prompts_go_where_most_rows_are_free():
  (turn,) = turns.plan([[0, 1, 2], [3]], [10, 10, 10, 20], [[0], [4, 5, 6]], CHUNK, 4, True)
  assert turn.firsts == [3, 0] and turn.units[1][0].rows == [4, 5, 6]
