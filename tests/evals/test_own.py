"""A user's own benchmark: every way of asking from a table, one Python file, and what is refused, by file and line."""

import csv
import json
import pathlib
import re
import sys

import pytest

from itune_jax.core import errors
from itune_jax.evals import own
from itune_jax.evals.benchmarks import registry
from itune_jax.evals import official
from itune_jax.evals import suite
from itune_jax.evals import tables
from itune_jax.sampling import requests as requests_lib

ROWS = [
  {"country": "France", "capital": "Paris", "continent": "Europe", "a": "Lyon", "b": "Paris", "right": "1"},
  {"country": "Kenya", "capital": "Nairobi", "continent": "Africa", "a": "Nairobi", "b": "Mombasa", "right": "0"},
  {"country": "Peru", "capital": "Lima", "continent": "America", "a": "Cusco", "b": "Lima", "right": "1"},
]
TOML = """
name = "capitals"
ask = "generate"
file = "questions.csv"
question = "What is the capital of {country}?"
answer = "capital"
check = "contains"
tags = ["continent"]
"""
CHOOSE = """
name = "capitals"
ask = "choose"
file = "questions.csv"
question = "The capital of {country} is"
choices = ["{a}", "{b}"]
answer = "right"
answer_is = "number"
shots = "shots.jsonl"
metrics = ["acc", "macro_f1"]
"""


class Known(requests_lib.Responder):
  """Knows two capitals, and finds texts likelier the earlier their last letter comes in the alphabet."""

  def __init__(self):
    self.asked: list = []

  def answer(self, requests, progress=lambda n: None):
    """The answers."""
    self.asked += requests
    said = {"France": "It is Paris, of course.", "Kenya": "Nairobi"}
    text = lambda request: json.dumps(getattr(request.conversation, "messages", request.conversation))
    find = lambda request: next((said[name] for name in said if f"of {name}" in text(request)), "No idea.")
    return [requests_lib.Response(one.id, (requests_lib.Sample(find(one), "stop"),) * one.n) for one in requests]

  def score(self, pairs, progress=lambda n: None):
    """The log-probabilities."""
    self.asked += pairs
    return [requests_lib.Score(-float(ord(pair.continuation[-1])), False, 2) for pair in pairs]

  def rolling(self, texts, progress=lambda n: None):
    """The log-probabilities."""
    self.asked += texts
    return [requests_lib.Score(-float(len(text)), False, len(text)) for text in texts]


def folder(tmp_path, toml=TOML, name="questions.csv", rows=ROWS):
  """A folder with a table and its description."""
  path = tmp_path / "own"
  path.mkdir(exist_ok=True)
  (path / "benchmark.toml").write_text(toml)
  write(path / name, rows)
  return str(path)


def write(path, rows):
  if path.suffix == ".csv":
    with path.open("w", newline="") as f:
      table = csv.DictWriter(f, list(rows[0]))
      table.writeheader()
      table.writerows(rows)
  elif path.suffix == ".parquet":
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path)
  else:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def measured(path, **settings):
  """(figures by name and tag, rows, what was asked)."""
  responder = Known()
  result = suite.measure(own.find(path).benchmark((), official.Settings(**settings)), responder)
  return {(one.metric, one.tag): one for one in result.results}, result.rows, responder.asked


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_table_is_asked_and_judged(tmp_path, ending):
  path = folder(tmp_path, TOML.replace(".csv", f".{ending}"), f"questions.{ending}")
  figures, rows, asked = measured(path)
  assert figures["accuracy", ""].value == pytest.approx(2 / 3)
  assert figures["accuracy", "continent=America"].value == 0
  assert [row["id"] for row in rows] == ["1", "2", "3"]
  assert asked[0].conversation.messages[0]["content"] == "What is the capital of France?"


def test_choices_stand_behind_a_space_and_examples_in_front(tmp_path):
  path = folder(tmp_path, CHOOSE)
  write(pathlib.Path(path) / "shots.jsonl", [{"country": "Chad", "a": "N'Djamena", "b": "Sarh", "right": 0}])
  figures, rows, asked = measured(path)
  assert asked[0].context == "The capital of Chad is N'Djamena\n\nThe capital of France is"
  assert [pair.continuation for pair in asked[:2]] == [" Lyon", " Paris"]
  assert figures["acc", ""].value == pytest.approx(1 / 3)
  assert {name for name, _ in figures} == {"acc", "macro_f1"}
  assert rows[0]["answer"] == " Paris"
  assert measured(path, shots=0)[2][0].context == "The capital of France is"
  with pytest.raises(errors.InputError, match="1 examples at most, 2 are asked for"):
    measured(path, shots=2)


def test_answers_are_scored_and_texts_as_a_whole(tmp_path):
  score = TOML.replace("generate", "score").replace('check = "contains"\n', "")
  figures, _, asked = measured(folder(tmp_path, score))
  assert [pair.continuation for pair in asked] == [" Paris", " Nairobi", " Lima"]
  assert figures["nats_per_token", ""].value == pytest.approx(sum(map(ord, "sia")) / 6)
  rolling = 'name = "texts"\nask = "rolling"\nfile = "questions.csv"\nquestion = "{country} {capital}"\n'
  figures, rows, asked = measured(folder(tmp_path, rolling))
  assert asked == ["France Paris", "Kenya Nairobi", "Peru Lima"]
  assert figures["nats_per_word", ""].value == pytest.approx(sum(map(len, asked)) / 6)


def test_settings_change_how_it_is_asked(tmp_path):
  figures, _, asked = measured(folder(tmp_path, TOML + "limit = 2\nmax_new_tokens = 7\n"), samples=3, form="plain")
  assert figures["accuracy", ""].n == 2
  assert figures["accuracy", ""].of == 3
  assert {(one.n, one.limit, one.conversation[:4]) for one in asked} == {(3, 7, "What")}


def test_one_python_file(tmp_path):
  (tmp_path / "helper.py").write_text("LIMIT = 5\n")
  (tmp_path / "my_bench.py").write_text(
    "import helper\n"
    "from itune_jax.evals import ask, protocol\n"
    "from itune_jax.grading.statistics import metrics\n"
    "ITEMS = [protocol.Item(id='a', question='The capital of France?', answer='Paris')]\n"
    "BENCHMARK = protocol.Benchmark(\n"
    "  name='mine', items=lambda: iter(ITEMS), ask=ask.Generate(limit=helper.LIMIT),\n"
    "  grade=protocol.each(lambda item, answer: {'right': item.answer in answer.text}),\n"
    "  metrics={'right': metrics.Mean()},\n"
    ")\n"
  )
  figures, _, asked = measured(str(tmp_path / "my_bench.py"), samples=2)
  assert figures["right", ""].value == 1
  assert (asked[0].limit, asked[0].n) == (5, 2)


WRONG = {
  "nam = 'x'": "benchmark.toml: unknown key 'nam'; did you mean name?",
  "zzz = 1": "unknown key 'zzz'; keys are name, file, question, ask",
  "limit = '3'": "benchmark.toml: limit = '3'; it takes a whole number",
  "ask = 'chose'": "benchmark.toml: is no TOML",
  "metrics = ['f1']": "no metric is called 'f1'; they are accuracy",
  "stop = 'x'": "benchmark.toml: stop = 'x'; it takes a list of texts",
  "id = 'capitol'": "questions.csv:2: has no column 'capitol'; it has country, capital",
  "cluster = 'x'": "questions.csv:2: has no column 'x'",
  "choices = ['yes', 'no']": "questions.csv:2: column 'capital' is 'Paris', answer_is = 'text'; it must be one of",
  "choices = ['{a}', '{a}']": "questions.csv:2: choices ('Lyon', 'Lyon') must be two texts or more, which differ",
  "answer_is = 'number'": "answer_is = 'number' with ask = 'generate': it tells which of `choices` is right",
  "shots = 'none.csv'": "none.csv: there is no such file",
}


@pytest.mark.parametrize("line", WRONG)
def test_what_a_description_must_not_say(tmp_path, line):
  with pytest.raises(errors.InputError, match=re.escape(WRONG[line])) as error:
    measured(folder(tmp_path, TOML + line + "\n"))
  assert "\n" not in str(error.value)


def test_a_checker_lies_beside_its_description(tmp_path, monkeypatch):
  monkeypatch.setattr(sys, "path", list(sys.path))
  path = folder(tmp_path, TOML.replace('"contains"', '"beside_capitals:loosely"'))
  said = "def loosely(output, check):\n  return check['answer'].lower() in output.lower()\n"
  pathlib.Path(path, "beside_capitals.py").write_text(said)
  figures, _, _ = measured(path)
  assert figures["accuracy", ""].value == pytest.approx(2 / 3)


def test_a_checker_that_another_module_hides_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(sys, "path", list(sys.path))
  for name in ("one", "two"):
    (tmp_path / name).mkdir()
    path = folder(tmp_path / name, TOML.replace('"contains"', '"hidden_checks:loosely"'))
    pathlib.Path(path, "hidden_checks.py").write_text("def loosely(output, check):\n  return True\n")
  own.find(str(tmp_path / "one" / "own"))
  with pytest.raises(errors.InputError, match=r"two/own/hidden_checks.py is hidden by .*one/own/hidden_checks.py"):
    own.find(str(tmp_path / "two" / "own"))


CHANGED = {
  ("{country}", "{land}"): "questions.csv:2: has no column 'land'; it has country, capital",
  ("{country}", "{}"): "question = 'What is the capital of {}?': between braces stands the name of a column",
  ("{country}", "{"): "{{ is a brace itself",
  ('check = "contains"', 'check = "contain"'): "unknown check 'contain'",
  ('name = "capitals"', ""): "benchmark.toml: `name` is missing",
  ('answer = "capital"', ""): "answer = '' with ask = 'generate': all ways of asking but rolling need it",
  ('"generate"', '"choose"'): "choices = () with ask = 'choose': ask = \"choose\" needs it",
  ("questions.csv", "questions.xls"): "questions.xls: there is no such file",
}


@pytest.mark.parametrize("change", CHANGED)
def test_what_a_description_must_say(tmp_path, change):
  with pytest.raises(errors.InputError, match=re.escape(CHANGED[change])) as error:
    measured(folder(tmp_path, TOML.replace(*change)))
  assert "\n" not in str(error.value)


TABLES = {
  "a.csv": ("a,a\n1,2\n", "a.csv:1: the names of columns must be there, and must differ"),
  "b.csv": ("a,b\n1,2\n3\n", "b.csv:3: has 1 values, and there are 2 columns"),
  "c.csv": ('a,b\n1,"2\n', "c.csv:2: cannot be read as a table"),
  "d.jsonl": ('{"a": 1}\n[1]\n', "d.jsonl:2: is a list, a JSON object is expected"),
  "e.parquet": ("a", "e.parquet: cannot be read as parquet"),
  "f.txt": ("a", "f.txt: tables are .jsonl"),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_that_are_none(tmp_path, name):
  text, message = TABLES[name]
  (tmp_path / name).write_text(text)
  with pytest.raises(errors.InputError, match=re.escape(message)):
    list(tables.rows(str(tmp_path / name)))


def test_a_folder_that_looks_like_a_name_is_named_as_one(tmp_path, monkeypatch):
  (tmp_path / "fruit").mkdir()
  monkeypatch.chdir(tmp_path)
  with pytest.raises(errors.InputError, match="no benchmark 'fruit'; a folder or file of one's own is named ./fruit"):
    registry.find("fruit")


def test_what_is_no_benchmark(tmp_path):
  (tmp_path / "wrong.py").write_text("BENCHMARK = 3\n")
  (tmp_path / "raises.py").write_text("1 / 0\n")
  for name, message in {
    "": "no benchmark is there: it must hold benchmark.toml",
    "none.py": "none.py: there is no such file",
    "wrong.py": "BENCHMARK must be a protocol.Benchmark or a official.Published; it holds a int",
    "raises.py": "raises.py: ZeroDivisionError: division by zero",
  }.items():
    with pytest.raises(errors.InputError, match=re.escape(message)):
      own.find(str(tmp_path / name))
  assert own.is_path("a/b")
  assert own.is_path("x.py")
  assert not own.is_path("ifeval")
