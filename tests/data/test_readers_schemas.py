"""Schemas: each way to write a conversation is that conversation, the order is the documented one, splits hold."""

import json
import pathlib
import re

import pytest
from hypothesis import strategies as st

from itune_jax.core import errors
from itune_jax.data import fields
from itune_jax.data import mixture
from itune_jax.data import splits
from itune_jax.data import tokenised
from itune_jax.data.readers import formats
from itune_jax.data.readers import named_columns
from itune_jax.data.readers import readers
from itune_jax.data.render import chat
from itune_jax.data.render import tokenizer as tokenizer_lib
from tests import fuzz
from tests.data.render import stand_in
from tests.data.test_doors_fuzz import characters

PAGE = pathlib.Path(__file__).parents[2] / "docs/guides/bring_your_data.md"
QA = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
SYSTEM = {"role": "system", "content": "s"}
CALL = {"type": "function", "function": {"name": "look", "arguments": {"city": "Oslo"}}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {}}}
CALLED = [QA[0], {"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "tool", "content": '{"t": 5}'}]
HERMES = "You may call functions within <tools> </tools>: <tools>[{}]</tools> Answer <tool_call>{{…}}</tool_call>."
WRITTEN = '<tool_call>\n{"name": "look", "arguments": {"city": "Oslo"}}\n</tool_call>'


def turns(*pairs):
  return [{"from": who, "value": text} for who, text in pairs]


def hermes(call=WRITTEN, tools=json.dumps(TOOL), **more):
  said = [("system", HERMES.format(tools)), ("human", "q"), ("gpt", call)]
  answer = ("tool", '<tool_response>\n{"t": 5}\n</tool_response>')
  return {"conversations": turns(*said, answer), **more}


IS = {
  "ShareGPT's other names": ({"conversations": turns(("Human", "q"), ("agent", "a"))}, QA),
  "rounds": ({"conversation": [{"system": "s", "input": "q", "output": "a"}]}, [SYSTEM, *QA]),
  "rounds of a human": ({"conversation": [{"human": "q", "assistant": "a"}]}, QA),
  "an object of lists": ({"conversations": {"from": ["human", "gpt"], "value": ["q", "a"]}}, QA),
  "messages of from and value": ({"messages": turns(("human", "q"), ("gpt", "a"))}, QA),
  "messages beside a system prompt": ({"messages": QA, "system": "s"}, [SYSTEM, *QA]),
  "Dolly's context": ({"instruction": "q", "context": "c", "response": "a"}, [{**QA[0], "content": "q\n\nc"}, QA[1]]),
  "a question about a text": (
    {"question": "q", "context": "c", "answer": "a"},
    [{**QA[0], "content": "q\n\nc"}, QA[1]],
  ),
  "OpenOrca": ({"system_prompt": "s", "question": "q", "response": "a"}, [SYSTEM, *QA]),
  "a problem": ({"problem": "q", "solution": "a"}, QA),
  "FLAN": ({"inputs": "q", "targets": "a", "task_name": "t"}, QA),
  "P3": ({"inputs": [1], "targets": [2], "inputs_pretokenized": "q", "targets_pretokenized": "a"}, QA),
  "input and output": ({"input": "q", "output": "a"}, QA),
  "a seed task": ({"instruction": "q", "instances": [{"input": "", "output": "a"}]}, QA),
  "nulls of a union of tables": ({"messages": None, "question": "q", "answer": "a"}, QA),
  "reasoning": ({"question": "q", "answer": "a", "reasoning": "r"}, [QA[0], {**QA[1], "reasoning_content": "r"}]),
  "xLAM": ({"query": "q", "answers": json.dumps([CALL["function"]]), "tools": json.dumps([TOOL])}, CALLED[:2]),
  "Hermes": (hermes(), CALLED),
  "Hermes in Python": (hermes(f"<tool_call>{CALL['function']!r}</tool_call>", tools=repr(TOOL)), CALLED),
  "Hermes with a column": ({**hermes(), "tools": json.dumps([TOOL])}, CALLED),
  "calls in the text of messages": (
    {"messages": [QA[0], {"role": "assistant", "content": WRITTEN}], "tools": [TOOL]},
    CALLED[:2],
  ),
}


@pytest.mark.parametrize("name", IS)
def test_it_is_this_conversation(name):
  raw, messages = IS[name]
  found = readers.parse(raw, "")
  assert list(found.messages) == messages
  assert not found.tools or found.tools[0]["function"]["name"] == "look"
  assert not found.unread or found.unread == ("system message: how tools are called",)


IS_NOT = {
  "half a call": (hermes("<tool_call>{"), "has half a <tool_call>"),
  "a call that is no JSON": (hermes("<tool_call>look()</tool_call>"), "no JSON"),
  "text behind a call": (hermes(f"{WRITTEN} done"), "text behind a <tool_call>"),
  "a judged answer": ({"prompt": "q", "completion": "a", "label": False}, "`label` judges the answer"),
  "judged by a text": ({"instruction": "q", "output": "a", "label": "False"}, "`label` judges the answer"),
  "judged by a number": ({"prompt": "q", "completion": "a", "label": 0}, "`label` judges the answer"),
  "judged by a tag": ({"instruction": "q", "output": "a", "kto_tag": 0}, "`label` judges the answer"),
  "no instances": ({"instruction": "q", "instances": []}, "`instances` is empty"),
  "no prompt": ({"prompt": " ", "completion": "a"}, "`prompt` is empty: there is no question"),
  "no question": ({"question": "", "answer": "a"}, "`question` is empty: there is no question"),
  "two inputs": ({"instruction": "q", "input": "a", "context": "b", "output": "c"}, "different inputs under"),
  "no calls": ({"query": "q", "answers": "[]", "tools": "[]"}, "holds no call"),
}


@pytest.mark.parametrize("name", IS_NOT)
def test_it_is_none_and_says_why(name):
  raw, reason = IS_NOT[name]
  with pytest.raises(fields.BadRow, match=reason):
    readers.parse(raw, "")


def test_the_order_is_the_documented_one():
  """A row that fits several schemas is read as the first of the page's table."""
  order = re.findall(r"^\| `(\w+)` \|", PAGE.read_text().partition("## Schemas")[2].partition("\n## ")[0], re.MULTILINE)
  order = order[: len(formats.SCHEMAS)]  # behind them stand those that are told by name
  assert order == list(formats.SCHEMAS)
  keys = {name: schema.keys[0] for name, schema in formats.SCHEMAS.items()}
  for i, first in enumerate(order):
    for second in order[i + 1 :]:
      assert formats.known(dict.fromkeys((*keys[second], *keys[first]), "x")) == first


def reply(id, text, role="assistant", rank=None, *replies, **more):
  return {"message_id": id, "text": text, "role": role, "rank": rank, "replies": list(replies), **more}


LAST = reply("6", "a6")
TREE = {
  "message_tree_id": "t",
  "prompt": reply(
    "1",
    "q",
    "prompter",
    None,
    reply("2", "worse", "assistant", 1),
    reply("3", "a", "assistant", 0, reply("4", "q2", "prompter", 1), reply("5", "q3", "prompter", 0, LAST)),
    reply("7", "gone", "assistant", 2, deleted=True),
  ),
}


def messages_of(node, parent=None):
  yield {**{k: v for k, v in node.items() if k != "replies"}, "parent_id": parent, "message_tree_id": "t"}
  for one in node["replies"]:
    yield from messages_of(one, node["message_id"])


def test_trees_are_paths_and_pairs(tmp_path):
  flat = list(messages_of(TREE["prompt"]))
  (tmp_path / "tree.jsonl").write_text(json.dumps(TREE) + "\n")
  (tmp_path / "flat.jsonl").write_text("".join(json.dumps(one) + "\n" for one in flat))
  texts = lambda example: [m["content"] for m in example.messages]
  for file in ("tree.jsonl", "flat.jsonl"):
    read = lambda format: [row.example for row in readers.read(str(tmp_path / file), format)]  # noqa: B023
    assert [texts(one) for one in read("auto")] == [["q", "a", "q3", "a6"]]
    assert [texts(one) for one in read("oasst_all")] == [["q", "a", "q3", "a6"], ["q", "a"], ["q", "worse"]]
    (pair,) = read("oasst_pairs")
    assert texts(pair) == ["q", "a"] and pair.rejected[-1]["content"] == "worse"
  (tmp_path / "flat.jsonl").write_text("".join(json.dumps(one) + "\n" for one in flat[1:]))
  (row,) = readers.read(str(tmp_path / "flat.jsonl"))
  assert "the parent of its message '2' is not among its rows" in row.problem


def test_pairs_of_published_sets_and_what_is_preferred():
  rated = lambda *numbers: {"annotations": {str(i): {"Rating": str(n)} for i, n in enumerate(numbers)}}
  whole = {
    "instruction": "q",
    "completions": [
      {"response": "worst", **rated(1, 2), "overall_score": 10.0},
      {"response": "a", **rated(4, 5), "overall_score": 8.0},
      {"response": "middle", **rated(3, 3), "overall_score": 6.0},
    ],
  }
  pair = readers.parse(whole, "", "preference")
  assert (pair.answer, pair.rejected[-1]["content"], pair.margin) == ("a", "worst", 3.0)
  several = {"instruction": "q", "responses": ["worst", "a"], "rewards_armorm": [{"score": 0.5}, {"score": 1.5}]}
  assert readers.parse(several, "", "preference").margin == 1.0 and readers.parse(several, "", "chosen").answer == "a"
  with pytest.raises(fields.BadRow, match="a tie: all of its answers"):
    readers.parse({**several, "rewards_armorm": [1, 1]}, "", "preference")
  named = {"prompt": "q", "chosen": "a", "rejected": "b", "chosen-rating": 5, "rejected-rating": 2}
  assert readers.parse(named, "", "preference").margin == 3.0
  transcript = {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"}
  best = readers.parse(transcript, "", "chosen")
  assert list(best.messages) == QA and not best.rejected


def test_columns_of_other_names():
  how = readers.How(columns={"prompt": "q", "completion": "meta.a"})
  (found,) = (
    one for one, *_ in readers._examples({"q": "q", "meta": {"a": "a", "b": 1}, "prompt": 5}, "", how, readers._Named())
  )
  assert list(found.messages) == QA and found.unread == ("prompt", "meta.b")
  for raw, reason in (
    ({"q": "q"}, "no column `meta.a`, which columns names as `completion`"),
    ({"q": 5, "meta": {"a": "a"}}, "`prompt` is a number"),
  ):
    ((bad, *_),) = readers._examples(raw, "", how, readers._Named())
    assert reason in str(bad)
  with pytest.raises(errors.InputError, match="columns names 'promt', which is no field"):
    named_columns.require("s", {"promt": "q"})


def test_images_as_bytes_and_outside_of_the_folder(tmp_path):
  row = {"instruction": "<image>q", "output": "a", "images": [{"bytes": b"\x89PNG", "path": None}]}
  (part, _) = readers.parse(row, str(tmp_path)).messages[0]["content"]
  assert part["image"] == "data:image/png;base64,iVBORw=="
  with pytest.raises(fields.BadRow, match="lies outside of the data file's folder"):
    readers.parse({**row, "images": ["sub/../../x.png"]}, str(tmp_path))


@fuzz.given(
  fuzz.mutated([raw for raw, _ in IS.values()] + [TREE]),
  st.sampled_from(["auto", "auto", "oasst_all", "oasst_pairs", "preference", "chosen", "text"]),
)
def test_a_row_of_any_schema_is_read_or_refused(case, format):
  fuzz.outcome(lambda: list(readers.parse_all(case[3], "/nowhere", format)))


rows_of = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=40)


def _row(said, cluster, side):
  example = readers.parse({"question": f"q{said}", "answer": "a", "id": f"{cluster}/{said}"}, "")
  return readers.Row("f", 1, example, group=str(cluster if side is None else side))


@fuzz.given(
  rows_of,
  rows_of,
  st.sampled_from(
    [splits.Split(0.3), splits.Split(0.3, "id"), splits.Split(0.3, "column:c"), splits.Split(where="s=1,2")]
  ),
)
def test_a_split_survives_added_rows_and_has_no_row_on_both_sides(rows, added, split):
  make = lambda given: [_row(said, c, side if split.where else None) for said, c, side in given]
  before, after = make(rows), make(rows + added)
  of = lambda given, name: list(splits.taken(lambda: given, split, name))
  said = lambda found: {splits.content(row.example) for row in found if row.example is not None}
  assert not said(of(after, "rest")) & said(of(after, "held_out"))
  assert len(of(after, "rest")) + len(of(after, "held_out")) == len(after), "every row is on a side, or named"
  assert (
    of(before, "held_out") == [row for row in of(after, "held_out") if row in before][: len(of(before, "held_out"))]
  )
  for row in before:  # the side of a row itself hangs on nothing else
    assert (row in of(after, "held_out")) == (row in of(before, "held_out"))


def test_the_manifest_says_what_each_source_was_read_as(tmp_path):
  renderer = chat.Renderer(stand_in.With(characters(), tokenizer_lib.named("chatml")), chat.Rendering(max_length=64))
  rows = [{"q": f"q{i}", "a": f"a{i}", "c": i % 2} for i in range(8)]
  (tmp_path / "x.jsonl").write_text(
    "".join(json.dumps(row) + "\n" for row in rows) + json.dumps({"messages": QA}) + "\n"
  )
  named = {"question": "q", "answer": "a"}
  source = mixture.Source(name="s", path=str(tmp_path / "x.jsonl"), columns=named, held_out_by="column:c")
  mix = mixture.Mixture(name="m", sources=(source,))
  manifest = tokenised.write_source(str(tmp_path), mix, source, renderer, source.rows())
  (schema,) = manifest["schemas"]
  assert (schema["schema"], schema["rows"], schema["line"]) == ("question_answer", 8, 1)
  assert schema["example"] == "<|im_start|>user\nq0<|im_end|>\n<|im_start|>assistant\na0<|im_end|>\n"
  assert manifest["dropped_by_reason"] == {"its column `c`, by which rows are split, is None": 1}
  (tmp_path / "t.jsonl").write_text(json.dumps({"text": "xyz" * 50}))
  source = mixture.Source(name="t", path=str(tmp_path / "t.jsonl"), format="text")
  manifest = tokenised.write_source(str(tmp_path), mix, source, renderer, source.rows())
  assert manifest["stored"] == 3 and manifest["tokens"] >= 148 and manifest["schemas"][0]["schema"] == "text"
  rendered = renderer.render(next(iter(source.rows())).example)
  assert renderer.tokenizer.decode([i for row in rendered for i in row.ids][:150]) == "xyz" * 50
  assert all(row.weights.all() for row in rendered)


@pytest.mark.parametrize(
  "how,reason",
  [
    ({"held_out_by": "cluster"}, "held_out_by = 'cluster'; it is"),
    ({"held_out_where": "split"}, "write it as 'NAME=value'"),
    ({"held_out_where": "split="}, "write it as 'NAME=value'"),
    ({"held_out_where": "split=a,,b"}, "write it as 'NAME=value'"),
    ({"held_out_where": "split=x", "held_out": 0.1}, "set one of them"),
    ({"held_out": 0.1}, "take = 'all' takes them too: set take = 'rest'"),
    ({"held_out_where": "split=x"}, "take = 'all' takes them too: set take = 'rest'"),
    ({"columns": {"x": "y"}}, "no field of a schema"),
  ],
)
def test_what_is_no_split_is_one_line(how, reason):
  with pytest.raises(errors.InputError, match=reason):
    mixture.Source(name="s", path="x", **how)


def test_values_that_are_held_out_are_those_of_the_column(tmp_path):
  """Whatever the spaces between them; where no row has one, all would be trained on, so that is refused."""
  sides = ["train", "test", "dev", "train "]
  rows = [{"question": f"q{i}", "answer": "a", "split": side} for i, side in enumerate(sides)]
  (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  asked = lambda **how: [
    row.example.prompt[0]["content"] for row in mixture.Source(name="s", path=str(tmp_path / "x.jsonl"), **how).rows()
  ]
  for where in ("split=test,dev", "split=test, dev", " split = dev , test"):
    assert asked(held_out_where=where, take="rest") == ["q0", "q3"], where
    assert asked(held_out_where=where, take="held_out") == ["q1", "q2"], where
  for take in ("rest", "held_out"):
    with pytest.raises(errors.InputError, match="no row has such a value; the column has dev, test, train"):
      asked(held_out_where="split=tset", take=take)
  assert asked(held_out_where="split=tset", take="rest", limit=2) == ["q0", "q1"], "of some rows nothing is known"
