"""The doors of rows: each input means one thing, or is refused in a line that names the field and the cure."""

import gzip
import importlib
import json
import math

import pytest

from itune_jax.core import errors
from itune_jax.data import mixture
from itune_jax.data import tokenised
from itune_jax.data.readers import readers
from itune_jax.data.render import chat
from itune_jax.data.render import tokenizer as tokenizer_lib
from tests.data.render import stand_in

CALL = {"type": "function", "function": {"name": "look", "arguments": {"city": "Oslo"}}}


def asked(text, **more):
  return {"messages": [{"role": "user", "content": text, **more}, {"role": "assistant", "content": "a"}]}


def answered(**turn):
  return {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", **turn}]}


def sharegpt(*turns, **more):
  return {"conversations": [{"from": who, "value": value, **own} for who, value, own in turns], **more}


def content(row):
  return [m["content"] for m in row.messages]


REFUSED = {
  "a list as text": (
    {"instruction": "x", "input": [1, 2], "output": "y"},
    r"`input` is a list \(\[1, 2\]\); it must be",
  ),
  "an object as text": ({"instruction": "x", "input": {"k": 1}, "output": "y"}, "`input` is an object"),
  "a number as question": ({"question": 5, "answer": "x"}, "`question` is a number"),
  "true as an answer": ({"prompt": "x", "completion": True}, "`completion` is a boolean"),
  "a part without text": (asked([{"type": "text", "text": None}]), "part 0 of message 0 .* has no `text`"),
  "an answer's part without text": (answered(content=[{"type": "text"}]), "part 0 of message 1 .* has no `text`"),
  "a video": (
    asked([{"type": "video", "video": "x.mp4"}]),
    "type 'video', which is not read; parts are of type text or",
  ),
  "a column of videos": ({**asked("<video> what?"), "videos": ["x.mp4"]}, "`videos`, which are not read"),
  "half a surrogate pair": (asked("half \ud83d"), r"half of a surrogate pair \(\\ud83d\)"),
  "half of one, with an id": ({**asked("half \ud83d"), "id": "x"}, r"half of a surrogate pair"),
  "half of one in a call": (answered(tool_calls=[{"name": "\udc00", "arguments": {}}]), "half of a surrogate pair"),
  "history without an answer": ({"instruction": "x", "output": "y", "history": [["q"]]}, "`history` 0 is .* a pair"),
  "a history that is text": ({"instruction": "x", "output": "y", "history": "q"}, "`history` is text"),
  "calls that are no JSON": (answered(tool_calls="[{"), "`tool_calls` of message 1 .* is not JSON"),
  "arguments that are no object": (
    answered(tool_calls=[{"name": "f", "arguments": "[1]"}]),
    "arguments of 'f' .* a list",
  ),
  "a call without a name": (answered(tool_calls=[{"arguments": {}}]), "a call without a name"),
  "tools that are no JSON": ({**asked("q"), "tools": "[{"}, "`tools` is text that is not JSON"),
  "different reasoning": (answered(content="a", reasoning="x", thinking="y"), "different reasoning"),
  "weights that differ": (answered(content="a", weight=1, train=False), "trained by one of `weight`, `train` and not"),
  "a weight that is not finite": (answered(content="a", weight=math.nan, train=math.inf), "`train` of message 1"),
  "a weight of true": (answered(content="a", weight=True), "`weight` of message 1 .* must be a finite number"),
  "a weight of a user": (asked("q", weight=1), "only assistant turns carry one"),
  "parts of a turn weighed": (
    answered(content="a", train_detail=[1]),
    "`train_detail`: parts of a turn are not weighed",
  ),
  "a preference without answer": (
    sharegpt(("human", "a", {}), ("gpt", "b", {}), ("human", "c", {}), chosen={"value": "x"}, rejected={"value": "y"}),
    "a preference .* write the answer to be learned as the last assistant message",
  ),
  "a preference alone": ({"prompt": "q", "chosen": "a", "rejected": "b"}, "it is a preference"),
  "an answer that is not the chosen": ({**answered(content="a"), "chosen": "b", "rejected": "a"}, "it is a preference"),
  "no known format": (
    {"trees": 1, "text": "x"},
    r"has its keys \('text', 'trees'\); formats are messages \(messages\); sharegpt",
  ),
  "two answers": ({"instruction": "x", "output": "y", "response": "z"}, "different answers under output, response"),
  "nothing asked": ({"instruction": "", "input": "", "output": "y"}, "`instruction` and `input` are empty"),
  "a check that is text": ({**answered(content="a"), "check": "exact"}, "`check` is text"),
  "a score that is not finite": ({**answered(content="a"), "scores": {"x": math.nan}}, "`scores`"),
  "a message that is text": ({"messages": ["Hi"]}, "message 0 is text .* must be an object with a role"),
  "a speaker that is a list": ({"conversations": [{"from": [], "value": "x"}]}, "turn 0 is from \\[\\]"),
  "a function call that is no JSON": (sharegpt(("human", "q", {}), ("function_call", "look()", {})), "is not JSON"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_by_name(name, tmp_path):
  raw, reason = REFUSED[name]
  (tmp_path / "x.jsonl").write_text(json.dumps(raw) + "\n")
  (row,) = readers.read(str(tmp_path / "x.jsonl"))
  assert row.example is None and row.line == 1 and "\n" not in row.problem
  with pytest.raises(ValueError, match=reason):
    raise ValueError(row.problem)


SAME = {
  "NaN is no input": ('{"instruction": "Add.", "input": NaN, "output": "2"}', {"instruction": "Add.", "output": "2"}),
  "an input alone": ({"instruction": "", "input": "given", "output": "x"}, {"prompt": "given", "completion": "x"}),
  "a weight of null": (asked("q", weight=None), asked("q")),
  "a user's weight of 0": (asked("q", weight=0), asked("q")),
  "train: false": (answered(content="a", train=False), answered(content="a", weight=0)),
  "loss: true": (answered(content="a", loss=True), answered(content="a", weight=1)),
  "reasoning": (answered(content="a", reasoning="hm"), answered(content="a", reasoning_content="hm")),
  "thinking": (answered(content="a", thinking="hm"), answered(content="a", reasoning_content="hm")),
  "calls as text": (answered(tool_calls=json.dumps([CALL])), answered(content=None, tool_calls=[CALL])),
  "arguments as text": (
    answered(tool_calls=[{"function": {"name": "look", "arguments": '{"city": "Oslo"}'}}]),
    answered(tool_calls=[CALL]),
  ),
  "a flat call": (answered(tool_calls=[CALL["function"]]), answered(tool_calls=[CALL])),
  "the older call": (answered(content=None, function_call=CALL["function"]), answered(tool_calls=[CALL])),
  "a call of LLaMA-Factory": (
    sharegpt(("human", "q", {}), ("function_call", json.dumps(CALL["function"]), {})),
    answered(tool_calls=[CALL]),
  ),
  "weights of ShareGPT": (sharegpt(("human", "q", {}), ("gpt", "a", {"weight": 0})), answered(content="a", weight=0)),
  "tools as text": ({**asked("q"), "tools": "[]"}, asked("q")),
  "no tools": ({**asked("q"), "tools": ""}, asked("q")),
  "an observation": (
    sharegpt(("human", "q", {}), ("observation", "5", {}), ("gpt", "a", {})),
    {
      "messages": [*asked("q")["messages"][:1], {"role": "tool", "content": "5"}, {"role": "assistant", "content": "a"}]
    },
  ),
  "an answer that is chosen": (
    {**answered(content="a"), "chosen": [{"content": "a"}], "rejected": "b"},
    answered(content="a"),
  ),
}


@pytest.mark.parametrize("name", SAME)
def test_two_ways_to_write_it_are_one_conversation(name):
  one, other = (readers.parse(raw, "") for raw in SAME[name])
  assert one.messages == other.messages and one.tools == other.tools


ROW = json.dumps({"question": "q", "answer": "a"})
FILES = {
  "x.jsonl": {
    "a mark in front": "\ufeff" + ROW,
    "a list": f"[{ROW},\n{ROW}]",
    "one row over lines": json.dumps(json.loads(ROW), indent=2),
    "lines": f"\n{ROW}\n\n{ROW}\n",
  },
  "x.json": {"a mark in front": f"\ufeff[{ROW}]", "one row": ROW, "lines": f"{ROW}\n{ROW}"},
  "x.ndjson": {"lines": ROW},
}


@pytest.mark.parametrize("name,way", [(name, way) for name, ways in FILES.items() for way in ways])
@pytest.mark.parametrize("packed", [False, True])
def test_files_are_read_however_they_hold_their_rows(name, way, packed, tmp_path):
  path, data = tmp_path / (name + ".gz" * packed), FILES[name][way].encode()
  path.write_bytes(gzip.compress(data) if packed else data)
  found = list(readers.read(str(path)))
  assert found and all(content(row.example) == ["q", "a"] for row in found)


@pytest.mark.parametrize("name", ["x.xlsx", "x.zip", "x.zst", "x.txt"])
def test_files_of_other_kinds_say_which_are_read(name, tmp_path):
  (tmp_path / name).write_text("x")
  for path in (tmp_path / name, tmp_path):
    with pytest.raises(errors.InputError, match=r"data files .*\.jsonl, .*\.parquet"):
      list(readers.read(str(path)))


@pytest.mark.parametrize("data", [b"\xff\xfe{", b"{", b"3"])
def test_a_file_that_is_no_text_or_no_rows_is_one_line(data, tmp_path):
  (tmp_path / "x.json").write_bytes(data)
  with pytest.raises(errors.InputError, match=r"x\.json: "):
    list(readers.read(str(tmp_path / "x.json")))


@pytest.mark.parametrize("line", ["[" * 100_000, '{"messages":' + "[" * 5000 + "]" * 5000 + "}"])
def test_deep_nesting_is_a_bad_row(line, tmp_path):
  (tmp_path / "x.jsonl").write_text(f"{ROW}\n{line}\n")
  good, bad = readers.read(str(tmp_path / "x.jsonl"))
  assert good.example and bad.problem == "not JSON (nested more than 100 deep)"


def test_a_key_that_stands_twice_is_a_bad_row(tmp_path):
  (tmp_path / "x.jsonl").write_text('{"question": "q", "answer": "a", "answer": "b"}\n')
  (row,) = readers.read(str(tmp_path / "x.jsonl"))
  assert row.problem == "not JSON (an object names the key 'answer' twice)"


def test_keys_that_nothing_reads_are_named():
  raw = {**answered(content="a", mood="glad"), "quality": 3, "note": None, "id": "x", "images": []}
  assert readers.parse(raw, "").unread == ("assistant message: mood", "quality")
  assert readers.parse({"instruction": "x", "output": "y", "text": "z"}, "").unread == ("text",)
  part = asked([{"type": "text", "text": "q", "cache": 1}])
  assert readers.parse(part, "").unread == ("text part: cache",)


@pytest.mark.parametrize("through", ["writing", pytest.param("tasks", marks=pytest.mark.heavy)])  # TensorFlow: seconds
@pytest.mark.parametrize(
  "text,reason", [("", "it has no rows; formats are messages"), ('{"trees": 1}\n', "1 × no known format has its keys")]
)
def test_a_source_without_a_valid_row_says_what_was_seen(through, text, reason, tmp_path, smollm2_tokenizer):
  (tmp_path / "x.jsonl").write_text(text)
  source = mixture.Source(name="s", path=str(tmp_path / "x.jsonl"))
  mix = mixture.Mixture(name="none", sources=(source,))
  with pytest.raises(errors.InputError, match=rf"source s .* leaves no row to train on: {reason}"):
    if through == "tasks":
      importlib.import_module("itune_jax.data.tasks").register(mix)
    else:
      tokenised.write_source(str(tmp_path / "c"), mix, source, chat.Renderer(smollm2_tokenizer), source.rows())


def test_what_was_cut_and_what_nothing_reads_is_said(tmp_path, smollm2_tokenizer):
  rows = [{**answered(content="word " * n), "quality": 1} for n in (1, 200)]
  (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  source = mixture.Source(name="s", path=str(tmp_path / "x.jsonl"))
  renderer = chat.Renderer(smollm2_tokenizer, chat.Rendering(max_length=64))
  mix = mixture.Mixture(name="m", sources=(source,))
  manifest = tokenised.write_source(str(tmp_path / "c"), mix, source, renderer, source.rows())
  cut, unread = manifest["notes"]
  assert (
    cut == "s: 1 of 2 rows (50.0 %) were cut at 64 tokens; to keep them whole raise --gin.chat.Rendering.max_length"
  )
  assert unread == "s: nothing reads `quality` (2 rows)" and manifest["unread_keys"] == {"quality": 2}


@pytest.mark.parametrize(
  "raw,texts",
  [
    ({"prompt": "hi"}, ["hi"]),
    ({"prompt": "hi", "chosen": "a", "rejected": "b"}, ["hi"]),
    ({"instruction": "", "input": "x"}, ["x"]),
    ({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "tools": "[]"}, ["q"]),
    ({"conversations": [{"from": "human", "value": "q"}]}, ["q"]),
  ],
)
def test_prompts_are_rows(raw, texts, tmp_path, capsys):
  (tmp_path / "p.jsonl").write_text("\ufeff" + json.dumps({**raw, "temperatur": 1}) + "\n")
  (found,) = readers.questions(str(tmp_path / "p.jsonl")).values()
  assert content(found) == texts and "`temperatur` (1 rows)" in capsys.readouterr().err


@pytest.mark.parametrize("text", ['{"messages": ["Hi"]}', "[1]", "{", '{"prompt": 5}', '{"foo": 1}', ""])
def test_prompts_that_are_none_say_where(text, tmp_path):
  (tmp_path / "p.jsonl").write_text(f"{text}\n")
  with pytest.raises(errors.InputError, match=r"p\.jsonl(:1)?: "):
    readers.questions(str(tmp_path / "p.jsonl"))


@pytest.mark.parametrize("schema", ["messages", "sharegpt", "older"])
def test_tool_data_of_every_schema_trains_with_chatml(schema, smollm2_tokenizer):
  tools, call = [{"name": "look", "parameters": {}}], CALL["function"]
  turns = {
    "messages": {"messages": [*answered(tool_calls=[CALL])["messages"], {"role": "tool", "content": "5"}]},
    "sharegpt": sharegpt(("human", "q", {}), ("function_call", json.dumps(call), {}), ("observation", "5", {})),
    "older": {
      "messages": [
        *answered(content=None, function_call={**call, "arguments": json.dumps(call["arguments"])})["messages"],
        {"role": "function", "name": "look", "content": "5"},
      ]
    },
  }[schema]
  renderer = chat.Renderer(stand_in.With(smollm2_tokenizer, tokenizer_lib.named("chatml")))
  (row,) = renderer.render(readers.parse({**turns, "tools": json.dumps(tools)}, ""))
  text, trained = renderer.tokenizer.decode(row.ids), renderer.tokenizer.decode(row.ids[row.weights != 0])
  assert trained == '<tool_call>\n{"name": "look", "arguments": {"city": "Oslo"}}\n</tool_call><|im_end|>'
  assert json.dumps(tools[0]) in text and text.count("<|im_start|>") == 4
