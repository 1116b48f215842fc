"""lm-eval's files, read and written. Beside lm-eval itself: tests/parity/test_lm_eval_files.py."""

import dataclasses
import datetime
import gzip
import json
import os

import pytest

from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.evals import lm_eval_files
from itune_jax.evals import lm_eval_results
from itune_jax.evals import suite
from itune_jax.run import lm_eval_out
from tests.evals import test_suite
from tests.parts import benchmark

ANSWER = {
  "doc_id": 3,
  "doc": {"q": "2+2?"},
  "target": "4",
  "arguments": {"gen_args_0": {"arg_0": "Q: 2+2?\nA:", "arg_1": {"until": ["\n"]}}},
  "resps": [["It is 4.", "5"]],
  "filtered_resps": ["4"],
  "filter": "number",
  "metrics": ["exact_match"],
  "doc_hash": "d",
  "prompt_hash": "p",
  "target_hash": "t",
  "exact_match": 1.0,
}
CHOICE = {
  **ANSWER,
  "arguments": {f"gen_args_{i}": {"arg_0": "Q", "arg_1": one} for i, one in enumerate((" a", " b"))},
  "resps": [[["-1.5", "False"]], [["-0.5", "True"]]],
  "filtered_resps": [["-1.5", "False"], ["-0.5", "True"]],
}
WHOLE = {**ANSWER, "arguments": {"gen_args_0": {"arg_0": "text"}}, "resps": [["-7.0"]], "filtered_resps": ["-7.0"]}
OLD = {**ANSWER, "arguments": [["Q: 2+2?\nA:", {"until": ["\n"]}]]}


def written(path, *samples):
  data = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in samples).encode()
  path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
  return str(path)


@pytest.mark.parametrize("name", ["samples_x.jsonl", "samples_x.jsonl.gz"])
def test_lines_become_rows(tmp_path, name):
  rows = lm_eval_files.read(written(tmp_path / name, ANSWER, CHOICE, WHOLE, OLD))
  answer, choice, whole, old = rows
  assert (answer.id, answer.prompt, answer.response, answer.target) == ("3", "Q: 2+2?\nA:", "It is 4.", "4")
  assert answer.responses == ("It is 4.", "5") and answer.filtered == ("4",) and answer.filter == "number"
  assert answer.metrics == {"exact_match": 1.0} and answer.where.endswith(f"{name}:1") and answer.doc_hash == "d"
  assert choice.continuations == (" a", " b") and choice.logprobs == ((-1.5, False), (-0.5, True))
  assert whole.logprobs == ((-7.0, False),) and not whole.continuations
  assert old.response == answer.response and old.prompt == answer.prompt
  with pytest.raises(errors.InputError, match=r":2: .* no responses"):
    print(choice.response)
  assert lm_eval_files.is_samples(ANSWER) and not lm_eval_files.is_samples({"id": 1, "response": "x"})


@pytest.mark.parametrize(
  "line, said",
  [
    ({k: v for k, v in ANSWER.items() if k not in ("resps", "doc")}, ":2: doc, resps missing"),
    ({**ANSWER, "arguments": {"gen_args_1": {}}}, ":2: arguments or resps are not as lm-eval"),
    ({**ANSWER, "resps": []}, ":2: arguments or resps"),
    ({**CHOICE, "resps": [["x"]]}, ":2: arguments or resps"),
    ([], ":2: a line of samples is an object"),
  ],
)
def test_other_lines_are_refused_with_their_place(tmp_path, line, said):
  with pytest.raises(errors.InputError, match=said):
    lm_eval_files.read(written(tmp_path / "s.jsonl", ANSWER, line))


def test_files_that_are_none_are_refused(tmp_path):
  for name, data, said in (
    ("a.jsonl", b"\n\n", "no line"),
    ("b.jsonl", b"\xff{}", "UTF-8"),
    ("c.jsonl", b"{", "no JSON"),
  ):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(errors.InputError, match=said):
      lm_eval_files.read(str(tmp_path / name))
  (tmp_path / "d.jsonl.gz").write_bytes(b"{}")
  with pytest.raises(errors.InputError, match="cannot be read"):
    lm_eval_files.read(str(tmp_path / "d.jsonl.gz"))


def test_hashes_are_those_of_lm_eval():
  """The figure was made by lm-eval 0.4.13."""
  doc = {"question": "Wie viel?", "choices": ["ä", "b"], "n": 3, "x": None}
  assert lm_eval_results.doc_hash(doc) == "2e90f74a45882333e6bca27ef460aa187468ce52c6c925fcdcad7569bb84dc66"


_CHOICES = {"tags": {}, "choices": [" a", " b"], "logprobs": [-0.5, -1.5]}
ROWS = [
  {**_CHOICES, "id": "a/1", "values": {"acc": 1.0, "odd": None}, "prompt": "Q", "answer": " a"},
  {**_CHOICES, "id": "a/2", "values": {"acc": 0.0, "odd": 2.0}, "prompt": "R", "answer": " b"},
]
FIGURES = [
  contracts.Result("own", "acc", 0.5),
  contracts.Result("own", "odd", 7.0),
  contracts.Result("own", "acc", 1.0, "x=1"),
]


def test_what_is_written_is_read_again(tmp_path):
  task = lm_eval_results.Task(name="own", rows=ROWS, figures=FIGURES, better={"acc": "higher", "odd": "lower"}, items=9)
  answers = [
    {"id": i, "tags": {}, "values": {"right": 1.0}, "prompt": i, "output": "o", "outputs": ["o", "p"], "answer": 4}
    for i in "xy"
  ]
  other = lm_eval_results.Task(name="answers", rows=answers, figures=[], generation={"until": ["\n"]}, shots=3)
  start = datetime.datetime(2025, 1, 2, 3, 4, 5)
  run = lm_eval_results.Run(model="org/m", start=start, seconds=1.5)
  task = dataclasses.replace(task, prompts={"a/2": "shots and R"})
  path = lm_eval_results.write(str(tmp_path), [task, other], run)
  assert path == str(tmp_path / "org__m" / "results_2025-01-02T03-04-05.json")
  found = files.read_json(path)
  assert found["results"]["own"]["acc,none"] == 0.5 and found["results"]["own"]["acc_stderr,none"] == pytest.approx(0.5)
  assert found["results"]["own"]["odd_stderr,none"] == "N/A" and "acc,none" not in found["results"]["answers"]
  assert found["n-samples"]["own"] == {"original": 9, "effective": 2} and found["n-shot"]["answers"] == 3
  assert found["higher_is_better"]["own"] == {"acc": True, "odd": False} and found["configs"]["answers"]["repeats"] == 2
  rows = lm_eval_files.read(str(tmp_path / "org__m" / "samples_own_2025-01-02T03-04-05.jsonl"))
  assert [row.logprobs[0].logprob for row in rows] == [-0.5, -0.5] and rows[0].doc["id"] == "a/1"
  assert [row.prompt for row in rows] == ["Q", "shots and R"] and rows[1].doc["prompt"] == "R"
  assert rows[0].metrics == {"acc": 1.0} and rows[1].metrics == {"acc": 0.0, "odd": 2.0}
  rows = lm_eval_files.read(str(tmp_path / "org__m" / "samples_answers_2025-01-02T03-04-05.jsonl"))
  assert rows[0].responses == ("o", "p") and rows[0].target == "4"


def test_documents_do_not_hang_on_what_a_model_said():
  said = [{**ROWS[0], "logprobs": [-9.0, -8.0], "values": {"acc": 0.0}, "correct": False, "verdict": "empty"}]
  one, two = (lm_eval_results.samples(lm_eval_results.Task(name="own", rows=rows, figures=[])) for rows in (ROWS, said))
  assert one[0]["doc_hash"] == two[0]["doc_hash"] and one[0]["resps"] != two[0]["resps"]


def test_names_that_collide_are_refused():
  task = lm_eval_results.Task(name="own", rows=ROWS, figures=FIGURES)
  run = lm_eval_results.Run(model="m", start=datetime.datetime(2025, 1, 1), seconds=0)
  with pytest.raises(errors.InputError, match="one name"):
    lm_eval_results.results([task, task], run)
  with pytest.raises(errors.InputError, match="under filter"):
    lm_eval_results.samples(lm_eval_results.Task(name="own", rows=[{**ROWS[0], "values": {"filter": 1.0}}], figures=[]))
  with pytest.raises(errors.InputError, match="nothing was measured"):
    lm_eval_results.write("nowhere", [], run)


KINDS = {
  "GENERATE": "generate_until",
  "CHOOSE": "multiple_choice",
  "SCORE": "loglikelihood",
  "ROLLING": "loglikelihood_rolling",
}


@pytest.mark.parametrize("name, kind", KINDS.items())
def test_every_way_of_asking_is_written(tmp_path, name, kind):
  own = vars(benchmark)[name]
  result = suite.measure(own, test_suite.Oracle({"Peru": " Lima "}))
  path = lm_eval_out.write(str(tmp_path), lm_eval_out.tasks([(own, result)]), name="oracle", started=1e9, limit=3)
  found = files.read_json(path)
  assert found["configs"][own.name]["output_type"] == kind and found["config"]["limit"] == 3
  for metric in own.metrics:
    assert found["results"][own.name][f"{metric},none"] == pytest.approx(result.figures[f"{own.name}/{metric}"])
  (samples,) = (
    os.path.join(os.path.dirname(path), one) for one in os.listdir(os.path.dirname(path)) if "samples" in one
  )
  rows = lm_eval_files.read(samples)
  assert [row.doc["id"] for row in rows] == [row["id"] for row in result.rows]
  assert bool(rows[0].responses) == (name == "GENERATE")
  for row, said, item in zip(rows, result.rows, own.items(), strict=True):
    asked = item.prompt("chat" if name == "GENERATE" else "plain")
    assert row.prompt == (asked if isinstance(asked, str) else json.dumps(list(asked.messages), ensure_ascii=False))
    assert row.metrics == said["values"]
    if name == "CHOOSE":
      assert [one.logprob for one in row.logprobs] == said["logprobs"] and not row.logprobs[0].is_greedy
