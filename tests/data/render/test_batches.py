"""What makes rendering fast changes nothing of it: templates called directly, texts encoded together, marks cut out."""

import datetime
import random

import pytest

from itune_jax.data import example as example_lib
from itune_jax.data.render import chat
from itune_jax.data.render import marks
from itune_jax.data.render import template as template_lib
from itune_jax.data.render import text
from itune_jax.data.render import tokenizer as tokenizer_lib

TALKS = [
  [("user", " Hi \n"), ("assistant", "Yes <think>\nno\n</think> 🙂")],
  [("system", "Be\n\nbrief."), ("user", "{{ x }}"), ("assistant", "a"), ("user", "b"), ("assistant", "")],
  [("user", "<|im_start|>user"), ("assistant", "<|im_end|>")],
  [("system", "s")],
]


def messages(talk):
  return [{"role": role, "content": content} for role, content in talk]


@pytest.mark.parametrize("name", ["", *tokenizer_lib.TEMPLATES])
def test_a_template_called_directly_writes_what_transformers_has_it_write(name, smollm2_tokenizer):
  source = tokenizer_lib.named(name) if name else smollm2_tokenizer.chat_template
  for kwargs in ({}, {"enable_thinking": False, "bos_token": "<b>"}):
    direct = template_lib.Template(smollm2_tokenizer, source, kwargs, datetime.date(2025, 1, 31))
    assert direct._is_direct
    slow = template_lib.Template(smollm2_tokenizer, source, kwargs, datetime.date(2025, 1, 31))
    slow._is_direct = False
    for talk in TALKS:
      for prompt in (False, True):
        found = []
        for one in (direct, slow):
          try:
            found.append(one.text(messages(talk), add_generation_prompt=prompt))
          except example_lib.BadRow as e:
            found.append(str(e))
        assert found[0] == found[1]


def test_names_that_do_not_reach_the_template_take_the_long_way(smollm2_tokenizer):
  of = lambda kwargs: template_lib.Template(smollm2_tokenizer, "{{ x }}", kwargs, datetime.date(2025, 1, 31))
  assert of({"x": 1})._is_direct and not of({"documents": []})._is_direct and not of({"padding": True})._is_direct


def test_texts_encoded_together_are_encoded_as_the_tokenizer_does(smollm2_tokenizer):
  texts = ["", " ", "<|im_start|>user\nGrüße 日本語🙂<|im_end|>\n", "a" * 700, "x\r\ny", "\u0301e"]
  for one, given in zip(text.encoded(smollm2_tokenizer, texts), texts, strict=True):
    theirs = smollm2_tokenizer(given, add_special_tokens=False, return_offsets_mapping=True)
    places = theirs["offset_mapping"]
    assert one.ids == theirs["input_ids"] and [one.span(i) for i in range(len(one.ids))] == places
    for at in range(len(given) + 1):
      assert one.before(at) == sum(start < at for start, _ in places)
  with pytest.raises(TypeError):
    text.encoded(smollm2_tokenizer, ["fine", "\ud800"])


def test_rows_begun_together_are_those_that_are_rendered_alone(smollm2_tokenizer):
  renderer = chat.Renderer(smollm2_tokenizer)
  examples = [example_lib.Example(messages=tuple(messages(talk))) for talk in TALKS[:3]]
  examples.append(example_lib.Example(messages=({"role": "user", "content": "text"},), plain=True))
  for example, begun in zip(examples, renderer.begin(examples), strict=True):
    outcomes = []
    for how in (begun, None):
      try:
        outcomes.append([(row.ids.tolist(), row.weights.tolist()) for row in renderer.render(example, how)])
      except example_lib.BadRow as e:
        outcomes.append(str(e))
    assert outcomes[0] == outcomes[1]


def test_marks_taken_out_are_where_a_search_finds_them():
  rng = random.Random(0)
  for _ in range(300):
    count = rng.randint(0, 4)
    order = [chr(0xF0000 + i) for i in range(count)]
    if rng.random() < 0.3:
      rng.shuffle(order)
    given = "".join(rng.choice("ab\n") * rng.randint(0, 3) + mark for mark in order) + "c"
    if rng.random() < 0.2:
      given += chr(0xF0000)
    without, where = marks.taken_out(given, count)
    if without is not None and not marks.MARKS.search(without):
      assert without == marks.MARKS.sub("", given) and where == marks.positions(given)
    else:
      assert order != sorted(order) or given.count(chr(0xF0000)) > 1 or not count
