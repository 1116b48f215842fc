"""Tokenizers: new special tokens, named templates."""

import pytest
import tokenizers
import transformers

from itune_jax.core import errors
from itune_jax.data.render import chat
from itune_jax.data.render import tokenizer as tokenizer_lib
from tests.models import folders


def test_new_tokens_take_reserved_ones_first(tmp_path):
  """Reserved in the model's vocabulary or added beside it; what is left stands behind."""
  folders.write_tokenizer(tmp_path)
  plain = transformers.AutoTokenizer.from_pretrained(tmp_path)
  plain.add_tokens(
    [tokenizers.AddedToken(t, normalized=False) for t in ("<unused7>", "<keep>", "<|reserved_special_token_0|>")]
  )
  plain.save_pretrained(tmp_path)
  given = ("<think>", "</think>", "<s>", "<more>")
  loaded = tokenizer_lib.load(str(tmp_path), special_tokens=given)
  assert loaded.convert_tokens_to_ids(list(given)) == [96, 98, 1, 99] and len(loaded) == 100
  assert loaded("a<think>b</think>", add_special_tokens=False)["input_ids"] == [*plain("a")["input_ids"], 96, 69, 98]
  assert loaded.decode([96, 69, 98], skip_special_tokens=True) == "b"
  loaded.save_pretrained(tmp_path / "again")
  again = transformers.AutoTokenizer.from_pretrained(tmp_path / "again")
  assert again.get_vocab() == loaded.get_vocab() and "<unused7>" not in again.get_vocab()
  assert tokenizer_lib.load(str(tmp_path / "again"), special_tokens=given).get_vocab() == loaded.get_vocab()


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_reserved_tokens_of_other_models(kind, tmp_path):
  if kind == "unigram":
    model = tokenizers.models.Unigram([("<unk>", 0.0), ("<unused0>", -5.0), ("a", -1.0)], unk_id=0)
  else:
    model = tokenizers.models.BPE(vocab={"<unk>": 0, "<unused0>": 1, "a": 2}, merges=[])
  fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer(model), unk_token="<unk>")
  fast.save_pretrained(tmp_path)
  loaded = tokenizer_lib.load(str(tmp_path), special_tokens=("<go>",))
  assert loaded("a<go>a", add_special_tokens=False)["input_ids"] == [2, 1, 2]


@pytest.mark.parametrize("name", tokenizer_lib.TEMPLATES)
def test_named_templates_pass_the_self_test(name, tmp_path):
  folders.write_tokenizer(tmp_path)
  renderer = chat.Renderer(tokenizer_lib.load(str(tmp_path), name))
  assert renderer.terminator


def test_an_unknown_template_lists_the_names(tmp_path):
  folders.write_tokenizer(tmp_path)
  with pytest.raises(errors.InputError, match=r"no known name \(chatml, llava, paligemma\)"):
    tokenizer_lib.load(str(tmp_path), "chatlm")
