"""Faults of files and rows that look right: each is read as it is meant, or named in one line with its cure."""

import gzip
import io
import json
import sys

import pyarrow as pa
import pytest
from pyarrow import parquet

from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.data import fields
from itune_jax.data import mixing_text
from itune_jax.data import mixture as mixture_lib
from itune_jax.data import validation
from itune_jax.data.readers import readers
from itune_jax.data.readers import streams
from itune_jax.run.commands import prepare

LINE = '{"question": "q", "answer": "a"}'
HUGE = f'{{"question": "q", "answer": "a", "n": {"1" * 5000}}}'


def rows(path, **how):
  """(question, answer) of each row, or its problem, or what is said of the whole file."""
  try:
    found = list(readers.read(str(path), **how))
  except errors.InputError as e:
    assert "\n" not in str(e)
    return str(e)
  return [one.problem or (one.example.prompt[0]["content"], one.example.answer) for one in found]


WHOLE = {  # file, its bytes, and what is said of it
  "UTF-16 without a mark": ("x.jsonl", LINE.encode("utf-16-le"), "is UTF-16LE text"),
  "UTF-32 without a mark": ("x.jsonl", LINE.encode("utf-32-be"), "is UTF-32BE text"),
  "a table with the name of text": ("x.jsonl", b"PAR1" + bytes(9), "holds Parquet, and no text"),
  "compressed twice": ("x.jsonl.gz", gzip.compress(gzip.compress(LINE.encode())), "is compressed twice"),
  "JSON called CSV": ("x.csv", LINE.encode(), "holds JSON, and no table"),
  "a huge number in an object": ("x.json", HUGE.encode(), "a whole number of more than 4300 digits"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_a_file_really_is_is_said(name, tmp_path):
  file, data, said = WHOLE[name]
  (tmp_path / file).write_bytes(data)
  assert said in rows(tmp_path / file)


READ = {  # file, its bytes, and the rows
  "an ending in capitals": ("X.JSONL.GZ", gzip.compress(LINE.encode()), [("q", "a")]),
  "ends of lines of old Macs": ("x.csv", b'question,answer\rq,a\rq,"a\r"\r1,2', [("q", "a"), ("q", "a\r"), ("1", "2")]),
  "a first line that was broken off": ("x.jsonl", f"{{\n{LINE}\n".encode(), ["not JSON", ("q", "a")]),
  "a first line that is a list": ("x.jsonl", f"[1]\n{LINE}\n".encode(), ["a row is an object", ("q", "a")]),
  "columns without names": ("x.csv", b",question,answer,,\n0,q,a,,\n", [("q", "a")]),
  "an empty line in front of a table": ("x.csv", b"\nquestion,answer\nq,a\n", [("q", "a")]),
  "a huge number in a list": ("x.json", f"[{HUGE}, {LINE}]".encode(), ["4300 digits", ("q", "a")]),
  "a huge number in a line": ("x.jsonl", f"{HUGE}\n{LINE}".encode(), ["4300 digits", ("q", "a")]),
  "a long id that stands twice": (
    "x.jsonl",
    (json.dumps({**json.loads(LINE), "id": "x" * 5000}) + "\n").encode() * 2,
    [("q", "a"), "it has the id 'xxx"],
  ),
}


@pytest.mark.parametrize("name", READ)
def test_rows_are_read_or_named(name, tmp_path):
  file, data, expected = READ[name]
  (tmp_path / file).write_bytes(data)
  for got, want in zip(rows(tmp_path / file), expected, strict=True):
    assert got == want or (isinstance(want, str) and want in got and len(got) < 300)


def test_folders_and_patterns_leave_nothing_out_and_mix_no_splits(tmp_path):
  for name in ("x.jsonl", "a/x.jsonl", "a/b/c/x.jsonl"):
    (tmp_path / "deep" / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "deep" / name).write_text(LINE)
  assert rows(tmp_path / "deep" / "**" / "*.jsonl") == [("q", "a")] * 3
  for names in (
    ("train.jsonl", "test.jsonl"),
    ("train-00000-of-00001-0a1b2c.jsonl", "test-00000-of-00001-0a1b2c.jsonl"),
    ("data/train.jsonl", "data/validation.jsonl"),
  ):
    folder = tmp_path / names[0].replace("/", "_")
    for name in names:
      (folder / name).parent.mkdir(parents=True, exist_ok=True)
      (folder / name).write_text(LINE)
    assert "train: name one of them" in rows(folder) or "train, validation: name one of them" in rows(folder)


def test_what_is_null_within_an_object_of_a_table_was_no_key_of_it(tmp_path):
  call = lambda name, **arguments: {"function": {"name": name, "arguments": arguments}}
  turns = lambda one: [{"role": "user", "content": "q"}, {"role": "assistant", "content": None, "tool_calls": [one]}]
  table = [
    {"messages": turns(call("f", city="Oslo")), "source": {"kind": None}, "scores": {"a": 1.0}, "id": "0"},
    {"messages": turns(call("g", n=5)), "source": {"kind": "distilled"}, "scores": {"a": None}, "id": "1"},
  ]
  out = io.BytesIO()
  parquet.write_table(pa.Table.from_pylist(table), out)
  (tmp_path / "x.parquet").write_bytes(out.getvalue())
  found = [row.example for row in readers.read(str(tmp_path / "x.parquet"))]
  arguments = [one.messages[1]["tool_calls"][0]["function"]["arguments"] for one in found if one]
  assert arguments == [{"city": "Oslo"}, {"n": 5}]
  assert [(one.source["kind"], one.scores) for one in found if one] == [("annotated", {"a": 1.0}), ("distilled", {})]


def message(name, text, replies=(), role="assistant", **more):
  return {"message_id": name, "role": role, "text": text, "replies": list(replies), **more}


def tree(*replies):
  return {"message_tree_id": "t", "prompt": message("p", "hi", replies, "prompter")}


def test_trees_lose_no_answer(tmp_path):
  twice = tree(message("a", "one"), message("a", "two"))
  assert [one.answer for one in readers.parse_all(twice, "", "oasst_all")] == ["one", "two"]
  for replies, said in (
    ([message("a", None, rank=0), message("b", "x", rank=1)], "`text` of a message is null"),
    ([message("a", "x", deleted="false")], "`deleted` of a message is 'false'; it must be true or false"),
  ):
    with pytest.raises(fields.BadRow, match=said):
      list(readers.parse_all(tree(*replies), "", "oasst_pairs"))


RATED = [{"response": text, "annotations": {"a": {"Rating": one}}} for text, one in (("x", "4.5"), ("y", "1"))]
ASKS = {"prompt": "q"}
COMPARED = {  # format, row, and the values or margin, or what is said
  "ratings as decimals": ("preference", {**ASKS, "completions": RATED}, 3.5),
  "an object of lists": ("preference", {**ASKS, "completions": {"response": ["x", "y"], "score": [3, 1]}}, 2.0),
  "ranked by aspects, not by the overall score": (
    "ranked",
    {**ASKS, "completions": [{**RATED[0], "overall_score": 1.0}, {**RATED[1], "overall_score": 85.0}]},
    ({"score": 4.5}, {"score": 1.0}),
  ),
  "a rating that is none": (
    "preference",
    {**ASKS, "completions": [RATED[1], {"response": "x", "annotations": {"a": {"Rating": "good"}}}]},
    "a rating of `completions` 1 is 'good'",
  ),
  "a best answer that is the rejected one": (
    "preference",
    {**ASKS, "chosen": "x", "rejected": "y", "reference": "y"},
    "equals `rejected`",
  ),
  "a side that counts twice": (
    "preference",
    {**ASKS, "chosen": [{"role": "assistant", "content": "x", "weight": 2}], "rejected": "y"},
    "an answer of `chosen` has weight 2",
  ),
}


@pytest.mark.parametrize("name", COMPARED)
def test_answers_that_are_compared(name):
  format, row, expected = COMPARED[name]
  if isinstance(expected, str):
    with pytest.raises(fields.BadRow, match=expected):
      readers.parse(row, "", format)
    return
  found = readers.parse(row, "", format)
  assert (found.values or found.margin) == expected


def test_reasons_are_one_printable_line_whatever_stands_in_a_row(tmp_path):
  (tmp_path / "x.jsonl").write_text(
    json.dumps({"question": "q", "answer": "a", "scores": {"a\nb\x1b[31m": "x"}}) + "\n" + LINE
  )
  said, _ = rows(tmp_path / "x.jsonl")
  assert said.isprintable() and "a\\nb\\x1b[31m" in said
  assert jsontext.line("é\n\x1b") == "é\\n\\x1b"


def test_an_image_row_keeps_the_id_0(tmp_path):
  row = {"question": "q <image>", "answer": "a", "id": 0, "images": ["a.png"]}
  assert readers.parse(row, str(tmp_path)).id == "0"


@pytest.mark.parametrize("text", ["a@nan,b", "a@", "a@30%", "a@inf", "a@1_0", "a@-1"])
def test_a_share_that_is_none_is_said_and_no_part_of_a_name(text):
  with pytest.raises(errors.InputError, match="must be a positive number"):
    mixing_text.read(text)
  with pytest.raises(errors.InputError, match="two shares"):
    mixing_text.read("a@0.3@0.4")
  assert [(one.what, one.share) for one in mixing_text.read("a @0.3, s3://me@here/b")] == [
    ("a", 0.3),
    ("s3://me@here/b", 0.7),
  ]


def test_closed_standard_input_is_one_line(monkeypatch):
  streams.standard_input.cache_clear()
  monkeypatch.setattr(sys, "stdin", None)
  assert "standard input is closed" in rows("-")


def test_a_dry_run_says_what_the_preparation_would(tmp_path, capsys):
  (tmp_path / "a.jsonl").write_text(f'{LINE}\n{{"x": 1}}\n')
  (tmp_path / "empty.jsonl").write_text("")
  source = lambda name: mixture_lib.Source(name=name, path=str(tmp_path / f"{name}.jsonl"))
  mixture = lambda *names: mixture_lib.Mixture(name="m", sources=tuple(map(source, names)))
  (told,) = prepare._counted(mixture("a"))["sources"]
  assert (told["rows"], told["kept"], told["dropped"]) == (2, 1, 1) and "no known format" in str(told)
  with pytest.raises(errors.InputError, match="leaves no row to train on"):
    prepare._counted(mixture("a", "empty"))
  with pytest.raises(errors.InputError, match="no such file"):
    prepare._look_at_validation(mixture("a"), validation.Validation(data=str(tmp_path / "gone.jsonl")))
  prepare._look_at_validation(mixture("a"), validation.Validation(data=str(tmp_path / "*.jsonl")))
  assert "is trained on as well" in capsys.readouterr().err
