"""Rendering and masks: token-identical, exact spans, failing closed. The golden forces RENDER_VERSION."""

import hashlib
import json
import pathlib

import numpy as np
import pytest

from itune_jax.data import example as example_lib
from itune_jax.data.render import chat

GOLDEN = pathlib.Path(__file__).parents[2] / "golden" / "chat_smollm2.json"
QWEN_LIKE = (
  "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' and not loop.last %}"
  "{{ m['content'].split('</think>')[-1].lstrip('\n') }}{% else %}{{ m['content'] }}{% endif %}"
  "{{ '<|im_end|>\n' }}{% endfor %}"
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def example(*turns, **more):
  return example_lib.Example(
    messages=tuple({"role": r, "content": c} if isinstance(c, str) else {"role": r, **c} for r, c in turns), **more
  )


CASES = [
  example(("user", "Hi"), ("assistant", "Hello!")),
  example(
    ("system", "Be brief."),
    ("user", " Two  spaces "),
    ("assistant", "  kept, and trailing \n"),
    ("user", "Ünïcode 漢字 🙂?"),
    ("assistant", "Jà – 漢字 🙂"),
  ),
  example(
    ("user", "a"),
    ("assistant", {"content": "not trained", "weight": 0}),
    ("user", "b"),
    ("assistant", {"content": "half", "weight": 0.5}),
  ),
]


@pytest.fixture(scope="module")
def renderer(smollm2_tokenizer):
  return chat.Renderer(smollm2_tokenizer)


@pytest.mark.parametrize("case", CASES, ids=["single", "unicode", "weights"])
def test_ids_are_those_of_apply_chat_template(renderer, smollm2_tokenizer, case):
  row, *alone = renderer.render(case)
  assert len(alone) == (case is CASES[1]), "a turn that begins with spaces is trained behind its own prompt as well"
  messages = [{k: v for k, v in m.items() if k != "weight"} for m in case.messages]
  assert row.ids.tolist() == smollm2_tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)


def test_trained_tokens_are_the_answers_and_their_terminators(renderer, smollm2_tokenizer):
  whole, alone = renderer.render(CASES[1])
  trained = [smollm2_tokenizer.decode(row.ids[row.weights != 0]) for row in (whole, alone)]
  # In the whole text the first space shares a token with the header's newline, which no prompt could end in: that turn
  # is a row of its own, of its prompt's ids and the answer's.
  assert trained == ["Jà – 漢字 🙂<|im_end|>", "  kept, and trailing \n<|im_end|>"]
  prompt = renderer.prompt_ids(list(CASES[1].messages[:2]))
  assert alone.ids[: len(prompt)].tolist() == prompt and alone.weights.tolist() == [0] * len(prompt) + [1] * (
    len(alone.ids) - len(prompt)
  )


def test_weights_follow_the_message(renderer, smollm2_tokenizer):
  (row,) = renderer.render(CASES[2])
  assert smollm2_tokenizer.decode(row.ids[row.weights == 0.5]) == "half<|im_end|>" and set(row.weights.tolist()) == {
    0.0,
    0.5,
  }


def test_golden_changes_only_with_the_version(renderer):
  """When this fails because rendering changed on purpose: raise RENDER_VERSION, then scripts/make_goldens.py."""
  rows = [[r.ids.tolist(), r.weights.tolist()] for case in CASES for r in renderer.render(case)]
  found = {"version": chat.RENDER_VERSION, "sha256": hashlib.sha256(json.dumps(rows).encode()).hexdigest()}
  assert found == json.loads(GOLDEN.read_text())


def test_a_turn_whose_thinking_is_dropped_gets_a_row_of_its_own(smollm2_tokenizer):
  case = example(
    ("user", "1"),
    ("assistant", "<think>\none\n</think>\n\nA"),
    ("user", "2"),
    ("assistant", "<think>\ntwo\n</think>\n\nB"),
  )
  renderer = chat.Renderer(_with(smollm2_tokenizer, QWEN_LIKE))
  texts = [smollm2_tokenizer.decode(row.ids[row.weights != 0]) for row in renderer.render(case)]
  assert texts == ["<think>\ntwo\n</think>\n\nB<|im_end|>", "<think>\none\n</think>\n\nA<|im_end|>"]
  refusing = chat.Renderer(_with(smollm2_tokenizer, QWEN_LIKE), chat.Rendering(dropped_turn="refuse"))
  with pytest.raises(example_lib.BadRow, match="drops text of turns"):
    refusing.render(case)


@pytest.mark.parametrize(
  "template,reason",
  [
    ("{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}", "stop"),
    (
      "{% for m in messages %}{{ m['content'] | upper if m['role'] == 'user' else 'x' }}<|im_end|>{% endfor %}",
      "self-test",
    ),
    ("{% for m in messages %}{{ m['content'][:5] }}<|im_end|>{% endfor %}", "self-test"),
    ("{{ raise_exception('no') }}", "cannot render"),
  ],
)
def test_templates_that_cannot_be_masked_are_refused(smollm2_tokenizer, template, reason):
  with pytest.raises(ValueError, match=reason):
    chat.Renderer(_with(smollm2_tokenizer, template))


def test_a_tokenizer_without_template_says_what_to_do(smollm2_tokenizer):
  with pytest.raises(ValueError, match="no chat template; name one"):
    chat.Renderer(_with(smollm2_tokenizer, None))


def test_date_is_pinned(smollm2_tokenizer):
  template = "{{ strftime_now('%d %b %Y') }}" + QWEN_LIKE
  assert (
    chat.Renderer(_with(smollm2_tokenizer, template), chat.Rendering(date="2024-07-26"))
    .text([{"role": "user", "content": "x"}])
    .startswith("26 Jul 2024")
  )


def test_truncation_is_counted_or_dropped(smollm2_tokenizer):
  long = example(("user", "Hi"), ("assistant", "word " * 50))
  (row,) = chat.Renderer(smollm2_tokenizer, chat.Rendering(max_length=40)).render(long)
  assert len(row.ids) == 40 and row.truncated
  with pytest.raises(example_lib.BadRow, match="longer than 40"):
    chat.Renderer(smollm2_tokenizer, chat.Rendering(max_length=40, truncation="drop")).render(long)
  with pytest.raises(example_lib.BadRow, match="truncation leaves no trained token"):
    chat.Renderer(smollm2_tokenizer, chat.Rendering(max_length=8)).render(long)


def test_marks_in_the_data_are_refused(renderer):
  with pytest.raises(example_lib.BadRow, match="private-use"):
    renderer.render(example(("user", "x\U000f0000"), ("assistant", "y")))


def test_prompt_ends_where_the_answer_begins(renderer):
  (row,) = renderer.render(CASES[0])
  prompt = renderer.prompt_ids(list(CASES[0].messages[:1]))
  assert row.ids[: len(prompt)].tolist() == prompt and np.flatnonzero(row.weights)[0] == len(prompt)


TRIMS = QWEN_LIKE.replace("{% else %}{{ m['content'] }}", "{% else %}{{ m['content'] | trim }}")
SPACED = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] | trim }} <|im_end|>{% endfor %}"
BEGUN = ("The answer is", "The answer is ", " Two  spaces \n", "a\n\nb", "Jà – 漢字 🙂", "<think>so</think> it is", "x")


@pytest.mark.parametrize("template", [None, QWEN_LIKE, TRIMS, SPACED], ids=["chatml", "thinks", "trims", "spaced"])
@pytest.mark.parametrize("text", BEGUN)
def test_a_begun_answer_is_continued_as_transformers_continues_it(smollm2_tokenizer, template, text):
  tokenizer = _with(smollm2_tokenizer, template) if template else smollm2_tokenizer
  messages = [{"role": "user", "content": "Well?"}, {"role": "assistant", "content": text}]
  ids = chat.Renderer(tokenizer).prompt_ids(messages)
  theirs = smollm2_tokenizer.apply_chat_template(
    messages, chat_template=template, continue_final_message=True, tokenize=True, return_dict=False
  )
  if template == SPACED and text != text.rstrip():  # the template's own space may be taken for the text's
    plain = chat.Renderer(tokenizer).text(messages)
    assert plain.startswith(found := smollm2_tokenizer.decode(ids)) and text.strip() in found
  else:
    assert ids == theirs


def test_what_cannot_be_continued(renderer, smollm2_tokenizer):
  asked = [{"role": "user", "content": "Well?"}]
  for empty in ("", "  ", []):
    assert renderer.prompt_ids([*asked, {"role": "assistant", "content": empty}]) == renderer.prompt_ids(asked)
  first = _with(smollm2_tokenizer, QWEN_LIKE.replace("{{ m['content'] }}", "{{ m['content'][:20] }}"))
  with pytest.raises(example_lib.BadRow, match="no answer can go on from it"):
    chat.Renderer(first).prompt_ids([*asked, {"role": "assistant", "content": "a text of more than 20 characters"}])


def test_real_rows_render_and_decode(itune_data, renderer, smollm2_tokenizer):
  from_file = f"{itune_data}/gsm8k/train_first1500.jsonl"
  for line in pathlib.Path(from_file).read_text().splitlines()[:200]:
    raw = json.loads(line)
    (row,) = renderer.render(example(("user", raw["question"]), ("assistant", raw["answer"])))
    assert smollm2_tokenizer.decode(row.ids[row.weights != 0]) == raw["answer"] + "<|im_end|>"


def _with(tokenizer, template):
  class Other:
    chat_template = template
    added_tokens_decoder = tokenizer.added_tokens_decoder
    apply_chat_template = staticmethod(lambda *a, **k: tokenizer.apply_chat_template(*a, **k))
    __call__ = staticmethod(lambda *a, **k: tokenizer(*a, **k))
    decode = staticmethod(lambda *a, **k: tokenizer.decode(*a, **k))

  return Other()


@pytest.mark.parametrize(
  ("shown", "says"),
  [
    ("m.content | striptags", "changes what message 1 (assistant) says"),
    ("m.content | replace('\\n', ' ')", "changes what message 1 (assistant) says"),
  ],
)
def test_a_template_that_alters_an_answer_loses_its_row(smollm2_tokenizer, shown, says):
  renderer = chat.Renderer(_with(smollm2_tokenizer, _showing(shown)))
  messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "a <b>bold</b>\nword of it"}]
  with pytest.raises(example_lib.BadRow) as e:
    renderer.render(example_lib.Example(messages=tuple(messages)))
  assert says in str(e.value)


def test_a_template_that_says_an_answer_twice_is_refused(smollm2_tokenizer):
  with pytest.raises(ValueError, match=r"shows what message 1 \(assistant\) says twice"):
    chat.Renderer(_with(smollm2_tokenizer, _showing("m.content ~ ' ' ~ m.content")))


def _showing(shown):
  return (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ " + shown + " }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
  )
