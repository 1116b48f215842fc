"""Records give back what was written, columns and groups included, and say what they cannot read."""

import json

import numpy as np
import pytest

from itune_jax.core import batch as batch_lib
from itune_jax.core import files
from itune_jax.core import pack
from itune_jax.data import feed as feed_lib
from itune_jax.data import converting
from itune_jax.data import records
from itune_jax.data import shards
from itune_jax.data import tally
from itune_jax.data import tokenised

SIDE, TOP = batch_lib.Column("side"), batch_lib.Column("top", "int32", (2,))


def item(rs, prompt, n, side):
  ids = np.concatenate([prompt, rs.randint(0, 99, n)]).astype(np.int32)
  weights = np.repeat([0, 1.5], [len(prompt), n]).astype(np.float32)
  top = rs.randint(0, 99, (len(ids), 2)).astype(np.int32)
  return pack.Item(ids, weights, None, {"side": side, "top": top})


def groups(count):
  rs = np.random.RandomState(0)
  found = []
  for _ in range(count):
    prompt = rs.randint(0, 99, rs.randint(2, 6))
    found.append(pack.grouped([item(rs, prompt, rs.randint(1, 7), side) for side in (1.0, -1.0)]))
  return found


def write(folder, examples, schema):
  folder.mkdir()
  store = shards.Store(str(folder), schema, False, 100)
  made = [schema.encode(one) for one in examples]
  store.add(made, tally.Done(records=made, figures=[converting.figures_of(one) for one in examples]))
  store.close()
  files.write_json(str(folder / "manifest.json"), {"record": schema.to_json()})
  return tokenised.CachedSource(str(folder))


def test_groups_with_columns_come_back_and_are_packed(tmp_path):
  given, schema = groups(20), records.Schema((SIDE, TOP), grouped=True)
  source = write(tmp_path / "s", given, schema)
  for one, again in zip(given, (source[i] for i in range(20)), strict=True):
    assert again.shared == one.shared and len(again.items) == 2
    for a, b in zip(one.items, again.items, strict=True):
      np.testing.assert_array_equal(a.ids, b.ids)
      np.testing.assert_array_equal(a.weights, b.weights)
      np.testing.assert_array_equal(a.columns["top"], b.columns["top"])
      assert (b.columns["side"] == a.columns["side"]).all()
  assert source.lengths.tolist() == [one.positions for one in given]
  assert (source.lengths < source.repeated_lengths).any()
  for repeat in (False, True):
    packing = feed_lib.Packing(row_length=48, rows=2, window=16, repeat_prompts=repeat)
    feed = feed_lib.Feed({"s": source}, {"s": 1.0}, packing, columns=(SIDE, TOP))
    batch = feed.batch(0)
    assert [len(row) for row in feed.segments(0)] == batch.segments_BT.max(axis=1).tolist()
    assert batch.repeats == repeat
    assert batch.columns["top"].shape == (2, 48, 2) and set(np.unique(batch.columns["side"])) == {-1.0, 0.0, 1.0}
    assert (batch.groups_BT.max() > 0) == (not repeat) and batch.groups_BT.min() < 0
    for group in np.unique(-batch.groups_BT[batch.groups_BT < 0]):  # both sides of a pair lie in one row
      assert any({-1.0, 1.0} <= set(batch.columns["side"][b][batch.groups_BT[b] == -group]) for b in (0, 1))


def test_what_cannot_be_read_is_refused_by_name(tmp_path):
  source = write(tmp_path / "s", groups(3), records.Schema((SIDE,), grouped=True))
  packing = feed_lib.Packing(row_length=64, rows=1)
  with pytest.raises(ValueError, match=r"reads the column .*'top'.* source s does not hold .*side"):
    feed_lib.Feed({"s": source}, {"s": 1.0}, packing, columns=(TOP,))
  with pytest.raises(ValueError, match="it has 'side' .float32.*prepare it again"):
    feed_lib.Feed({"s": source}, {"s": 1.0}, packing, columns=(batch_lib.Column("side", "int32"),))
  manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
  for version, text in ((None, "version 1"), (3, "version 3")):
    manifest["record"]["version"] = version
    files.write_json(str(tmp_path / "s" / "manifest.json"), {} if version is None else manifest)
    with pytest.raises(ValueError, match=f"{text}, this code reads 2"):
      tokenised.CachedSource(str(tmp_path / "s"))
  one = groups(1)[0].items[0]
  with pytest.raises(ValueError, match="no column 'other'"):
    records.Schema((batch_lib.Column("other"),)).encode(one)
  with pytest.raises(ValueError, match="column 'side' of an example of .* ids has shape"):
    records.Schema((SIDE,)).encode(one._replace(columns={"side": np.ones(3)}))
