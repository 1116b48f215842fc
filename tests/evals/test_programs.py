"""Benchmarks of programs: their official formats are read, answers are run, and become pass@k."""

import gzip
import json
import os
import pathlib

import pytest

from itune_jax.core import errors
from itune_jax.evals import official
from itune_jax.evals import suite
from itune_jax.evals.benchmarks import registry
from itune_jax.evals.benchmarks.utility import mbpp
from itune_jax.grading.sandbox import sandbox
from itune_jax.run import cli
from itune_jax.run.commands import evaluate
from itune_jax.sampling import requests

DOUBLE = {
  "task_id": "HumanEval/0",
  "prompt": "from typing import List\n\ndef half(x):\n  return x / 2\n\n"
  'def double(xs: List[int]) -> List[int]:\n  """Each twice."""\n',
  "entry_point": "double",
  "canonical_solution": "  return [2 * x for x in xs]\n",
  "test": "METADATA = {}\n\ndef check(candidate):\n  assert candidate([1, 2]) == [2, 4] and half(4) == 2\n",
}
ADD = {"task_id": 11, "text": "Add.", "code": "def add(a, b):\r\n  return a + b", "test_setup_code": "k = 1\n",
       "test_list": ["assert add(1, 2) == 3", "assert add(k, 1) == 2", "assert abs(add(-1, 0)) == 1"]}  # fmt: skip
SANITISED = {"source_file": "x", "task_id": 12, "prompt": "Add it.", "code": "", "test_imports": ["import math"],
             "test_list": ["assert math.isclose(add(1, 2), 3)"]}  # fmt: skip


@pytest.fixture
def data(tmp_path):
  for name in ("mbpp", "humaneval"):
    (tmp_path / name).mkdir()
  with gzip.open(tmp_path / "humaneval" / "HumanEval.jsonl.gz", "wt") as f:
    f.write(json.dumps(DOUBLE) + "\n")
  rows = [ADD, {**ADD, "task_id": 10}, {**ADD, "task_id": 13, "test_setup_code": ""}]
  (tmp_path / "mbpp" / "mbpp.jsonl").write_text("\n".join(map(json.dumps, rows)))
  return tmp_path


class Says(requests.Responder):
  """Says the same to everybody; remembers what it was asked."""

  def __init__(self, *texts):
    self.texts, self.asked = texts, []

  def answer(self, given, progress=lambda n: None):
    self.asked += given
    return [requests.Response(one.id, tuple(requests.Sample(text, "stop") for text in self.texts)) for one in given]


def figures(name, data, *texts, **settings):
  responder = Says(*texts)
  made = registry.find(name).benchmark((str(data),), official.Settings(**settings))
  return suite.measure(made, responder), responder


def test_humaneval_takes_completions_and_programs(data):
  whole = "def double(xs):\n  return [x + x for x in xs]\n"
  for variant, text, verdict in (
    ("published", DOUBLE["canonical_solution"], "passed"),
    ("published", whole, "passed"),
    ("published", f"```python\n{whole}```", "wrong"),
    ("instruct", DOUBLE["canonical_solution"] + "```\nIt doubles.", "passed"),
    ("chat", f"Sure:\n```python\n{whole}```\nIt doubles.", "passed"),
    ("chat", "  import os\n  os._exit(0)\n", "wrong"),
    ("chat", "", "no code"),
  ):
    found, asked = figures("humaneval", data, text, variant=variant)
    assert found.rows[0]["judged"] == verdict, (variant, text)
    assert found.figures["humaneval/pass@1"] == (verdict == "passed")
    assert (asked.asked[0].temperature, asked.asked[0].limit) == (0.0, 1024)


def test_samples_give_the_published_ks(data):
  texts = ["  return [2 * x for x in xs]\n"] * 3 + ["  return xs\n"] * 7
  found, asked = figures("humaneval", data, *texts, samples=10)
  assert found.figures["humaneval/pass@1"] == pytest.approx(0.3) and found.figures["humaneval/pass@10"] == 1
  assert found.rows[0]["judged"] == ["passed"] * 3 + ["wrong"] * 7 and found.rows[0]["values"]["pass@10"] == (10, 3)
  assert (asked.asked[0].n, asked.asked[0].temperature, asked.asked[0].top_p) == (10, 0.2, 0.95)
  with pytest.raises(errors.InputError, match=r"pass@10 of 1 right of 1 samples cannot be: draw at least 10"):
    figures("humaneval", data, texts[0], samples=10)


def test_mbpp_is_its_test_split_with_its_setup(data):
  found, asked = figures("mbpp", data, "def add(a, b):\n  return a + b\n[DONE]\nmore")
  assert [row["id"] for row in found.rows] == ["11", "13"] and [row["judged"] for row in found.rows] == [
    "passed",
    "wrong",
  ]
  assert "NameError: name 'k'" in found.rows[1]["why"]
  prompt = asked.asked[0].conversation
  assert prompt.count("[BEGIN]") == 4 and prompt.count("[DONE]") == 3 and prompt.endswith("== 1\n[BEGIN]\n")
  _, fewer = figures("mbpp", data, "", shots=1)
  assert fewer.asked[0].conversation.count("[BEGIN]") == 2


def test_mbpp_in_a_chat(data):
  found, asked = figures("mbpp", data, "Yes.\n```python\ndef add(a, b):\n  return a + b\n```\n", variant="chat")
  assert found.rows[0]["judged"] == "passed" and len(asked.asked[0].conversation.messages) == 1
  found, _ = figures("mbpp", data, "\ndef add(a, b):\n  return a + b\n```\nDone.", variant="instruct")
  assert found.rows[0]["judged"] == "passed"
  found, _ = figures("mbpp", data, "def add(a, b):\n  return a + b\n```\nDone.", variant="instruct")
  assert found.rows[0]["judged"] == "wrong", "lm-eval's rule takes a first word for a language"


def test_the_sanitised_part_in_both_of_its_files(data):
  (data / "mbpp" / "sanitized-mbpp.json").write_text(json.dumps([SANITISED]))
  found, asked = figures("mbpp_sanitized", data, "def add(a, b):\n  return a + b\n")
  assert found.rows[0]["judged"] == "passed" and "Add it. Your code" in asked.asked[0].conversation
  (data / "mbpp" / "sanitized-mbpp.json").rename(data / "mbpp" / "mbpp_sanitized_for_code_generation.jsonl")
  (data / "mbpp" / "mbpp_sanitized_for_code_generation.jsonl").write_text(json.dumps(DOUBLE))
  found, _ = figures("mbpp_sanitized", data, DOUBLE["canonical_solution"])
  assert found.rows[0]["judged"] == "passed" and found.figures["mbpp_sanitized/pass@1"] == 1


@pytest.mark.parametrize("row, words", [
  ({**DOUBLE, "test": None}, r"HumanEval.jsonl:1: 'test' is null"),
  ({name: DOUBLE[name] for name in ("task_id", "prompt", "test")}, r"HumanEval.jsonl:1: has no 'entry_point'"),
])  # fmt: skip
def test_a_row_that_lacks_something_is_refused_with_its_line(row, words, tmp_path):
  (tmp_path / "humaneval").mkdir()
  (tmp_path / "humaneval" / "HumanEval.jsonl").write_text(json.dumps(row))
  with pytest.raises(errors.InputError, match=words):
    figures("humaneval", tmp_path, "x")


def test_the_command_scores_stored_responses(data):
  """`itune eval --suite … --responses FILE`, of completions and of lists of them."""
  rows = [
    {"task_id": 11, "completion": "def add(a, b): return a + b"},
    {"task_id": 13, "completion": "def add(): pass"},
  ]
  (data / "mbpp.jsonl").write_text("\n".join(map(json.dumps, rows)))
  texts = [DOUBLE["canonical_solution"], "  return xs\n"] * 5
  with gzip.open(data / "humaneval.jsonl.gz", "wt") as f:
    f.write(json.dumps({"task_id": "HumanEval/0", "completions": texts}))
  responses = f"mbpp={data}/mbpp.jsonl,humaneval={data}/humaneval.jsonl.gz"
  words = ["--suite=mbpp,humaneval", f"--data_dir={data}", f"--responses={responses}", "--samples=1"]
  found = evaluate.from_flags(cli.find("eval").parse([*words, f"--sandbox={sandbox.tier()}"]))
  assert found["mbpp/pass@1"] == 50 and found["humaneval/pass@1"] == 50, found


def test_a_machine_without_a_sandbox_runs_nothing(data, monkeypatch):
  monkeypatch.setattr(sandbox, "offers", lambda: sandbox.Offers("seccomp", ("no Landlock: an old kernel",)))
  with pytest.raises(errors.InputError, match="tier 'landlock' or higher"):
    figures("mbpp", data, "def add(a, b): return a + b")


@pytest.mark.parametrize("test, name", [
  ("assert f(1) == 2", "f"),
  ("assert set(f((1, 2))) == set((2,))", "f"),
  ("assert math.isclose(area_of(1), 3.14)", "area_of"),
  ("assert sorted(f(g(1))) == [1]", "f"),
  ("assert 1", ""),
])  # fmt: skip
def test_what_a_test_asks_for(test, name):
  assert mbpp.entry(test) == name


@pytest.mark.full
@pytest.mark.parametrize("name, field", [("mbpp", "code"), ("mbpp_sanitized", "canonical_solution")])
def test_reference_solutions_pass(name, field, itune_data):
  """`pytest -s` prints what does not. Of CodeT's 427, 243 have an indentation that does not go with their prompt."""
  files = {"mbpp": "mbpp.test.jsonl", "mbpp_sanitized": "mbpp_sanitized_for_code_generation.jsonl"}
  rows = [json.loads(line) for line in pathlib.Path(itune_data, "mbpp", files[name]).read_text().splitlines()]
  known = {str(row["task_id"]): row[field] for row in rows}
  whole = [row.get("prompt", "") + row[field] for row in rows]

  class Knows(requests.Responder):
    def answer(self, given, progress=lambda n: None):
      return [requests.Response(one.id, (requests.Sample(known[one.id], "stop"),)) for one in given]

  made = registry.find(name).benchmark((os.fspath(itune_data),))
  found = suite.measure(made, Knows())
  for row in found.rows:
    if row["judged"] != "passed":
      print(f"\n{name} {row['id']}: {row['judged']}: {row['why']}")
  print(f"\n{name}: {len(found.rows)} reference solutions, pass@1 = {found.figures[f'{name}/pass@1']:.4f}")
  can = [compiles(one) for one in whole]
  print(f"{sum(can)} of them compile")
  assert sum(row["judged"] == "passed" for row in found.rows) >= 0.97 * sum(can)
  assert all(row["judged"] == "wrong" for row, fine in zip(found.rows, can, strict=True) if not fine)


def compiles(text):
  """Whether a text is a program of Python."""
  try:
    compile(text, "<text>", "exec")
  except SyntaxError:
    return False
  return True
