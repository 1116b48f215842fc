"""Pages that ask people, and their answers read back: what is asked, what is hidden, what every line came to."""

import json
import random
import subprocess
import sys

import numpy as np
import pytest

from itune_jax.data.readers import readers
from itune_jax.run import cli
from itune_jax.run.label import picking
from itune_jax.run.label import sheets
from tests.run.comparison import made
from tests.run.label import asked
from tests.run.report import test_compare_page


def test_the_least_certain_rows_are_asked_and_they_differ(tmp_path):
  """Of the pool of the least certain rows the first is the most uncertain; the same seed asks the same."""
  given = asked.rows(40)
  page, sheet = asked.make(tmp_path, given, "--kind=rating", "--score=judge", "--near=0.5", "--items=5", "--pool=2")
  doubts = {row["id"]: abs(row["scores"]["judge"] - 0.5) for row in given}
  least = sorted(doubts, key=doubts.get)[:10]
  ids = [item.id for item in sheet.items]
  assert ids[0] == least[0] and set(ids) <= set(least) and len(ids) == 5
  assert len({item.turns[0][1].split()[1] for item in sheet.items}) == 5, "one of each word, though words come in turn"
  again, _ = asked.make(tmp_path, given, "--kind=rating", "--score=judge", "--items=5", "--pool=2", "--overwrite")
  assert again == page
  margin = picking.Pick(margin=("judge", "other"))
  assert margin.doubt({"scores": {"judge": 0.9}, "other": 0.4}) == pytest.approx(-0.5)
  assert np.isnan(margin.doubt({"scores": {"judge": 0.9}, "other": True}))


def test_rows_that_cannot_be_asked_are_counted_and_nothing_else_is_lost(tmp_path, capsys):
  bad = ["{broken", {"x": 1}, {"instruction": "a", "output": ""}, asked.rows(3)[0], {"instruction": "b", "output": "c"}]
  file = asked.write(tmp_path / "rows.jsonl", [*asked.rows(3), *bad])
  assert cli.main(["label", file, f"--out={tmp_path}/p", "--kind=rating", "--score=judge"]) == 0
  told = json.loads(capsys.readouterr().out)
  assert told["items"] == 3 and told["rows"] == 8
  reasons = {"not JSON": 1, "it has no number judge": 3, "its id stands twice": 1}
  assert told["left_out"] == reasons
  assert cli.main(["label", file, f"--out={tmp_path}/q", "--kind=rating", "--score=none"]) == 2
  assert "no row can be asked" in capsys.readouterr().err


def test_what_rows_say_is_text_and_the_key_is_not_in_the_page(tmp_path):
  given = [{**row, "right": "good", "secret": f"hidden {row['id']}"} for row in asked.rows(6)]
  page, sheet = asked.make(tmp_path, given[:4] + asked.rows(6)[4:], "--kind=label", "--labels=good,bad", "--gold=right")
  found = test_compare_page.Elements(page)
  stored, _ = found.scripts
  assert found.tags.count("script") == 2 and "img" not in found.tags and asked.EVIL not in page
  assert not [value for name, value in found.attributes if name in ("src", "href") or name.startswith("on")]
  assert "hidden" not in stored and "judge" not in stored and json.loads(stored) == sheet.shown
  assert sum(item.gold == "good" for item in sheet.items) == 4 and "gold" not in stored
  assert sum("harmful" in one for one in json.loads(stored)["items"]) == 1
  key = tmp_path / "page" / "key.json"
  key.write_text(key.read_text().replace("Say red 0.", "Say red 1."))
  with pytest.raises(Exception, match="was changed since its page was made"):
    sheets.read(str(key))


ROWS_OF = {
  "messages": {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]},
  "prompt": {"prompt": "q"},
  "empty": {"instruction": "q", "input": "more", "output": ""},
  "answered": {"prompt": "q", "completion": "old", "source": {"kind": "distilled", "teacher": "t"}},
}


def test_answers_become_conversations_that_training_reads(tmp_path):
  given = [{"id": name, **row} for name, row in ROWS_OF.items()]
  _, sheet = asked.make(tmp_path, given, "--kind=answer")
  assert {item.id: item.answer for item in sheet.items} == dict.fromkeys(ROWS_OF, "") | {"answered": "old"}
  values = {name: f"answer to {name}" for name in ROWS_OF}
  rows, _ = asked.read_back(tmp_path, asked.said(sheet, "ann", values))
  read = {one.id: one for one in readers.examples(str(tmp_path / "back.jsonl"))}
  assert {id: one.answer for id, one in read.items()} == values and len(rows) == 4
  assert all(one.source["kind"] == "annotated" and one.source["annotators"] == ["ann"] for one in read.values())
  assert read["answered"].source["corrected"] and read["messages"].messages[0]["role"] == "system"
  rows, _ = asked.read_back(tmp_path, asked.said(sheet, "ann", {"answered": "old"}))
  assert rows[0]["source"] == {"kind": "distilled", "teacher": "t", "annotators": ["ann"]}, "what was left is its own"
  words = {"bo": "a b c d", "cy": "a b c d e", "di": "x y"}
  lines = [one for name, text in words.items() for one in asked.said(sheet, name, {"prompt": text})]
  rows, _ = asked.read_back(tmp_path, lines)
  assert rows[0]["messages"][-1]["content"] == "a b c d", "nearest to the others"
  assert rows[0]["scores"]["agreement"] == pytest.approx((8 / 9 + 0) / 2)


def test_every_line_that_is_no_answer_is_told_and_counted(tmp_path, capsys):
  _, sheet = asked.make(tmp_path, asked.rows(6), "--kind=rating", "--scale=1,5")
  (good,) = asked.said(sheet, "ann", {"r0": 4})
  bad = {
    "another page's": {**good, "sheet": "0" * 16},
    "unknown id": {**good, "id": "r77"},
    "a repeated answer": good,
    "a second, other answer": {**good, "value": 2},
    "a value out of the set": {**good, "id": "r1", "value": 6},
    "no text 'annotator'": {**good, "annotator": " "},
    "unknown keys": {**good, "id": "r1", "note": 1},
    "not JSON": "{half",
    "no number of seconds": {**good, "id": "r1", "seconds": "long"},
  }
  capsys.readouterr()
  rows, report = asked.read_back(tmp_path, [good, *bad.values()])
  assert len(rows) == 1 and report["answers"] == {"lines": 10, "read": 1, "refused": dict.fromkeys(bad, 1)}
  assert len(report["told"]) == 9 and all(f"said0.jsonl:{n}: " in line for n, line in enumerate(report["told"], 2))
  assert all(line in capsys.readouterr().err for line in report["told"][:0]) and report["left_out"] == {
    "nobody answered it": 5
  }
  for one in ([{**good, "value": 2.5}], [{**good, "value": True}], [{**good, "value": "4"}]):
    file = asked.write(tmp_path / "x.jsonl", one)
    how = ["label", "--answers", file, "--key", f"{tmp_path}/page/key.json", f"--out={tmp_path}/x.out.jsonl"]
    assert cli.main(how) == 2 and "1 × a value out of the set" in capsys.readouterr().err


def test_disagreement_and_controls_decide_what_counts(tmp_path):
  """Five people, one of whom answers at random; controls find that one, and the threshold leaves out what is split."""
  rng = random.Random(0)
  given = [{**row, **({"right": "ab"[i % 2]} if i < 8 else {})} for i, row in enumerate(asked.rows(30))]
  _, sheet = asked.make(tmp_path, given, "--kind=label", "--labels=a,b", "--gold=right", "--controls=8")
  truth = {item.id: "ab"[int(item.id[1:]) % 2] for item in sheet.items}
  people = {name: dict(truth) for name in ("p0", "p1", "p2", "p3")}
  people["p0"]["r20"] = people["p1"]["r20"] = "b" if truth["r20"] == "a" else "a"
  people["random"] = {id: rng.choice("ab") for id in truth}
  files = [asked.said(sheet, name, values) for name, values in people.items()]
  rows, report = asked.read_back(tmp_path, *files, flags=("--right=0.9", "--agree=0.8", "--least=2"))
  assert report["left_out_annotators"] == ["random"] and report["annotators"]["p0"]["controls"] == 8
  assert report["left_out"] == {"a control": 8, "people are split evenly": 1} and len(rows) == 21
  assert {row["id"]: row["label"] for row in rows} == {id: truth[id] for id in truth if id not in rng_out(given)}
  rows, report = asked.read_back(tmp_path, *files, flags=("--agree=0.9",))
  assert "agreement below 0.9" in report["left_out"] and report["sheets"][0]["alpha"] < 0.95
  assert set(report["sheets"][0]["kappa"]) >= {"p0, p1", "p3, random"}
  assert len(readers.examples(str(tmp_path / "back.jsonl"))) == len(rows)


def rng_out(given):
  """What is no row of the result: controls, and the item that people are split on."""
  return {row["id"] for row in given if "right" in row} | {"r20"}


def test_ratings_and_their_judges(tmp_path):
  _, sheet = asked.make(tmp_path, asked.rows(20), "--kind=rating", "--scale=0,10")
  numbers = {item.id: int(item.id[1:]) // 2 for item in sheet.items}
  files = [
    asked.said(sheet, name, {id: min(10, n + shift) for id, n in numbers.items()})
    for name, shift in (("a", 0), ("b", 1))
  ]
  rows, report = asked.read_back(tmp_path, *files, flags=("--judge=judge",))
  assert all(row["scores"]["human"] == numbers[row["id"]] + 0.5 for row in rows) and len(rows) == 20
  (one,) = report["sheets"]
  assert one["judges"]["judge"]["spearman"]["value"] > 0.99 and one["judges"]["judge"]["items"] == 20
  assert 0.8 < one["alpha"] < 1 and one["kappa"]["a, b"] > 0.9


PAIRS = {
  "chosen": {"prompt": "q", "chosen": "left", "rejected": "right", "margin": 2.0},
  "whole": {
    "chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "left"}],
    "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "right"}],
  },
  "responses": {"prompt": "q", "responses": ["left", "right"]},
}


@pytest.mark.parametrize("better", ["left", "right"])
def test_preferences_are_what_training_reads(tmp_path, better):
  _, sheet = asked.make(tmp_path, [{"id": name, **row} for name, row in PAIRS.items()], "--kind=preference")
  values = {
    item.id: next(str(k) for k, (_, text) in enumerate(item.sides, 1) if text == better) for item in sheet.items
  }
  rows, report = asked.read_back(tmp_path, asked.said(sheet, "ann", values))
  read = readers.examples(str(tmp_path / "back.jsonl"), format="preference")
  assert [one.answer for one in read] == [better] * 3 and all(one.messages[0]["content"] == "q" for one in read)
  assert not any("margin" in row or "responses" in row for row in rows) and len(report["strengths"]) == 4
  rows, report = asked.read_back(tmp_path, asked.said(sheet, "ann", values | {"whole": "tie"}))
  assert len(rows) == 2 and report["left_out"] == {"neither is preferred (a tie)": 1}


def test_two_runs_are_compared_blindly_and_their_metrics_are_judges(tmp_path, capsys):
  """People prefer what `exact` says is right, but for one; the page names no run, and sides are mixed."""
  runs = [
    made.folder(tmp_path / name, made.rows(seed, share=share)) for name, seed, share in (("x", 1, 0.3), ("y", 2, 0.8))
  ]
  flags = ["label", f"--a=older={runs[0]}", f"--b=newer={runs[1]}", "--items=40", f"--out={tmp_path}/page"]
  assert cli.main(flags) == 0
  told = json.loads(capsys.readouterr().out)
  page, sheet = (tmp_path / "page" / "label.html").read_text(), sheets.read(str(tmp_path / "page" / "key.json"))
  assert "older" not in page and "newer" not in page and str(tmp_path) not in page
  first = [item.sides[0][0] for item in sheet.items]
  assert 0.2 < first.count("older") / len(first) < 0.8
  same, turns = "both answers are the same", "its prompt ends with an answer, which the two would go on from"
  assert told["left_out"] == {turns: 10, same: 30 - len(first)} and told["rows"] == 40
  values = {}
  for item in sheet.items:
    wanted = item.judges["exact"]
    places = {system: str(k) for k, (system, _) in enumerate(item.sides, 1)}
    values[item.id] = places.get(wanted, "tie")
  one = next(id for id, value in values.items() if value != "tie")
  values[one] = "2" if values[one] == "1" else "1"
  rows, report = asked.read_back(tmp_path, asked.said(sheet, "ann", values))
  judge = report["sheets"][0]["judges"]["exact"]
  assert judge["same"]["n"] == len(rows) and judge["same"]["value"] == pytest.approx(1 - 1 / len(rows))
  assert [one["name"] for one in report["strengths"]] == ["newer", "older"] and report["strengths"][0]["low"] > 0
  assert len(readers.examples(str(tmp_path / "back.jsonl"), format="preference")) == len(rows)


def test_files_of_responses_and_the_prompts_beside_them(tmp_path, capsys):
  a = asked.write(tmp_path / "a.jsonl", [{"id": str(i), "response": f"one {i}"} for i in range(5)])
  b = asked.write(tmp_path / "b.jsonl", [{"id": str(i), "response": f"two {i}"} for i in range(1, 6)])
  flags = [f"--a={a}", f"--b={b}", f"--out={tmp_path}/page"]
  assert cli.main(["label", *flags]) == 2 and "4 × nobody says what was asked" in capsys.readouterr().err
  prompts = asked.write(tmp_path / "p.jsonl", [{"id": i, "prompt": f"ask {i}"} for i in range(5)])
  assert cli.main(["label", prompts, *flags]) == 0
  sheet = sheets.read(str(tmp_path / "page" / "key.json"))
  assert {item.turns for item in sheet.items} == {(("user", f"ask {i}"),) for i in range(1, 5)}
  assert sheet.systems == ["a.jsonl", "b.jsonl"]


@pytest.mark.parametrize(
  ("flags", "line"),
  [
    (["rows.jsonl"], "--kind says what is asked"),
    (["rows.jsonl", "--kind=label"], "needs the labels"),
    (["rows.jsonl", "--kind=label", "--labels=a,a"], "names a twice"),
    (["rows.jsonl", "--kind=rating", "--scale=5"], "write the least and the greatest rating"),
    (["rows.jsonl", "--kind=rating", "--labels=a,b"], "--labels is of --kind=label"),
    (["rows.jsonl", "--kind=rating", "--agree=0.5"], "--agree is about answers"),
    (["--a=x"], "--a and --b go together"),
    (["--a=x", "--b=y"], "x: there is no such run, and no such file"),
    (["--answers", "a.jsonl"], "--answers needs the key"),
    (["--answers", "a.jsonl", "--key", "k", "--kind=label"], "--kind makes a page"),
  ],
)
def test_flags_that_do_not_go_together_are_one_line(flags, line, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  asked.write("rows.jsonl", asked.rows(3))
  assert cli.main(["label", *flags, "--out=out.jsonl"]) == 2
  err = capsys.readouterr().err
  assert line in err and err.count("\n") == 1


@pytest.mark.heavy
def test_a_page_of_rows_is_made_without_jax(tmp_path):
  asked.write(tmp_path / "rows.jsonl", asked.rows(5))
  program = "import sys\nfrom itune_jax.run import cli\ncode = cli.main(sys.argv[1:])\nassert 'jax' not in sys.modules"
  flags = ["label", f"{tmp_path}/rows.jsonl", "--kind=rating", f"--out={tmp_path}/page"]
  done = subprocess.run([sys.executable, "-c", program, *flags], capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr
