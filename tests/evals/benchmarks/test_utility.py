"""Benchmarks of utility on made-up files: items, verdicts, what is refused; with ITUNE_DATA all real rows."""

import csv
import json
import os

import pytest

from itune_jax.core import conversation
from itune_jax.core import errors
from itune_jax.evals import official
from itune_jax.evals import suite
from itune_jax.evals.benchmarks import registry
from itune_jax.evals.benchmarks.utility import mmlu
from itune_jax.grading import bbh
from itune_jax.sampling import requests as requests_lib
from tests.evals.benchmarks import fixtures

DATA = os.environ.get("ITUNE_DATA", "")
needs_data = pytest.mark.skipif(not os.path.isdir(DATA), reason="ITUNE_DATA names no folder")
SOLVED = [{"input": f"Is it {k}?", "target": f"It is. So the answer is ({k})."} for k in "ABC"]


class Said(requests_lib.Responder):
  """Answers by a function of the prompt's text; likes the choice that a function says."""

  def __init__(self, answer=lambda text: "", likes=lambda text: ""):
    self.says, self.likes = answer, likes

  def answer(self, requests, progress=lambda n: None):
    return [
      requests_lib.Response(one.id, (requests_lib.Sample(self.says(text_of(one.conversation)), "stop"),) * one.n)
      for one in requests
    ]

  def score(self, pairs, progress=lambda n: None):
    scores = [0.0 if pair.continuation == self.likes(pair.context) else -1.0 for pair in pairs]
    return [requests_lib.Score(score, False, 1) for score in scores]

  def rolling(self, texts, progress=lambda n: None):
    return [requests_lib.Score(-float(len(text.encode())), False, 1) for text in texts]


def text_of(asked):
  return asked.messages[-1]["content"] if isinstance(asked, conversation.Conversation) else asked


def measured(folder, name, responder, **settings):
  """The figures over all items, by metric."""
  found = suite.measure(registry.find(name).benchmark((str(folder),), official.Settings(**settings)), responder)
  return {one.metric: one.value for one in found.results if not one.tag}, found


def test_gsm8k(tmp_path):
  folder = fixtures.gsm8k(tmp_path)
  figures, found = measured(folder, "gsm8k", Said(lambda text: "So the answer is $2,000. Hmm."))
  assert figures["flexible_extract"] == pytest.approx(1 / 6) and figures["strict_match"] == 0  # "The", not "the"
  assert [row["shots"] for row in found.rows] == [8] * 6
  figures, found = measured(folder, "gsm8k", Said(lambda text: "#### 2,000"), variant="lm_eval", samples=2)
  assert figures["strict_match"] == pytest.approx(1 / 6) and found.rows[0]["shots"] == 5
  with pytest.raises(errors.InputError, match="cot_zeroshot has no examples, 3 are asked for"):
    measured(folder, "gsm8k", Said(), variant="cot_zeroshot", shots=3)
  (folder / "gsm8k" / "test.jsonl").write_text(json.dumps({"question": "Why?", "answer": "42"}))
  with pytest.raises(errors.InputError, match=r"test.jsonl:1: 'answer' has no number behind '#### '"):
    measured(folder, "gsm8k", Said())


def test_mmlu(tmp_path):
  folder = fixtures.mmlu(tmp_path, mmlu.CATEGORIES)
  likes = lambda text: " C"  # of the two questions of a subject the first is C, the second D
  figures, found = measured(folder, "mmlu", Said(likes=likes))
  assert figures["acc"] == 0.5 and len(found.rows) == 2 * 57
  by_category = {one.tag: one.n for one in found.results if one.tag.startswith("category=")}
  assert by_category == {
    "category=stem": 38, "category=humanities": 26, "category=social_sciences": 24, "category=other": 26,
  }  # fmt: skip
  figures, found = measured(folder, "mmlu", Said(likes=lambda text: " none {{of}} these"), variant="text", shots=0)
  assert figures["acc"] == figures["acc_norm"] == 0.5 and "shots" not in found.rows[0]
  figures, _ = measured(folder, "mmlu", Said(lambda text: " c.\nD"), variant="generate")
  assert figures["exact_match"] == 0.5


def test_mmlu_refuses_what_is_not_whole(tmp_path):
  folder = fixtures.mmlu(tmp_path, list(mmlu.CATEGORIES)[1:])
  with pytest.raises(errors.InputError, match="the subject abstract_algebra has no test rows"):
    measured(folder, "mmlu", Said())
  with pytest.raises(errors.InputError, match="mmlu has 5 examples at most, 6 are asked for"):
    measured(folder, "mmlu", Said(), shots=6)
  fixtures.mmlu(tmp_path, ["alchemy"])
  with pytest.raises(errors.InputError, match=r"test.jsonl:1: 'alchemy' is no subject of MMLU"):
    measured(folder, "mmlu", Said(), shots=0)


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_files_in_the_style_of_mmlu(tmp_path, kind):
  """The same questions from each form of file are the same items."""
  rows = {split: [fixtures.choice("alchemy", k) for k in range(count)] for split, count in (("test", 3), ("dev", 2))}
  for split, given in rows.items():
    (tmp_path / "mmlu_style" / split).mkdir(parents=True)
    if kind == "csv":
      with open(tmp_path / "mmlu_style" / split / f"alchemy_{split}.csv", "w", newline="") as f:
        csv.writer(f).writerows([row["question"], *row["choices"], "ABCD"[row["answer"]]] for row in given)
    elif kind == "parquet":
      pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
      (tmp_path / "mmlu_style" / "alchemy").mkdir(exist_ok=True)
      table = pyarrow.Table.from_pylist([{k: v for k, v in row.items() if k != "subject"} for row in given])
      parquet.write_table(table, tmp_path / "mmlu_style" / "alchemy" / f"{split}-0.parquet")
    else:
      text = "".join(json.dumps(row) + "\n" for row in given)
      (tmp_path / "mmlu_style" / f"{split}.jsonl").write_text(text)
  items = list(registry.find("mmlu_style").benchmark((str(tmp_path),), official.Settings(shots=2)).items())
  assert [item.id for item in items] == ["alchemy/0", "alchemy/1", "alchemy/2"]
  assert [item.answer for item in items] == ["A", "B", "C"] and len(items[0].shots) == 2
  assert items[2].question == ("Which alchemy is 2?\nA. 2\nB.  about 2\n\nC. none {{of}} these\nD. alchemy 2\nAnswer:")


@pytest.mark.parametrize(
  ("row", "says"),
  [
    ({"subject": "a", "question": "q", "choices": ["x"], "answer": 0}, "two to twenty-six texts"),
    ({"subject": "a", "question": "q", "choices": ["x", 1], "answer": 0}, "two to twenty-six texts"),
    ({"subject": "a", "question": "q", "choices": ["x", "y"], "answer": 2}, "choice 2 of 2"),
    ({"subject": "a", "question": "q", "choices": ["x", "y"], "answer": True}, "'answer' is a boolean"),
    ({"subject": "a", "choices": ["x", "y"], "answer": 0}, "has no 'question'"),
  ],
)
def test_a_question_that_is_none_is_refused_by_file_and_line(tmp_path, row, says):
  (tmp_path / "test.jsonl").write_text(json.dumps(row))
  with pytest.raises(errors.InputError, match=rf"test.jsonl:1: .*{says}"):
    measured(tmp_path, "mmlu_style", Said())


def test_bbh(tmp_path):
  folder = fixtures.bbh(tmp_path, dict.fromkeys(bbh.TASKS, ("Do it.\n\n", SOLVED)))
  figures, found = measured(folder, "bbh", Said(lambda text: "It is so. So the answer is (A)."))
  assert figures["exact_match"] == 1.0 and len(found.rows) == 54 and found.rows[0]["shots"] == 3
  figures, _ = measured(folder, "bbh", Said(lambda text: " (A)"), variant="fewshot")
  assert (figures["exact_match"], figures["stripped_match"]) == (0.0, 1.0)  # lm-eval's is exact to the space
  figures, _ = measured(folder, "bbh", Said(lambda text: "the answer is (A)."), variant="cot_zeroshot")
  assert (figures["strict_match"], figures["exact_match"]) == (1.0, pytest.approx(17 / 27))  # tasks with options
  prompt = list(registry.find("bbh").benchmark((str(folder),), official.Settings(shots=1)).items())[0].prompt("plain")
  assert prompt == (
    "Do it.\n\nQ: Is it A?\nA: Let's think step by step.\nIt is. So the answer is (A).\n\n"
    "Q: Is 0 boolean_expressions?\nOptions:\n(A) yes\n(B) no\nA: Let's think step by step.\n"
  )
  (folder / "bbh" / "bbh" / "navigate.json").unlink()
  with pytest.raises(errors.InputError, match="navigate.json: no file is named so"):
    measured(folder, "bbh", Said())


def test_math(tmp_path):
  pytest.importorskip("math_verify")
  folder = fixtures.math(tmp_path)
  figures, _ = measured(
    folder, "math", Said(lambda text: "Final Answer: The final answer is $4$. I hope it is correct.")
  )
  assert figures["math_verify"] == figures["same_form"] == pytest.approx(1 / 3)
  figures, found = measured(folder, "math", Said(lambda text: "\\boxed{2^2}"), variant="boxed")
  assert figures == {"math_verify": pytest.approx(1 / 3), "same_form": 0.0, "cut_off": 0.0, "empty": 0.0}
  assert {one.tag for one in found.results} > {"subject=Algebra", "level=Level 1"}
  (folder / "math" / "test.jsonl").write_text(json.dumps({"problem": "p", "solution": "it is 4"}))
  with pytest.raises(errors.InputError, match=r"test.jsonl:1: 'solution' has no \\boxed"):
    measured(folder, "math", Said())


def test_super_ni(tmp_path):
  folder = fixtures.super_ni(tmp_path)
  figures, found = measured(folder, "super_ni", Said(lambda text: "Word 1."))
  assert figures["exact_match"] == pytest.approx(1 / 3)
  assert figures["rougeL"] == pytest.approx((2 / 3 + 1 + 2 / 3) / 3)  # "words" is stemmed to "word"
  prompt = list(registry.find("super_ni").benchmark((str(folder),)).items())[0].prompt("plain")
  assert prompt == (
    "Definition: Do it.\n\n Positive Example 1 -\nInput: in 0.\n Output: out!\n\n"
    " Positive Example 2 -\nInput: in 1.\n Output: out!\n\n"
    "Now complete the following example -\nInput: word 0?\nOutput: "
  )
  assert {one.tag for one in found.results} > {"category=text_modification", "track=default", "task=task002_sum"}
  (folder / "super_ni" / "splits" / "default").mkdir(parents=True)
  (folder / "super_ni" / "splits" / "default" / "test_tasks.txt").write_text("task002_sum\n")
  assert len(measured(folder, "super_ni", Said())[1].rows) == 3


def test_super_ni_across_languages_needs_the_pieces_of_gpt2(tmp_path):
  folder = fixtures.super_ni(tmp_path)
  path = folder / "super_ni" / "tasks" / "task001_up.json"
  task = json.loads(path.read_text()) | {"Output_language": ["French"]}
  path.write_text(json.dumps(task))
  with pytest.raises(errors.InputError, match=r"task001_up.json: .*vocab.json and merges.txt"):
    measured(folder, "super_ni", Said())
  (folder / "super_ni" / "gpt2").mkdir()
  pieces = [*"WORDwords12 ", "\u0120", "\u01201"]
  (folder / "super_ni" / "gpt2" / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
  (folder / "super_ni" / "gpt2" / "merges.txt").write_text("#version: 0.2\n\u0120 1\n")
  _, found = measured(folder, "super_ni", Said(lambda text: "WORD 1"))
  figures = {one.tag: one.value for one in found.results if one.metric == "rougeL"}
  assert figures["track=xlingual"] == pytest.approx((4 / 5 + 1 + 8 / 11) / 3)  # 0 is no piece


def test_perplexity(tmp_path):
  """A nat a byte, of all documents together; rows of JSON lines and files of text alike."""
  figures, found = measured(fixtures.texts(tmp_path), "perplexity", Said())
  assert figures["byte_perplexity"] == pytest.approx(2.718281828) and figures["bits_per_byte"] == pytest.approx(
    1.442695041
  )
  assert len(found.rows) == 5 and figures["word_perplexity"] > figures["byte_perplexity"]
  (tmp_path / "perplexity" / "empty.txt").write_text("")
  with pytest.raises(errors.InputError, match="an empty text has no perplexity"):
    measured(tmp_path, "perplexity", Said())


@needs_data
@pytest.mark.heavy
@pytest.mark.parametrize(
  ("name", "count"), [("gsm8k", 1319), ("mmlu", 14042), ("super_ni", 8796)], ids=["gsm8k", "mmlu", "super_ni"]
)
def test_all_real_rows(name, count):
  """Every official row is an item, and every gold answer, given as the response, is right."""
  benchmark = registry.find(name).benchmark((DATA,))
  items = list(benchmark.items())
  print(f"\n{name}: {len(items)} items")
  assert len(items) == len({item.id for item in items}) == count
  assert registry.find(name).count in (0, count)
  if name == "gsm8k":
    said = [f"The answer is {item.answer.rpartition('#### ')[2]}." for item in items]
  elif name == "super_ni":
    said = [item.answer[0] for item in items]
  else:
    scores = [
      [requests_lib.Score(float(choice == f" {item.answer}"), True, 1) for choice in item.choices] for item in items
    ]
    assert all(one.values["acc"] for one in benchmark.grade(items, scores))
    return
  answers = [
    requests_lib.Response(item.id, (requests_lib.Sample(text, "stop"),)) for item, text in zip(items, said, strict=True)
  ]
  graded = benchmark.grade(items, answers)
  wrong = [item.id for item, one in zip(items, graded, strict=True) if one.values[list(benchmark.metrics)[0]] < 1]
  assert not [id for id in wrong if name == "gsm8k"]
  print(f"{name}: {len(wrong)} golds with a score below 1: those without a letter of a-z or digit")
