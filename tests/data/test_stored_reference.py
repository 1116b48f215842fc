"""Stored log-probs of a reference: found by what they are of, and beside the right ids."""

import json

import numpy as np
import pytest

from itune_jax.data import feed as feed_lib
from itune_jax.data import made
from itune_jax.data import mixture
from itune_jax.data import stored_reference
from itune_jax.data import tokenised
from itune_jax.data.render import chat
from itune_jax.data.render import pair_groups
from itune_jax.data.render import tokenizer as tokenizer_lib
from tests.data.render import stand_in
from tests.data.test_doors_fuzz import characters

OF = stored_reference.Of("base-1", "", "float32")


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
  folder = tmp_path_factory.mktemp("pairs")
  rows = [{"prompt": f"ask {i}", "chosen": "y" * (i + 1), "rejected": "n"} for i in range(5)]
  (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
  renderer = chat.Renderer(stand_in.With(characters(), tokenizer_lib.named("chatml")), chat.Rendering(max_length=64))
  source = mixture.Source(name="pairs", path=str(folder / "pairs.jsonl"), format="preference")
  manifest = tokenised.write_source(
    str(folder), mixture.Mixture(name="m", sources=(source,)), source, renderer, source.rows()
  )
  return tokenised.CachedSource(tokenised.source_folder(str(folder), manifest["key"])), manifest["key"]


def test_another_models_are_refused_by_what_differs(tmp_path, cached):
  source, key = cached
  root = str(tmp_path)
  with pytest.raises(ValueError, match=r"no log-probs of this reference are stored \(none of any model\)"):
    stored_reference.find(root, key, OF, "", "pairs")
  folder = stored_reference.folder_of(root, stored_reference.key(key, OF, ""))
  values = [np.zeros(sum(len(item.ids) for item in source[i].items), np.float32) for i in range(len(source))]
  facts = {"source": key, **OF._asdict(), "beside": "", "examples": len(source)}
  stored_reference.write(folder, values, facts)
  assert stored_reference.find(root, key, OF, "", "pairs") == folder
  for of, beside, reason in (
    (OF._replace(base="base-2"), "", "another base: base-1, not base-2"),
    (OF._replace(adapter="abc"), "", "another adapter: none, not abc"),
    (OF._replace(compute="bfloat16"), "", "another precision: float32, not bfloat16"),
    (OF, "mismatch 3", "other examples beside them"),
  ):
    with pytest.raises(ValueError, match=reason):
      stored_reference.find(root, key, of, beside, "pairs")
  with pytest.raises(ValueError, match="does not hold what is said of 5 examples"):
    short = stored_reference.folder_of(root, "short")
    stored_reference.write(short, values[:-1], facts)
    stored_reference.WithReference(source, short)


@pytest.mark.parametrize("repeat", [False, True])
def test_values_stand_with_the_ids_that_they_are_of(tmp_path, cached, repeat):
  """Each value names its example, answer and id; a batch shows it where that id is predicted."""
  source, _ = cached
  name = lambda i, side, j: 1000 * i + 100 * side + j
  values = [
    np.concatenate([[name(i, s, j) for j in range(len(item.ids))] for s, item in enumerate(source[i].items)])
    for i in range(len(source))
  ]
  folder = str(tmp_path / "one")
  stored_reference.write(folder, [v.astype(np.float32) for v in values], {})
  given = {"pairs": stored_reference.WithReference(source, folder)}
  packing = feed_lib.Packing(row_length=256, window=5, repeat_prompts=repeat)
  columns = [pair_groups.SIDE, stored_reference.REFERENCE]
  feed = feed_lib.Feed(given, {"pairs": 1.0}, packing, columns=columns)
  batch, seen = feed.batch(0), 0
  for segment, (_, i) in enumerate(feed.segments(0)[0], 1):
    here = (batch.segments_BT[0] == segment) & (batch.weights_BT[0] != 0)
    for t in np.flatnonzero(here):
      side = 0 if batch.columns["side"][0, t] > 0 else 1
      j = int(batch.columns["ref_logprob"][0, t]) - name(i, side, 0)
      assert source[i].items[side].ids[j] == batch.targets_BT[0, t]
      seen += 1
  assert seen == int((batch.weights_BT != 0).sum()) > 0
  assert made.wrapped(given, columns, 0) == given
