"""What a teacher reads stands beside the student's tokens, and both predict the same text where they are compared."""

import gzip
import json

import numpy as np
import pytest

from itune_jax.core import pack
from itune_jax.data import feed as feed_lib
from itune_jax.data import mixture
from itune_jax.data import tokenised
from itune_jax.data.readers import readers
from itune_jax.data.render import beside
from itune_jax.data.render import chat
from itune_jax.data.render import tokenizer as tokenizer_lib
from tests.data.render import stand_in
from tests.data.test_doors_fuzz import characters

ROWS = [
  {"prompt": "How many?", "completion": "Twenty-three of them, I think."},
  {
    "messages": [
      {"role": "user", "content": "Hi"},
      {"role": "assistant", "content": "Hello there"},
      {"role": "user", "content": "Who?"},
      {"role": "assistant", "content": "Nobody else"},
    ]
  },
]


@pytest.fixture(scope="module")
def renderer():
  return chat.Renderer(stand_in.With(characters(), tokenizer_lib.named("chatml")), chat.Rendering(max_length=512))


def compared(student, teacher, row, context=""):
  """(text behind the place for the student, and for the teacher) at each place that is compared."""
  group, _ = beside.render(student, teacher, readers.parse(row, ""), context)
  own, theirs = group.items
  assert not theirs.weights.any()
  batch = pack.fill([[group]], group.positions, columns=[beside.AHEAD], grouped=True)
  found = []
  for t in np.flatnonzero(batch.weights_BT[0]):
    at = t + batch.columns["ahead"][0, t]
    j = list(np.flatnonzero(own.weights))[len(found)]
    k = at - (len(own.ids) - 1) + 1
    assert batch.tokens_BT[0, at] == theirs.ids[k - 1] and batch.tokens_BT[0, t] == own.ids[j - 1]
    found.append((own.ids[j:], theirs.ids[k:]))
  return found


@pytest.mark.parametrize("row", ROWS)
def test_behind_a_longer_prompt_both_predict_the_same_tokens(renderer, row):
  found = compared(renderer, renderer, row, "Answer as a pirate would.")
  whole = renderer.render(readers.parse(row, ""))[0]
  assert len(found) == (whole.weights != 0).sum()
  for own, theirs in found:
    np.testing.assert_array_equal(own, theirs)


def test_a_source_says_what_its_teacher_reads(tmp_path, renderer):
  path = tmp_path / "rows.jsonl"
  path.write_text("\n".join(map(json.dumps, ROWS)))
  plain = mixture.Source(name="s", path=str(path))
  source = mixture.Source(name="s", path=str(path), context="Be brief.")
  assert plain.digest() != source.digest()
  mixed = mixture.Mixture(name="m", sources=(source,))
  manifest = tokenised.write_source(
    str(tmp_path), mixed, source, renderer, source.rows(), teachers=lambda name: renderer
  )
  cached = tokenised.CachedSource(tokenised.source_folder(str(tmp_path), manifest["key"]))
  feed = feed_lib.Feed({"s": cached}, {"s": 1.0}, feed_lib.Packing(row_length=1024), columns=[beside.AHEAD])
  assert (feed.batch(0).columns["ahead"][feed.batch(0).weights_BT != 0] > 0).all()
  with pytest.raises(ValueError, match="not for the format 'preference'"):
    mixture.Source(name="s", path=str(path), format="preference", context="Be brief.")


@pytest.mark.heavy
def test_across_vocabularies_the_text_behind_a_place_is_the_same(itune_data, tmp_path, smollm2_tokenizer):
  transformers = pytest.importorskip("transformers")
  with gzip.open(f"{itune_data}/tokenizers/neox_20b_tokenizer.json.gz") as f:
    (tmp_path / "tokenizer.json").write_bytes(f.read())
  neox = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
  make = lambda tokenizer: chat.Renderer(stand_in.With(tokenizer, tokenizer_lib.named("chatml")), chat.Rendering())
  student, teacher = make(smollm2_tokenizer), make(neox)
  for row in ROWS:
    found = compared(student, teacher, row)
    trained = (student.render(readers.parse(row, ""))[0].weights != 0).sum()
    assert len(found) >= 0.5 * trained
    for own, theirs in found:
      texts = (student.tokenizer.decode(own), neox.decode(theirs))
      assert texts[0].replace("<|im_end|>", "") == texts[1].replace("<|im_end|>", "")
