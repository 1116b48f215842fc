"""What is trained is what is generated, token by token: behind the ids of the prompt, through the end of the turn.

The reference generates: it asks for the ids of the prompt of every assistant turn, and looks for a row in which these
ids stand in front of a trained stretch that reads as the answer.
"""

import functools
import tempfile

import numpy as np
import pytest
import tokenizers
import transformers
from hypothesis import strategies as st

from itune_jax.core import errors
from itune_jax.data import example as example_lib
from itune_jax.data.render import chat
from itune_jax.data.render import tokenizer as tokenizer_lib
from itune_jax.run import specs
from tests import fuzz
from tests.data.render import stand_in
from tests.models import folders

LOOP = "{% for m in messages %}BODY{% endfor %}{% if add_generation_prompt %}ASK{% endif %}"


def loop(body, ask=""):
  return LOOP.replace("BODY", body).replace("ASK", ask)


STRADDLES = loop("{{m['role']}}: {{m['content']}}<end>\n", "assistant: ")
TEMPLATES = {
  "straddles": STRADDLES,
  "no prompt": loop("<|{{m['role']}}|>{{m['content']}}</s>"),
  "spaced": loop("[{{m['role']}}] {{m['content'] | trim}} </s>"),
  "two lines": loop("<|{{m['role']}}|>\n\n{{m['content']}}</s>\n", "<|assistant|>\n\n"),
  "text that ends": loop("{{m['role']}}\n{{m['content']}}[END]\n\n", "assistant\n"),
  "opens thinking": loop(
    "<|{{m['role']}}|>\n{% if m['role'] == 'assistant' and '<think>' not in m['content'] %}<think>\n\n</think>\n\n"
    "{% endif %}{{m['content']}}</s>",
    "<|assistant|>\n<think>\n",
  ),
  "drops thinking": loop(
    "<|{{m['role']}}|>{{ m['content'] if loop.last else m['content'].split('</think>')[-1] }}</s>", "<|assistant|>"
  ),
  "thinks last": loop(
    "<|{{m['role']}}|>{% if m['role'] == 'assistant' and loop.last %}<think></think>{% endif %}{{m['content']}}</s>",
    "<|assistant|>",
  ),
  **{name: name for name in tokenizer_lib.TEMPLATES},
}
ANSWERS = ("Yes", " Yes", "Yes\n", "\nYes no", "Ünïcode 漢字", "a: b", "<think>\nhm\n</think>\n\nYes", "5", "[END")


@functools.cache
def tokenizer(kind):
  """Byte-level pairs, single characters, and pieces with a mark for the space, as sentencepiece has them."""
  if kind == "bytes":
    return tokenizer_lib.load(specs.resolve("smollm2-135m-instruct"))
  folder = tempfile.mkdtemp()
  if kind == "characters":
    folders.write_tokenizer(folders.pathlib.Path(folder))
    return tokenizer_lib.load(folder)
  letters = sorted({*map(chr, range(33, 127)), "▁", "\n", *"Ünïcode漢字", *"éñ"})
  words = ["▁Yes", "▁no", "Yes", "no", "▁Good", "▁Fine", ">\n", ":▁", ":▁Yes", "\n\n", "][", "]\n"]
  vocab = [("<unk>", 0.0), ("</s>", 0.0), *((c, -10.0) for c in letters), *((w, -2.0) for w in words)]
  fast = tokenizers.Tokenizer(tokenizers.models.Unigram(vocab, unk_id=0, byte_fallback=False))
  fast.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
  fast.decoder = tokenizers.decoders.Metaspace(prepend_scheme="first", split=False)
  return transformers.PreTrainedTokenizerFast(tokenizer_object=fast, unk_token="<unk>", eos_token="</s>")


@functools.cache
def renderer(kind, name, **how):
  return with_template(kind, tokenizer_lib.named(TEMPLATES[name]), **how)


def with_template(kind, template, *config, **how):
  return chat.Renderer(stand_in.With(tokenizer(kind), template), *config, **how)


def stretches(row):
  """(first, last + 1) of what is trained without a gap."""
  edges = np.flatnonzero(np.diff(np.r_[0, row.weights != 0, 0]))
  return list(edges.reshape(-1, 2))


def generated(ours, messages, rows):
  """Asserts that every answer is trained behind its prompt's ids, and nothing else is; counts the answers."""
  found, wanted = set(), [i for i, m in enumerate(messages) if m["role"] == "assistant"]
  for row in rows:
    for first, last in stretches(row):
      here = [i for i in wanted if ours.prompt_ids(messages[:i]) == row.ids[:first].tolist()]
      assert here, (ours.tokenizer.decode(row.ids[:first]), "is no prompt")
      said = ours.tokenizer.decode(row.ids[first:last])
      (turn,) = here
      answer, end = messages[turn]["content"], ours.turn_end
      terminator = ours.tokenizer.decode(ours.encode(ours.terminator))
      if said.endswith(terminator):
        said = said[: -len(terminator)]
      elif terminator in said:  # white space that a token of the terminator brings along
        said, _, behind = said.rpartition(terminator)
        assert not behind.strip()
      else:
        raise AssertionError((said, "does not end"))
      shown = ours.tokenizer.decode(ours.encode(answer.strip())).strip()  # what of it the tokenizer has tokens for
      before = ours.tokenizer.decode(row.ids[:first])[-10:]  # a prompt may begin the answer, as by <think>
      assert shown in before + said, (answer, said)
      assert end.strings or row.ids[last - 1] in end.ids
      found.add(turn)
  return found == set(wanted)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("kind", ["bytes", "characters", "pieces"])
def test_answers_are_trained_behind_the_ids_of_their_prompts(kind, name):
  try:
    ours = renderer(kind, name)
  except errors.InputError as e:
    assert "\n" not in str(e) and "self-test" in str(e)
    assert (kind, name) in {("pieces", "straddles")} or kind != "bytes", str(e)
    return
  for first in ANSWERS:
    messages = [
      {"role": role, "content": text}
      for role, text in (("user", "Hi there"), ("assistant", first), ("user", "And?"), ("assistant", "Good"))
    ]
    try:
      rows = ours.render(example_lib.Example(messages=tuple(messages)))
    except example_lib.BadRow as e:
      assert kind != "bytes" or name in ("opens thinking", "paligemma"), (first, str(e))
      continue
    assert generated(ours, messages, rows), (first, [ours.tokenizer.decode(row.ids[row.weights != 0]) for row in rows])


roles = st.lists(st.sampled_from(["user", "assistant"]), min_size=1, max_size=4)
texts = st.one_of(st.text(max_size=8), st.sampled_from(ANSWERS), st.text("Yes: <>\n[]END/s", max_size=12))


@fuzz.given(
  st.sampled_from(["bytes", "characters", "pieces"]),
  st.sampled_from(sorted(TEMPLATES)),
  st.lists(texts, min_size=4, max_size=4),
)
def test_any_answer_is_trained_as_it_is_generated_or_refused(kind, name, said):
  """Two turns of any text."""
  ours = fuzz.outcome(lambda: renderer(kind, name))
  if ours is None:
    return
  messages = [{"role": role, "content": text} for role, text in zip(["user", "assistant"] * 2, said, strict=True)]
  rows = fuzz.outcome(lambda: ours.render(example_lib.Example(messages=tuple(messages))))
  if rows is not None and all(text.strip() for text in said):
    generated(ours, messages, rows)
    text = ours.text(messages)
    assert said[0].strip() in text and said[2].strip() in text


def test_a_token_that_straddles_the_prompt_is_trained_as_it_is_generated():
  ours = renderer("bytes", "straddles")
  messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "Yes"}]
  (row,) = ours.render(example_lib.Example(messages=tuple(messages)))
  trained = [ours.tokenizer.decode([i]) for i in row.ids[row.weights != 0]]
  assert trained == ["Yes", "<", "end", ">"] and ours.turn_end.strings == ("<end>",)


def test_an_open_thought_is_no_place_for_an_answer_without_one():
  ours = loop("<|{{m['role']}}|>\n{{m['content']}}</s>", "<|assistant|>\n<think>\n")
  ours = with_template("bytes", ours)
  row = lambda text: example_lib.Example(
    messages=({"role": "user", "content": "q"}, {"role": "assistant", "content": text})
  )
  with pytest.raises(example_lib.BadRow, match=r"would be generated behind \(it ends in .*<think>"):
    ours.render(row("Yes"))
  (good,) = ours.render(row("<think>\nhm\n</think>\n\nYes"))
  assert ours.tokenizer.decode(good.ids[good.weights != 0]) == "hm\n</think>\n\nYes</s>"


def test_a_model_that_reads_both_ways_has_a_row_for_each_answer():
  said = ("Good", "Fine", "Yes")
  messages = [m for text in said for m in ({"role": "user", "content": "q"}, {"role": "assistant", "content": text})]
  messages[3] = {**messages[3], "weight": 0}
  ours = renderer("bytes", "chatml", one_answer=True)
  rows = ours.render(example_lib.Example(messages=tuple(messages)))
  assert [ours.tokenizer.decode(row.ids[row.weights != 0]) for row in rows] == ["Good<|im_end|>", "Yes<|im_end|>"]
  for row, before in zip(rows, (1, 5), strict=True):
    assert row.ids[: stretches(row)[0][0]].tolist() == ours.prompt_ids(messages[:before])
  assert ours.digest() != renderer("bytes", "chatml").digest()


def test_a_template_for_tools_is_taken_where_there_are_tools():
  plain = loop("<|{{m['role']}}|>{{m['content']}}</s>", "<|assistant|>")
  named = {"default": plain, "tool_use": "{{ tools | tojson }}" + plain, "rag": "{{ nothing.at.all }}"}
  ours, user = with_template("bytes", named), [{"role": "user", "content": "q"}]
  assert ours.text(user) == "<|user|>q</s>"
  assert ours.text(user, tools=({"name": "look"},)) == '[{"name": "look"}]<|user|>q</s>'
  with pytest.raises(errors.InputError, match="chat templates 'rag' and none named default"):
    with_template("bytes", {"rag": plain})


@pytest.mark.parametrize(
  "call", ["'%d %B %Y'", "f", "['%d', '%B', '%Y'] | join(' ')", "'%-d %B %Y' | replace('-', '')"]
)
def test_dates_are_pinned_however_they_are_asked_for(call):
  shown = f"{{% set f = '%d %B %Y' %}}{{{{ strftime_now({call}) }}}} {{{{ strftime_now('100%%') }}}}"
  template = shown + loop("<|{{m['role']}}|>{{m['content']}}</s>", "<|assistant|>")
  text = with_template("bytes", template, chat.Rendering(date="2024-07-26")).text([{"role": "user", "content": "q"}])
  assert text == "26 July 2024 100%<|user|>q</s>"


WITH_CALLS = loop(
  "<|{{m['role']}}|>{{m['content'] or ''}}"
  "{% for c in m['tool_calls'] or [] %}{{c['function']['name']}}(ARGS){% endfor %}</s>",
  "<|assistant|>",
)


@pytest.mark.parametrize(
  "how", ["c['function']['arguments'] | tojson", "'' + c['function']['arguments']", "c.function.arguments"]
)
def test_arguments_are_written_as_json_once_however_the_template_takes_them(how):
  ours = with_template("bytes", "{{ tools }}" + WITH_CALLS.replace("ARGS", "{{" + how + "}}"))
  calls = [{"function": {"name": "look", "arguments": given}} for given in ({"at": "Oslo"}, '{"at": "Oslo"}')]
  for call in calls:
    turns = ({"role": "user", "content": "q"}, {"role": "assistant", "content": None, "tool_calls": [call]})
    (row,) = ours.render(example_lib.Example(messages=turns))
    assert ours.tokenizer.decode(row.ids[row.weights != 0]) == 'look({"at": "Oslo"})</s>'


def test_nothing_is_dropped_in_silence():
  drops = loop("{% if m['role'] != 'system' %}<|{{m['role']}}|>{{m['content']}}</s>{% endif %}", "<|assistant|>")
  ours = with_template("bytes", drops)
  turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
  for row, reason in (
    (dict(messages=({"role": "system", "content": "Be brief."}, *turns)), "drops the text of message 0 .system"),
    (dict(messages=tuple(turns), tools=({"name": "look"},)), "does not show the `tools`"),
    (dict(messages=(turns[0], {**turns[1], "reasoning_content": "hm"})), "which has reasoning: name a template"),
    (dict(messages=tuple(turns), template_kwargs={"tokenize": True}), "'tokenize', which the renderer itself gives"),
  ):
    with pytest.raises(example_lib.BadRow, match=reason):
      ours.render(example_lib.Example(**row))
  ours = with_template("bytes", WITH_CALLS.replace("ARGS", ""))
  call = {"function": {"name": "look", "arguments": {"at": "Oslo"}}}
  with pytest.raises(example_lib.BadRow, match="drops an argument of the call of 'look'"):
    ours.render(example_lib.Example(messages=(turns[0], {"role": "assistant", "content": None, "tool_calls": [call]})))
