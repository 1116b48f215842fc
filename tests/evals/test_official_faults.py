"""Official files in which anything may stand: items, or one line that names the place."""

import gzip
import json
import os
import pathlib
import tempfile

from hypothesis import strategies as st
import pytest

from itune_jax.core import conversation
from itune_jax.core import errors
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.evals.benchmarks import registry
from itune_jax.grading.statistics import metrics as metrics_lib
from tests import fuzz

TURNS = [{"from": "human", "value": "What is said of the firm? Answer:"}, {"from": "agent", "value": "positive"}]
SPAN = {
  "uid": "q",
  "question": "Which?",
  "answer": ["costs"],
  "answer_type": "span",
  "scale": "",
  "answer_from": "text",
}
VOTES = [{"worker_id": i, "response": "yes"} for i in range(3)]
CALL = {"name": "f", "description": "d", "parameters": {"type": "dict", "properties": {}, "required": []}}
ROWS = {  # a row of each, under the name of a file that the benchmark reads
  "gsm8k/test.jsonl": {"question": "1 + 1?", "answer": "It is 2.\n#### 2"},
  "mbpp/mbpp.jsonl": {"task_id": 11, "text": "Add.", "code": "x", "test_setup_code": "", "test_list": ["assert f(1)"]},
  "fpb/fpb_valid.jsonl": {"id": "1", "conversations": TURNS},
  "tatqa/tatqa_dataset_dev.json": {
    "table": {"uid": "t", "table": [["", "2019"], ["costs", "1"]]},
    "paragraphs": [{"uid": "p", "order": 1, "text": "Costs fell."}],
    "questions": [SPAN],
  },
  "qags/mturk_xsum.jsonl": {"article": "A.", "summary_sentences": [{"sentence": "S.", "responses": VOTES}]},
  "super_ni/task1_x.json": {
    "Definition": ["Do."],
    "Categories": ["Sums"],
    "Positive Examples": [{"input": "a", "output": "b"}, {"input": "c", "output": "d"}],
    "Instances": [{"input": "1", "output": ["2"]}],
    "Instruction_language": ["English"],
    "Input_language": ["English"],
    "Output_language": ["English"],
  },
  "xquad/xquad.en.json": {
    "data": [{"paragraphs": [{"context": "C.", "qas": [{"id": "1", "question": "Q?", "answers": [{"text": "C"}]}]}]}]
  },
  "teleqna/TeleQnA.txt": {"question 0": {"question": "Q?", "option 1": "a", "option 2": "b", "answer": "option 1: a"}},
}


def write(folder: str, name: str, row) -> None:
  path = pathlib.Path(folder) / name
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps([row] if "tatqa" in name else row) + "\n")


def asked(folder: str, name: str):
  """What is asked and what is right, of the items of the benchmark that a file is of."""
  found = registry.find(name.split("/")[0]).benchmark((folder,), official.Settings())
  return [(item.id, _text(item.question), item.answer) for item in found.items()]


def _text(question: conversation.Conversation | str) -> str:
  return question if isinstance(question, str) else "".join(str(one["content"]) for one in question.messages)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_the_rows_are_of_the_official_form(name, tmp_path):
  write(str(tmp_path), name, ROWS[name])
  assert asked(str(tmp_path), name)


@fuzz.given(st.sampled_from(sorted(ROWS)), st.data())
def test_a_damaged_official_file_is_items_or_one_line(name, data):
  """The items can be written, and ask for something."""
  _, path, new, row = data.draw(fuzz.mutated([ROWS[name]]))
  with tempfile.TemporaryDirectory() as folder:
    write(folder, name, row)
    for id, question, answer in fuzz.outcome(lambda: asked(folder, name)) or ():
      json.dumps([id, question, answer], ensure_ascii=False).encode()
      assert "None" not in question and "nan" not in question or isinstance(new, str), (path, new)


def test_what_no_benchmark_checks_is_one_line_with_its_cause(tmp_path):
  """A fault of the code that reads a row names the folder and the item before it, and keeps the cause for --debug."""

  def make(folder, settings):
    rows = lambda: (protocol.Item(id=row["id"].upper(), question="?") for _, row in folder.lines("r.jsonl"))
    how, right = official.generate(settings), {"right": metrics_lib.Mean()}
    return protocol.Benchmark(name="x", items=rows, ask=how, grade=protocol.each(lambda i, a: {}), metrics=right)

  (tmp_path / "r.jsonl").write_text('{"id": "a"}\n{"id": null}\n')
  about = dict(axis="own", source="s", licence="l", size="1 kB", metric="right")
  published = official.Published(name="x", files=("r.jsonl",), make=make, **about)
  said = r"a row of x, behind item A, is not as in the official files \(AttributeError: 'NoneType'"
  with pytest.raises(errors.InputError, match=said) as caught:
    list(published.benchmark((str(tmp_path),)).items())
  assert str(caught.value).startswith(str(tmp_path)) and isinstance(caught.value.__cause__, AttributeError)


def damaged_gz(path: pathlib.Path) -> None:
  whole = bytearray(gzip.compress(os.urandom(2000)))
  whole[200:260] = bytes(60)
  path.write_bytes(whole)


@pytest.mark.parametrize(
  "file,content,words",
  [
    ("a.jsonl.gz", damaged_gz, "cannot be read"),
    ("a.jsonl", '{"q": "half \\ud83d"}', r"a.jsonl:1: holds half of a surrogate pair \(\\ud83d\)"),
    ("a.json", '[{"q": "half \\uDE00"}]', r"a.json: holds half of a surrogate pair \(\\ude00\)"),
    ("a.csv", "a,a\n1,2\n", "two columns have one name: 'a', 'a'"),
    ("a.csv", "a,b\n1\n", "row 1: has 1 cells, the header 2"),
    ("a.csv", "a\n" + "x" * 99 + "\n", "is no CSV .field larger than field limit"),
  ],
)
def test_files_that_are_damaged(file, content, words, tmp_path, monkeypatch):
  monkeypatch.setattr(folders, "_CELL", 50)
  path = tmp_path / file
  if callable(content):
    content(path)
  else:
    path.write_text(content)
  with pytest.raises(errors.InputError, match=words) as caught:
    list(folders.table(str(path), ",") if file.endswith(".csv") else folders.objects(str(path)))
  assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_whole_characters_and_empty_lines_are_read(tmp_path):
  path = tmp_path / "a.jsonl"
  path.write_text('{"q": "\\ud83d\\ude00 and \\\\ud83d"}\n\n')
  assert [row for _, row in folders.objects(str(path))] == [{"q": "😀 and \\ud83d"}]
  (tmp_path / "b.csv").write_text("a,b\n1,2\n\n3,4\n\n")
  rows = folders.table(str(tmp_path / "b.csv"), ",")
  assert [row for _, row in rows] == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
