"""One place knows how a turn ends, for the mask, the decoder and the reader of answers alike."""

import copy

import pytest
import tokenizers

from itune_jax.core import conversation
from itune_jax.data import example as example_lib
from itune_jax.data.render import chat
from itune_jax.data.render import text

ROLE = (
  "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}ENDS{% endfor %}"
  "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def renderer(tokenizer, terminator, special=(), **how):
  tokenizer = copy.deepcopy(tokenizer)
  tokenizer.add_tokens([tokenizers.AddedToken(t, special=True, normalized=False) for t in special])
  tokenizer.chat_template = ROLE.replace("ENDS", terminator)
  return chat.Renderer(tokenizer, **how)


def test_a_special_token_that_only_the_template_knows_ends_a_turn(smollm2_tokenizer):
  ours = renderer(smollm2_tokenizer, "<|turn_end|>", ("<|turn_end|>",))
  (end,) = ours.encode("<|turn_end|>")
  assert end in ours.turn_end.ids and ours.tokenizer.eos_token_id in ours.turn_end.ids and not ours.turn_end.strings
  row = ours.render(
    example_lib.Example(messages=tuple(conversation.of("Hi").messages) + ({"role": "assistant", "content": "Yes"},))
  )[0]
  trained = row.ids[row.weights != 0].tolist()
  assert trained[-1] == end, "the mask trains what the decoder stops at"
  assert ours.decode(trained) == "Yes"


def test_an_end_of_several_tokens_is_a_string(smollm2_tokenizer):
  ours = renderer(smollm2_tokenizer, "</turn>")
  assert len(ours.encode("</turn>")) > 1
  assert ours.turn_end.strings == ("</turn>",) and ours.turn_end.text == "</turn>"


def test_what_the_base_calls_an_end_ends_a_turn_too(smollm2_tokenizer):
  assert 77 in chat.Renderer(smollm2_tokenizer, ends=(77,)).turn_end.ids


def test_special_tokens_that_are_content_stay(smollm2_tokenizer):
  ours = renderer(smollm2_tokenizer, "<|im_end|>", ("<think>", "</think>"))
  ids = ours.encode("<think>hm</think>Yes<|im_end|>")
  assert ours.decode(ids) == "<think>hm</think>Yes"


@pytest.mark.parametrize("kind", [chat.Renderer, text.Renderer])
@pytest.mark.parametrize(
  "context,continuation", [("The capital of France is", " Paris"), ("a \n", "b"), ("", "Hello"), ("hello wor", "ld")]
)
def test_plain_text_is_cut_as_lm_eval_cuts_it_and_no_pair_is_lost(smollm2_tokenizer, kind, context, continuation):
  ours = kind(smollm2_tokenizer)
  head, tail = ours.continued(context, continuation)
  assert head and tail
  if context:
    assert smollm2_tokenizer.decode(head + tail) == context + continuation


def test_a_conversation_is_continued_behind_its_prompt(smollm2_tokenizer):
  ours = chat.Renderer(smollm2_tokenizer)
  head, tail = ours.continued(conversation.of("Pick A or B."), "A")
  assert head == ours.prompt_ids([{"role": "user", "content": "Pick A or B."}]) and tail == ours.encode("A")
  with pytest.raises(ValueError, match="no chat template"):
    text.Renderer(smollm2_tokenizer).continued(conversation.of("Pick A or B."), "A")
