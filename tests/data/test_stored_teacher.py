"""The likeliest tokens of a teacher: found by what they are of, beside the right ids, in as many bytes as said."""

import os

import numpy as np
import pytest

from itune_jax.data import feed as feed_lib
from itune_jax.data import stored_beside
from itune_jax.data import stored_teacher
from itune_jax.data.render import pair_groups
from tests.data.test_stored_reference import cached  # noqa: F401  # a fixture

K = 2
OF = stored_teacher.Of("base-1", "", "float32", "", K, 1.0, "float16")


def entries(source):
  """Of each trained id ids and log-probs that name its place."""
  for i in range(len(source)):
    where = np.flatnonzero(stored_teacher.trained(source[i]))
    yield i, np.stack([100 * i + where, where], -1), -np.stack([0.25 * i + where, 0.5 + where], -1)


def write(folder, source, vocab, of=OF, key=""):
  counts = [int(stored_teacher.trained(source[i]).sum()) for i in range(len(source))]
  stored_teacher.write(folder, counts, entries(source), vocab, of, {"source": key, "beside": ""})
  return sum(counts)


@pytest.mark.parametrize("vocab,dtype,size", [(49_152, "float16", 4), (128_256, "float16", 6), (128_256, "float32", 8)])
def test_an_id_with_weight_takes_what_is_said(tmp_path, cached, vocab, dtype, size):  # noqa: F811
  count = write(str(tmp_path / "one"), cached[0], vocab, OF._replace(dtype=dtype))
  sizes = [np.load(tmp_path / "one" / f"{name}.npy").nbytes for name in ("top_ids", "top_logprobs")]
  assert sum(sizes) == count * K * size
  assert sum(os.path.getsize(tmp_path / "one" / name) for name in os.listdir(tmp_path / "one")) < sum(sizes) + 1500


def test_another_teachers_are_refused_by_what_differs(tmp_path, cached):  # noqa: F811
  source, key = cached
  root, kind = str(tmp_path), stored_teacher.KIND
  find = lambda of: stored_beside.find(root, kind, key, of, "", "pairs")
  with pytest.raises(ValueError, match=r"no likeliest tokens of this teacher are stored \(none of any model\)"):
    find(OF)
  folder = str(tmp_path / kind.folder / stored_beside.key(key, OF, ""))
  write(folder, source, 500, key=key)
  assert find(OF) == folder
  for field, other, reason in (
    ("base", "base-2", "another teacher: base-1, not base-2"),
    ("adapter", "abc", "another adapter: none, not abc"),
    ("compute", "bfloat16", "another precision"),
    ("quant", "nf4", "another packing"),
    ("k", 3, "another k: 2, not 3"),
    ("temperature", 2.0, "another temperature: 1.0, not 2.0"),
    ("dtype", "float32", "another dtype"),
  ):
    with pytest.raises(ValueError, match=f"there are some of {reason}.*itune prepare --with_teacher"):
      find(OF._replace(**{field: other}))
  with pytest.raises(ValueError, match="does not hold what is said of 5 examples"):
    np.save(os.path.join(folder, "offsets.npy"), np.zeros(3, np.int64))
    stored_teacher.WithTeacher(source, folder)


@pytest.mark.parametrize("repeat", [False, True])
def test_tokens_stand_with_the_ids_that_they_are_of(tmp_path, cached, repeat):  # noqa: F811
  source, _ = cached
  folder = str(tmp_path / "one")
  write(folder, source, 500)
  given = {"pairs": stored_teacher.WithTeacher(source, folder)}
  packing = feed_lib.Packing(row_length=256, window=5, repeat_prompts=repeat)
  columns = [pair_groups.SIDE, *stored_teacher.columns_of(K)]
  feed = feed_lib.Feed(given, {"pairs": 1.0}, packing, columns=columns)
  batch, seen = feed.batch(0), 0
  for segment, (_, i) in enumerate(feed.segments(0)[0], 1):
    ids = np.concatenate([item.ids for item in source[i].items])
    for t in np.flatnonzero((batch.segments_BT[0] == segment) & (batch.weights_BT[0] != 0)):
      at = int(batch.columns["top_ids"][0, t, 1])
      assert batch.columns["top_ids"][0, t, 0] == 100 * i + at and ids[at] == batch.targets_BT[0, t]
      np.testing.assert_allclose(batch.columns["top_logprobs"][0, t], [-0.25 * i - at, -0.5 - at], rtol=2**-11)
      seen += 1
  assert seen == int((batch.weights_BT != 0).sum()) > 0
