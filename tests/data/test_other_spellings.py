"""One row, however its file spells it: all containers give one example, and every text of it is looked at."""

import csv
import io
import itertools
import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from itune_jax.data.readers import formats
from itune_jax.data.readers import readers
from itune_jax.select import row_texts
from itune_jax.select import select_protocol
from itune_jax.select import decontaminate
from itune_jax.select.duplicates import exact_copies
from tests.select import made

TURNS = [{"role": "user", "content": 'say "hi",\nplease'}, {"role": "assistant", "content": "hi\r\nthere"}]
TOLD = [{"from": "human", "value": TURNS[0]["content"]}, {"from": "gpt", "value": TURNS[1]["content"]}]
SCORES = [
  {good: 3, bad: 1}
  for good, bad in (
    name.split()
    for name in (
      "score_chosen score_rejected",
      "chosen_score rejected_score",
      "chosen_rating rejected_rating",
      "chosen-rating rejected-rating",
    )
  )
]
ROWS = {  # format, and rows of it whose columns are of many types
  "auto": [
    {"messages": TURNS},
    {"conversations": TOLD},
    {"instruction": "q", "input": "", "output": "a", "history": [["x", "y"]]},
    {"query": "q", "answers": [{"name": "f", "arguments": {"x": 1}}], "tools": [{"name": "f"}]},
  ],
  "unpaired": [
    {"prompt": "p", "completion": "a", "label": True},
    {"messages": TURNS, "kto_tag": False},
    {"prompt": "p", "completion": "a", "label": 0},
  ],
  "scored": [{"prompt": "p", "completion": "a", "score": 0.5}],
  "ranked": [{"prompt": "p", "responses": ["a", "b"], "scores": [1, 2.5]}],
  "stepwise": [{"prompt": "p", "completions": ["a", "b"], "labels": [True, False]}],
  "preference": [
    {"prompt": "p", "chosen": "a", "rejected": "b", "margin": 2},
    {"prompt": TURNS[:1], "chosen": TURNS[1:], "rejected": [{"role": "assistant", "content": "no"}]},
    {"prompt": "p", "responses": ["a", "b"], "rewards_armorm": [1, 2]},
    *({"input": "q", "chosen": "a", "rejected": "b", **scores} for scores in SCORES),
  ],
}
CASES = [(format, row) for format, rows in ROWS.items() for row in rows]


def table(row, delimiter, end):
  """The row as a table of text, whose cells are JSON where they are no text."""
  out = io.StringIO(newline="")
  writer = csv.writer(out, delimiter=delimiter, lineterminator=end)
  writer.writerows([list(row), [one if isinstance(one, str) else json.dumps(one) for one in row.values()]])
  return out.getvalue().encode()


def containers(row):
  """(name of a file, its bytes), with every mark and end of line that is read."""
  text, held = json.dumps(row), io.BytesIO()
  yield "a.jsonl", text.encode()
  yield "a.json", f"[{text}]".encode()
  for (name, delimiter), end in itertools.product((("csv", ","), ("tsv", "\t")), ("\n", "\r\n", "\r")):
    yield f"{ascii(end)[1:-1].replace(chr(92), '_')}.{name}", b"\xef\xbb\xbf" + table(row, delimiter, end)
  as_text = {key: json.dumps(one) if key in ("messages", "conversations") else one for key, one in row.items()}
  parquet.write_table(pa.Table.from_pylist([row]), held)
  yield "a.parquet", held.getvalue()
  yield "text.jsonl", json.dumps(as_text).encode()


@pytest.mark.parametrize(("format", "row"), CASES)
def test_a_row_is_the_same_example_in_every_container(format, row, tmp_path):
  found = {}
  for name, data in containers(row):
    (tmp_path / name).write_bytes(data)
    (read,) = readers.read(str(tmp_path / name), format, source={"dataset": "d"})
    assert read.example is not None, f"{name}: {read.problem}"
    found[name] = read.example
  assert len({json.dumps(one.to_json(), sort_keys=True) for one in found.values()}) == 1, found


NAMES = {
  "user": "USER human Human prompter",
  "assistant": "gpt GPT bot Assistant model",
  "tool": "function observation",
}


def test_roles_go_by_any_name_in_use():
  for role, name in ((role, name) for role, names in NAMES.items() for name in names.split()):
    for row in ({"messages": [{"role": name, "content": "x"}]}, {"conversations": [{"from": name, "value": "x"}]}):
      assert readers.parse(row, "").messages[0]["role"] == role, (name, row)


def test_tools_of_the_older_form_are_tools():
  """As the calls and answers that go with them are; a column of that name may be anything else."""
  turns = [{"role": "user", "content": "q"}, {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}]
  tool = {"name": "f", "parameters": {}}
  read = readers.parse({"messages": turns, "functions": [tool]}, "")
  assert read.tools == ({"type": "function", "function": tool},) and not read.unread
  for other in (["def f(): ..."], [], "f", [{"code": "x"}]):
    read = readers.parse({"messages": turns, "functions": other}, "")
    assert not read.tools and list(read.unread) == (["functions"] if other else [])


def test_rows_that_call_otherwise_are_no_duplicates(tmp_path):
  call = lambda name, **more: {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"function": {"name": name}, **more}],
  }
  rows = [{"messages": [TURNS[0], one]} for one in (call("f", id="1"), call("g", id="2"), call("f", id="3"))]
  kept, _ = made.run(tmp_path, rows, exact_copies.Exact(by="normal"))
  assert kept == rows[:2]


def test_parts_of_text_alone_are_one_text():
  """Most templates know no parts, and those that do put nothing between them."""
  parts = [{"type": "text", "text": "a"}, {"type": "text", "text": " b"}]
  image = {"type": "image", "image": "x.png"}
  (asked,) = readers.parse({"messages": [{"role": "user", "content": parts}]}, "").messages
  assert asked["content"] == "a b"
  (asked,) = readers.parse({"messages": [{"role": "user", "content": [*parts, image]}]}, "").messages
  assert [part["type"] for part in asked["content"]] == ["text", "text", "image"]


def test_whole_numbers_of_tables_are_ids_and_stand_there_once(tmp_path):
  rows = [{"question": "q", "answer": "a", "id": one} for one in (1.0, None, 2, 1.0, 1.5)]
  (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
  first, second, third, fourth, fifth = readers.read(str(tmp_path / "x.jsonl"))
  assert [first.example.id, third.example.id] == ["1", "2"] and second.example is not None
  assert "of an earlier row" in fourth.problem and "`id` is a number (1.5)" in fifth.problem


def rows_of_every_schema():
  """For each set of keys of each schema a row whose texts bear a word of their own, and these words."""
  for schema in formats.SCHEMAS.values():
    for keys in schema.keys:
      if schema.name not in ("messages", "sharegpt", "oasst", "calls", "seed_tasks"):
        yield {key: f"{key}word" for key in keys}, [f"{key}word" for key in keys]
  yield {"messages": json.dumps([{"role": "user", "content": "aword"}])}, ["aword"]
  yield {"messages": {"role": ["user", "assistant"], "content": ["aword", "bword"]}}, ["aword", "bword"]
  yield {"conversation": [{"human": "aword", "assistant": "bword", "system": "cword"}]}, ["aword", "bword", "cword"]
  yield {"instruction": "aword", "instances": [{"input": "bword", "output": "cword"}]}, ["aword", "bword", "cword"]
  tree = {"text": "aword", "role": "prompter", "replies": [{"text": "bword", "role": "assistant", "replies": []}]}
  yield {"message_tree_id": "t", "prompt": tree}, ["aword", "bword"]
  yield {"prompt": "aword", "completions": [{"response": "bword"}], "reference": "cword"}, ["aword", "bword", "cword"]
  yield {"Definition": ["aword"], "input": "bword", "output": ["cword", "dword"]}, ["aword", "bword", "cword", "dword"]


@pytest.mark.parametrize(("row", "words"), list(rows_of_every_schema()))
def test_steps_look_at_every_text_of_every_schema(row, words):
  assert " ".join(row_texts.each(row)).split() == words
  shouted = row_texts.mapped(row, str.upper)
  assert " ".join(row_texts.each(shouted)).split() == [word.upper() for word in words]


def test_rows_without_what_a_step_names_are_counted(tmp_path):
  world = made.World(b=[select_protocol.Held("1", "aword", "")])
  step = decontaminate.Decontaminate(against=("b",), size=1, whole=1, gold_size=1, fields=("title",))
  kept, manifest = made.run(tmp_path, [{"title": "aword"}, {"question": "aword", "answer": "b"}], step, world=world)
  assert [row.get("question") for row in kept] == ["aword"]
  assert manifest["passes"][1]["marked"] == {"no text that is looked at": 1}
