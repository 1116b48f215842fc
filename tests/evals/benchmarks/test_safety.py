"""Benchmarks of safety on made-up files: what is asked, verdicts by rules and judge, what is refused."""

import csv
import json
import math

import pytest

from itune_jax.core import errors
from itune_jax.evals import judged
from itune_jax.evals.benchmarks import registry
from tests.evals.benchmarks import said
from tests.evals.benchmarks.said import measured

COLUMNS = ("Behavior", "FunctionalCategory", "SemanticCategory", "Tags", "ContextString", "BehaviorID")


def table(path, columns, rows):
  path.parent.mkdir(parents=True, exist_ok=True)
  with open(path, "w", newline="") as f:
    csv.writer(f).writerows([columns, *rows])


def lines(path, rows):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def judge(says):
  return judged.Judge(responder=said.Said(says), name="made up")


@pytest.fixture
def behaviours(tmp_path):
  rows = [
    ("Do a", "standard", "illegal", "", "", "a"),
    ("Do b", "contextual", "illegal", "context", "It is so.", "b"),
    ("Sing c", "copyright", "copyright", "lyrics, hash_check", "", "c"),
  ]
  table(tmp_path / "harmbench" / "harmbench_behaviors_text_all.csv", COLUMNS, rows)
  return tmp_path


def test_harmbench(behaviours):
  """Three behaviours: one refused and judged so, one refused in the judge's eyes alone, one that no judge may judge."""
  answers = {"Do a": "I cannot do that.", "It is so.\n\n---\n\nDo b": "Here it is.", "Sing c": "La la."}
  figures, found = measured(behaviours, "harmbench", said.Said(answers.get))
  assert figures["refusal"] == pytest.approx(1 / 3) and set(found.rows[0]["tags"]) == {"kind", "category"}
  assert all(row["harmful"] for row in found.rows)
  other = judge(lambda text: "no")
  figures, found = measured(behaviours, "harmbench", said.Said(answers.get), judge=other)
  assert figures["attack_success"] == 0 and figures["refusal_judge"] == 1 and figures["disagreement"] == 0.5
  assert [row["values"]["attack_success"] for row in found.rows] == [0, 0, None]
  assert "[CONTEXT]:\nIt is so." in other.responder.asked[1] and "Behavior:\nDo a" in other.responder.asked[0]
  assert "not_judged" in found.rows[2] and len(other.responder.asked) == 2


def test_a_judge_that_refuses_is_counted(behaviours):
  says = lambda text: "I'm sorry, I can't look at this." if "Do a" in text else "Perhaps."
  figures, found = measured(behaviours, "harmbench", said.Said(lambda text: "Fine."), judge=judge(says))
  assert figures["unread"] == 1 and figures["judge_refused"] == 0.5 and math.isnan(figures["attack_success"])
  assert judged.faults(found) == {"refused": 1, "unparsed": 1}


def test_templates_are_put_around_behaviours(behaviours):
  _, found = measured(behaviours, "harmbench", said.Said(lambda text: "Sure, here is"), variant="all")
  variants = registry.find("harmbench").variants
  assert len(found.rows) == 3 * (len(variants) - 1) and len({row["prompt"] for row in found.rows}) == len(found.rows)
  assert {row["cluster"] for row in found.rows} == {"a", "b", "c"}
  by_template = {one.tag for one in found.results if one.tag.startswith("template=")}
  assert by_template == {f"template={name}" for name in variants if name != "all"}


def test_strong_reject(tmp_path):
  table(
    tmp_path / "strongreject" / "strongreject_dataset.csv",
    ("category", "source", "forbidden_prompt"),
    [("Violence", "x", "Do it"), ("Violence", "x", "Do more")],
  )
  says = lambda text: f"#scores\n1.a it\n1.b {int('more' in text)}\n2.a so\n2.b 5\n3.a so\n3.b 3\n"
  figures, _ = measured(tmp_path, "strong_reject", said.Said(lambda text: "Well."), judge=judge(says))
  assert figures["strong_reject"] == 0.375 and figures["refusal_judge"] == 0.5 and figures["disagreement"] == 0.5


def test_xstest(tmp_path):
  rows = [(1, "Kill a process?", "homonyms", "safe"), (2, "Kill it?", "contrast_homonyms", "unsafe")]
  table(tmp_path / "xstest" / "xstest_prompts.csv", ("id", "prompt", "type", "label"), rows)
  figures, found = measured(tmp_path, "xstest", said.Said(lambda text: " SORRY, no"))
  assert figures["over_refusal"] == 1 and figures["under_refusal"] == 0
  assert [row.get("harmful", False) for row in found.rows] == [False, True]
  says = lambda text: "3_partial_refusal" if "process" in text else "1_full_compliance"
  figures, _ = measured(tmp_path, "xstest", said.Said(lambda text: "Sorry"), judge=judge(says))
  assert figures["over_refusal_judge"] == figures["under_refusal_judge"] == 1 and figures["partial_judge"] == 0.5
  table(tmp_path / "xstest" / "xstest_prompts.csv", ("id", "prompt", "type", "label"), [(1, "K", "homonyms", "maybe")])
  with pytest.raises(errors.InputError, match="row 1: 'label' is 'maybe': safe or unsafe"):
    measured(tmp_path, "xstest", said.Said())


def bbq_row(number, polarity, condition, label):
  info = {"ans0": ["grandfather", "old"], "ans1": ["grandson", "nonOld"], "ans2": ["Not known", "unknown"]}
  return {
    "example_id": number, "question_index": "1", "question_polarity": polarity, "context_condition": condition,
    "category": "Age", "answer_info": info, "additional_metadata": {"stereotyped_groups": ["old"]},
    "context": f"They met. {condition}", "question": f"Who is slow? {polarity}",
    "ans0": "The grandfather", "ans1": "The grandson", "ans2": "Not known", "label": label,
  }  # fmt: skip


def test_bbq(tmp_path):
  """Who always says the grandfather is biased in negative questions, and against it in the others."""
  rows = [bbq_row(0, "neg", "ambig", 2), bbq_row(1, "nonneg", "ambig", 2), bbq_row(2, "neg", "disambig", 0)]
  lines(tmp_path / "bbq" / "Age.jsonl", rows)
  old = said.Said(scores=lambda text, choice: 0.0 if choice in (" The grandfather", " (a)") else -1.0)
  for variant in ("text", "letter", "unknowns"):
    figures, found = measured(tmp_path, "bbq", old, variant=variant)
    assert figures == {
      "acc": pytest.approx(1 / 3), "acc_ambig": 0, "acc_disambig": 1, "bias_ambig": 0, "bias_disambig": 1
    }  # fmt: skip
  assert [row["biased"] for row in found.rows] == [0, 1, 0] and {row["cluster"] for row in found.rows} == {"Age/1"}
  cannot = said.Said(scores=lambda text, choice: 0.0 if choice == " Cannot answer" else -1.0)
  assert measured(tmp_path, "bbq", cannot, variant="unknowns")[0]["acc_ambig"] == 1
  figures, found = measured(tmp_path, "bbq", said.Said(lambda text: "the grandson."), variant="race")
  assert [row["read"] for row in found.rows] == [1, 1, 1] and figures["bias_disambig"] == -1
  assert found.rows[0]["prompt"] == (
    "Who is slow? neg\n(a) The grandfather (b) The grandson (c) Not known\nThey met. ambig"
  )
  table(
    tmp_path / "bbq" / "additional_metadata.csv",
    ("category", "example_id", "target_loc", "label_type"),
    [("Age", 0, 1, "name"), ("Age", 1, "NA", "label"), ("Age", 2, 0, "label")],
  )
  figures, found = measured(tmp_path, "bbq", old)
  assert [row["biased"] for row in found.rows] == [1, None, 0] and figures["bias_ambig"] == -1
  assert {row["tags"]["category"] for row in found.rows} == {"Age", "Age (names)"}
  lines(tmp_path / "bbq" / "Age.jsonl", [{**bbq_row(0, "neg", "ambig", 2), "answer_info": {"ans0": ["x"]}}])
  with pytest.raises(errors.InputError, match=r"Age.jsonl:1: 'answer_info' must hold two texts"):
    measured(tmp_path, "bbq", old)


def test_toxicity(tmp_path):
  rows = [{"prompt": {"text": "You are", "toxicity": 0.9}}, {"prompt": "It is"}]
  lines(tmp_path / "toxicity" / "prompts.jsonl", rows)
  drawn = said.Said(lambda text: ["a dolt", "fine"] if "You" in text else ["fine", "Doltish"])
  with pytest.raises(errors.InputError, match="nobody says what is toxic"):
    measured(tmp_path, "toxicity", drawn, samples=2)
  (tmp_path / "toxicity" / "words.txt").write_text("dolt\n\nbig oaf\n")
  figures, found = measured(tmp_path, "toxicity", drawn, samples=2)
  assert figures["expected_max_toxicity"] == figures["toxicity_probability"] == 0.5
  assert found.rows[0]["words"] == [["dolt"], []] and found.rows[0]["tags"] == {"prompt": "toxic"}
  rated = judge(lambda text: "1" if "fine" in text else "I'm sorry, I won't." if "tish" in text else "3")
  figures, found = measured(tmp_path, "toxicity", drawn, samples=2, judge=rated)
  assert figures["expected_max_toxicity"] == 0.5 and figures["judge_refused"] == 0.25
  assert found.rows[1]["judge_faults"] == {"refused": 1}


def test_sycophancy(tmp_path):
  columns = ("Type", "Category", "Question", "Best Answer", "Correct Answers", "Incorrect Answers")
  table(tmp_path / "truthfulqa" / "TruthfulQA.csv", columns, [("A", "x", "Is it?", "Yes", "Yes; Sure", "No; Never")])
  asked = lambda text, choice: 0.0 if ("No." in text) == (choice == "No.") else -1.0  # repeats the user's opinion
  figures, _ = measured(tmp_path, "sycophancy", said.Said(scores=asked))
  assert figures["acc_plain"] == 1 and figures["acc_wrong"] == 0 and figures["flipped"] == figures["swayed"] == 1
  assert measured(tmp_path, "sycophancy", said.Said())[0]["acc_plain"] == 0, "a tie is wrong"


def test_extraction(tmp_path):
  rows = [{"text": " ".join(f"w{k}.{i}" for i in range(71))} for k in range(2)]
  rows[1]["text"] = rows[1]["text"].replace("w1.40", "ann@example.org").replace("w1.41", "+44 20 7946 0958")
  lines(tmp_path / "extraction" / "rows.jsonl", [*rows, {"text": "too short"}])
  lines(tmp_path / "extraction" / "control.jsonl", [{"messages": [{"content": "x " * 40}, {"content": "y " * 40}]}])
  known = {row["text"].split()[0]: row["text"] for row in rows}
  goes_on = lambda text: (known.get(text.split()[0], "")[len(text) :]).replace("w1.60", "lost")
  figures, found = measured(tmp_path, "extraction", said.Said(goes_on), variant="words_20")
  by_split = {(one.metric, one.tag): one.value for one in found.results}
  assert by_split["exact", "split=trained"] == 0.5 and by_split["exact", "split=control"] == 0
  assert by_split["overlap", "split=trained"] == pytest.approx((1 + 43 / 50) / 2)
  assert figures["pii"] == 1 and [one[0] for one in found.rows[1]["given_away"]] == ["email", "phone"]


@pytest.mark.parametrize("name", ["harmbench", "strong_reject", "xstest", "advbench"])
def test_a_damaged_table_is_named(tmp_path, name):
  file = registry.find(name).files[0].partition("|")[0]
  (tmp_path / name).mkdir()
  (tmp_path / name / file).write_text("a,b\n1,2,3\n")
  with pytest.raises(errors.InputError, match="row 1: has 3 cells, the header 2"):
    measured(tmp_path, name, said.Said())
  (tmp_path / name / file).write_text("a,b\n1,2\n")
  with pytest.raises(errors.InputError, match="row 1: '.*' is empty or lacks; its columns are 'a', 'b'"):
    measured(tmp_path, name, said.Said())
