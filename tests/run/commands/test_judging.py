"""`itune eval` with annotations, and with a judge at an endpoint, on small files of the official forms."""

import gzip
import json
import re

import numpy as np
import pytest

from itune_jax.run import cli
from tests.parts import server

COUNT = 12


def last(capsys):
  return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


def outputs(name):
  return [
    {"instruction": f"do {i}", "output": f"{name} {i}" * (1 + i % 5), "generator": name, "dataset": "d"}
    for i in range(COUNT)
  ]


@pytest.fixture
def data(tmp_path, monkeypatch):
  monkeypatch.setenv("ITUNE_DATA", str(tmp_path))
  folder = tmp_path / "alpaca_eval"
  folder.mkdir()
  (folder / "gpt4_1106_preview_outputs.json").write_text(json.dumps(outputs("base")))
  (tmp_path / "mine.json").write_text(json.dumps(outputs("mine!!")))
  return tmp_path


def test_annotations_become_win_rates(data, capsys):
  rng = np.random.default_rng(0)
  rows = [{"instruction": f"do {i}", "preference": 1 + rng.random(), "annotator": "j"} for i in range(COUNT)]
  rows[3]["preference"] = None
  with gzip.open(data / "annotations.json.gz", "wt") as f:
    json.dump(rows[:-1], f)
  asked = ["eval", "--suite", "alpaca_eval", "--annotations", str(data / "annotations.json.gz")]
  assert cli.main(asked) == 0
  bare = last(capsys)
  assert (bare["n"], bare["of"]) == (COUNT - 2, COUNT) and "length_controlled_minimal" not in bare
  assert bare["win_rate"] == pytest.approx(100 * np.mean([r["preference"] - 1 for r in rows[:-1] if r["preference"]]))
  assert bare["problems"]["without an annotation"] == {"count": 1, "first": ["do 11"]}
  assert cli.main([*asked, "--responses", str(data / "mine.json"), "--run_dir", str(data / "run")]) == 0
  full = last(capsys)
  assert full["win_rate"] == bare["win_rate"] and 0 < full["length_controlled_minimal"] < 100
  assert full["problems"]["without a preference"]["first"] == ["do 3"]
  stored = (data / "run/evals/eval/alpaca_eval.jsonl").read_text().splitlines()
  assert len(stored) == COUNT - 1 and json.loads(stored[0])["judge"] == "j"


def test_stored_answers_are_judged_at_an_endpoint(data, capsys):
  say = lambda name, tries: {"content": "m" if name.index("mine!!") < name.index("base") else "M", "tokens": 7}
  with server.serving(say) as there:
    asked = ["eval", "--suite", "alpaca_eval", "--responses", str(data / "mine.json"), "--judge", there.url]
    asked += ["--judge_model", "big", "--judge_journal", str(data / "judge.jsonl")]
    assert cli.main([*asked, "--judge_requests", "5"]) == 1
    assert re.search(r"the budget is spent \(5 requests, \d+ tokens\) before request", capsys.readouterr().err)
    assert cli.main(asked) == 0
    found = last(capsys)
    assert len(there.bodies) == 2 * COUNT, "what was paid for is not asked again"
    assert cli.main(asked) == 0 and last(capsys) == found and len(there.bodies) == 2 * COUNT
  assert (
    found["win_rate"] == 100
    and found["length_controlled_minimal"] is None  # not a number; JSON has no word for that
    and found["position_consistency"] == 100
    and found["first_position_rate"] == 50
  )
  assert len(found["judge"]) == 16 and "judge_faults" not in found and found["n"] == COUNT


PANEL = """
[[judge]]
url = "{url}"
model = "one"

[[judge]]
url = "{url}"
model = "two"
temperature = 0.7
repeats = 2
"""


def test_a_panel_from_a_file_judges_stored_answers(data, capsys):
  say = lambda name, tries: {"content": "m" if name.index("mine!!") < name.index("base") else "M", "tokens": 7}
  with server.serving(say) as there:
    (data / "panel.toml").write_text(PANEL.format(url=there.url))
    asked = ["eval", "--suite", "alpaca_eval", "--responses", str(data / "mine.json"), "--out", str(data / "out")]
    asked += ["--judge", str(data / "panel.toml")]
    assert cli.main(asked) == 0
    found = last(capsys)
    assert len(there.bodies) == 3 * 2 * COUNT and found["win_rate"] == 100
    assert found["judge_alpha"] == pytest.approx(100.0)  # in percent, as all figures of one benchmark are
    assert cli.main(asked) == 0 and len(there.bodies) == 3 * 2 * COUNT, "what was paid for is not asked again"
  assert sorted(path.name for path in (data / "out").glob("judge*")) == ["judge-2.jsonl", "judge.jsonl"]
  row = json.loads((data / "out/alpaca_eval.jsonl").read_text().splitlines()[0])
  assert row["judge_name"] == "one, two, 1, two, 2" and row["votes"] == [[1, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize(
  ("text", "says"),
  [
    ('[[judge]]\nurl = "u"\nmodel = "m"\n', "a panel is two judges or more"),
    ("judge = 3\n", "a panel is two judges or more"),
    ('prompt = "x"\n' + PANEL, "prompt is no part of a panel"),
    (PANEL + "temprature = 1.0\n", "judge 2: no key is called 'temprature'; did you mean temperature"),
    (PANEL.replace("0.7", '"warm"'), "judge 2: temperature is float, not 'warm'"),
    (PANEL.replace("0.7", "nan"), "judge 2: Judge.temperature = nan"),
    (PANEL.replace("0.7", "-1.0"), "judge 2: Judge.temperature = -1"),
    (PANEL.replace("0.7", "0.0"), "judge 2: Judge.repeats = 2, at temperature 0"),
    (PANEL.replace('model = "one"', ""), "judge 1: an endpoint has a url and a model"),
    (PANEL.replace('"two"', '"one"'), "two judges are called the same"),
    (PANEL + "[[judge]]\n", "judge 3: it has no url, and stored answers have no model"),
    (PANEL + 'by = "scores"\n', "judge 2: by = 'scores' is of the model on the mesh"),
    (PANEL + 'by = "ear"\n', "judge 2: Judge.by"),
  ],
)
def test_a_file_that_is_no_panel_is_refused(data, capsys, text, says):
  (data / "panel.toml").write_text(text.format(url="http://h/v1"))
  flags = ["--suite=alpaca_eval", f"--responses={data / 'mine.json'}", f"--judge={data / 'panel.toml'}"]
  assert cli.main(["eval", *flags]) == 2
  error = capsys.readouterr().err.strip()
  assert "panel.toml" in error and says in error, error


@pytest.mark.parametrize(
  ("flags", "says"),
  [
    (
      ["--suite=alpaca_eval", "--responses=x", "--judge=p.toml", "--judge_model=m"],
      "whose file says what --judge_model",
    ),
    (["--suite=mt_bench", "--annotations=x"], "--annotations are of one benchmark: --suite alpaca_eval"),
    (["--suite=alpaca_eval", "--responses=x", "--judge=self"], "stored answers .--responses. have no model"),
    (["--suite=alpaca_eval", "--responses=x", "--judge_model=m"], "no --judge, which --judge_model would be about"),
    (["--suite=alpaca_eval", "--responses=x", "--judge=http://h/v1"], "name its model .--judge_model."),
    (["--suite=alpaca_eval", "--base=x", "--judge=self", "--judge_tokens=3"], "--judge_tokens is about an endpoint"),
    (["--gin_file=tiny_lora.gin", "--judge=self"], "--judge is for published benchmarks"),
    (["--suite=alpaca_eval", "--responses=x", "--difficulty=d"], "--difficulty is of --annotations"),
    (["--suite=alpaca_eval", "--annotations=/none.json"], "/none.json: no such file"),
    (["--suite=alpaca_eval", "--responses=x"], "alpaca_eval is judged: say by whom"),
  ],
)
def test_flags_that_do_not_go_together_are_one_line(data, capsys, flags, says):
  assert cli.main(["eval", *flags]) == 2
  error = capsys.readouterr().err.strip()
  assert re.search(says, error), error


def test_runs_of_two_judges_are_compared_and_it_is_said(data, capsys):
  """A model and its judges at one endpoint; the second judge finds the other answer better more often."""

  def say(name, tries):
    if "Best Model Identifier" not in name:
      return {"content": f"mine!! {name}" * (1 + int(name.split()[-1]) % 3)}
    return {"content": "m" if name.index("mine!!") < name.index("base") else "M", "tokens": 7}

  with server.serving(say) as there:
    for judge in ("one", "two"):
      asked = ["eval", "--suite", "alpaca_eval", "--responder", there.url, "--responder_model", "small"]
      asked += ["--judge", there.url, "--judge_model", judge, "--out", str(data / judge), "--limit", "10"]
      assert cli.main(asked) == 0
      found = last(capsys)
      assert found["alpaca_eval/win_rate"] == 1 and len(found["alpaca_eval/judge"]) == 16
      assert (data / judge / "judge.jsonl").exists()
    before = len(there.bodies)
    assert cli.main(asked) == 0 and len(there.bodies) == before, "what is done is not asked again"
  capsys.readouterr()
  assert cli.main(["compare", str(data / "one"), str(data / "two"), "--out", str(data / "page")]) == 0
  out = capsys.readouterr()
  assert re.search(r"judge differs: \w{16}", out.out + out.err), out
  key = json.loads((data / "one/alpaca_eval.key").read_text())
  assert key["settings"]["judge"]["responder"]["model"] == "one" and "Bearer" not in json.dumps(key)


def test_stored_answers_of_two_turns_are_rated_by_the_judge_of_a_part(data, capsys):
  """`gin_configs/evals/mt_bench.gin` on FastChat's `model_answer`; one question has no answer."""
  folder = data / "mt_bench"
  folder.mkdir()
  lines = lambda rows: "".join(json.dumps(row) + "\n" for row in rows)
  asked = [{"question_id": i, "category": "stem", "turns": [f"first {i}", f"second {i}"]} for i in range(3)]
  (folder / "question.jsonl").write_text(lines(asked))
  (folder / "reference_answer_gpt-4.jsonl").write_text("")
  said = [{"question_id": i, "choices": [{"index": 0, "turns": [f"one {i}", f"two {i}"]}]} for i in (0, 2, 7)]
  (data / "said.jsonl").write_text(lines(said))
  rate = lambda name, tries: {"content": "Rating: [[8]]" if "two 2" in name else "Rating: [[5]]"}
  with server.serving(rate) as there:
    flags = ["--gin_file=evals/mt_bench.gin", f"--gin.http.HttpResponder.url='{there.url}'"]
    assert cli.main(["eval", *flags, f"--responses={data / 'said.jsonl'}"]) == 0
    said = {body["messages"][-1]["content"] for body, _ in there.bodies}
  found = last(capsys)
  assert found["score"] == (3 * 5 + 8) / 4 and found["score_turn_2"] == 6.5 and found["unread"] == 0
  assert (found["n"], found["of"], found["missing"], found["unmatched"]) == (2, 3, 1, 1)
  assert len(said) == 4 and any("first 2" in one and "two 2" in one for one in said)
