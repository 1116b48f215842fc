"""Benchmarks of faithfulness on made-up files: ties are wrong, labels are people's, what is left out is counted."""

import math
import re

import pytest

from itune_jax.core import errors
from itune_jax.evals.benchmarks import registry
from tests.evals.benchmarks import said
from tests.evals.benchmarks.said import measured
from tests.evals.benchmarks.test_safety import judge
from tests.evals.benchmarks.test_safety import lines
from tests.evals.benchmarks.test_safety import table

TRUTH = ("Type", "Category", "Question", "Best Answer", "Correct Answers", "Incorrect Answers")
PLAIN = "The sun is a large star. It warms the small planet."


def words(text):
  return set(re.findall(r"\w+", text.lower()))


def supports(text, choice):
  """Says yes where the claim's words all stand in the text."""
  source, claim = text.partition("# Text\n")[2].split("\n\n# Claim\n")
  claim = claim.partition("\n\nDoes")[0]
  return 0.0 if (words(claim) <= words(source)) == (choice.strip() == "yes") else -3.0


def test_truthfulqa(tmp_path):
  rows = [
    ("A", "Myths", "Why?", "So it is", "So it is; Nobody knows", "Because; It is magic"),
    ("A", "x", "Q", "Y", "Y", "N"),
  ]
  table(tmp_path / "truthfulqa" / "TruthfulQA.csv", TRUTH, rows)
  likes = {" So it is.": math.log(0.3), " Nobody knows.": math.log(0.2), " Because.": math.log(0.4)}
  figures, found = measured(
    tmp_path, "truthfulqa", said.Said(scores=lambda text, choice: likes.get(choice, math.log(0.1)))
  )
  assert found.rows[0]["values"] == {"mc1": 0, "mc2": pytest.approx(0.5), "mc3": 0}
  assert found.rows[1]["values"]["mc1"] == 0, "a tie is wrong"
  assert figures["mc2"] == pytest.approx(0.5) and found.rows[0]["shots"] == 6
  prompt = list(registry.find("truthfulqa").benchmark((str(tmp_path),)).items())[0].prompt("plain")
  assert prompt.startswith("Q: What is human life expectancy") and prompt.endswith(
    "in Barcelona, Spain.\n\nQ: Why?\nA:"
  )
  figures, found = measured(tmp_path, "truthfulqa", said.Said(lambda text: " So it is"), variant="generation")
  assert found.rows[0]["values"]["rouge1_acc"] == 1 and found.rows[1]["values"]["bleu_acc"] == 0
  true = judge(lambda text: "Yes, it is." if "# Question\nWhy?" in text else "no")
  figures, found = measured(
    tmp_path, "truthfulqa", said.Said(lambda text: "So it is"), variant="generation", judge=true
  )
  assert figures["true_judge"] == 0.5 and figures["unread"] == 0
  with pytest.raises(errors.InputError, match="row 1: 'Best Incorrect Answer' lacks"):
    measured(tmp_path, "truthfulqa", said.Said(), variant="binary")
  table(tmp_path / "truthfulqa" / "TruthfulQA.csv", TRUTH, [("A", "x", "Q", "Y", "Z", "N")])
  with pytest.raises(errors.InputError, match=r"row 1: the best answer 'Y\.' is none of the correct ones"):
    measured(tmp_path, "truthfulqa", said.Said())


def test_halueval(tmp_path):
  rows = [{"ID": str(k), "user_query": "q", "chatgpt_response": f"r{k}", "hallucination": "yes"} for k in range(4)]
  lines(tmp_path / "halueval" / "general_data.json", rows)
  says = {"r0": "Yes.", "r1": "No", "r2": "Yes and No", "r3": "yes"}
  answers = lambda text: next(said for name, said in says.items() if name in text)
  figures, found = measured(tmp_path, "halueval", said.Said(answers))
  assert figures["acc"] == 0.25 and figures["unread"] == 0.5
  row = {"knowledge": "k", "question": "q", "right_answer": "1969", "hallucinated_answer": "1970"}
  lines(tmp_path / "halueval" / "qa_data.json", [row])
  figures, found = measured(tmp_path, "halueval", said.Said(lambda text: "Yes"), variant="qa")
  assert figures["acc"] == 0.5 and [row["cluster"] for row in found.rows] == ["0", "0"]
  assert [row["answer"] for row in found.rows] == ["No", "Yes"]


def test_qags(tmp_path):
  vote = lambda *said: [{"worker_id": str(k), "response": one} for k, one in enumerate(said)]
  sentence = lambda text, *said: {"sentence": text, "responses": vote(*said)}
  rows = [
    {"article": PLAIN, "summary_sentences": [sentence("The sun is a star.", "yes", "yes", "no")]},
    {"article": PLAIN, "summary_sentences": [sentence("The sun is a comet.", "no", "no", "yes")]},
    {
      "article": PLAIN,
      "summary_sentences": [sentence("The sun is large.", "yes"), sentence("It eats the planet.", "no", "yes", "no")],
    },
  ]
  lines(tmp_path / "qags" / "mturk_xsum.jsonl", rows)
  figures, found = measured(tmp_path, "qags", said.Said(scores=supports), variant="whole")
  assert [row["answer"] for row in found.rows] == [1, 0, 0.5] and found.rows[0]["id"] == "xsum/0"
  figures, found = measured(tmp_path, "qags", said.Said(scores=supports))
  assert found.rows[2]["support"] == [[0.9526, 0.0474]] and figures["pearson"] > 0.3
  figures, _ = measured(tmp_path, "qags", said.Said(lambda text: "Perhaps"), variant="text")
  assert figures["unread"] == 1 and figures["balanced_accuracy"] == 0 and math.isnan(figures["pearson"])


def test_summedits(tmp_path):
  for domain, labels in (("news", (1, 0)), ("mail", (1, 0, 0))):
    said_of = lambda k, domain=domain: "The sun is a star." if k == 0 or domain == "mail" else "The sun is red."
    rows = [{"id": f"d_{k}", "doc": PLAIN, "summary": said_of(k), "label": label} for k, label in enumerate(labels)]
    lines(tmp_path / "summedits" / f"summedits_{domain}.jsonl", rows)
  figures, found = measured(tmp_path, "summedits", said.Said(scores=supports), variant="whole")
  assert figures["balanced_accuracy"] == (1 + 0.5) / 2 and {row["cluster"] for row in found.rows} == {
    "mail/d",
    "news/d",
  }
  assert {one.tag for one in found.results if one.tag} == {"domain=news", "domain=mail"}


def test_aggrefact_and_faithdial(tmp_path, capsys):
  columns = ("origin", "doc", "summ", "cut", "error_type")
  rows = [
    ("xsum", PLAIN, "The sun is a star.", cut, "") if k % 2 else ("xsum", PLAIN, "It is red.", cut, "['entire_sent']")
    for cut in ("val", "test")
    for k in range(4)
  ]
  table(tmp_path / "aggrefact" / "Goyal21_error_types.csv", columns, [*rows, ("x", PLAIN, "It", "val", "['noise']")])
  figures, found = measured(tmp_path, "aggrefact", said.Said(scores=supports), variant="whole")
  assert figures["balanced_accuracy_tuned"] == figures["auc"] == 1 and len(found.rows) == 8
  assert "1 summaries have errors of language alone (noise): left out" in capsys.readouterr().err
  answers = [(PLAIN, "h", "The sun is a star.", "Entailment"), (PLAIN, "h", "It is red.", "Hallucination")]
  table(
    tmp_path / "faithdial" / "wow_gold.csv",
    ("evidence", "history", "response", "BEGIN"),
    [*answers, (PLAIN, "h", "Hm.", "Generic")],
  )
  table(
    tmp_path / "faithdial" / "wow_ctrl.csv",
    ("knowledge", "history", "ctrl", "begin_label"),
    [(PLAIN, "h", "It is red.", "entailment,hallucination")],
  )
  figures, found = measured(tmp_path, "faithdial", said.Said(scores=supports))
  assert figures["auc"] == 1 and len(found.rows) == 3 and "1 answers are generic" in capsys.readouterr().err


def test_frank(tmp_path):
  texts = [
    {"hash": str(k), "model_name": system, "article": PLAIN, "summary": "The sun is a star." if k else "It is red."}
    for k in range(2)
    for system in ("a", "b")
  ]
  human = [
    {"hash": one["hash"], "model_name": one["model_name"], "Factuality": float(one["hash"]), "split": "test"}
    for one in texts
  ]
  lines(tmp_path / "frank" / "benchmark_data.json", texts)
  lines(tmp_path / "frank" / "human_annotations.json", human)
  figures, found = measured(tmp_path, "frank", said.Said(scores=supports), variant="whole")
  assert figures["partial_pearson"] == pytest.approx(1) and len(found.rows) == 4
  lines(tmp_path / "frank" / "human_annotations.json", human[:-1])
  with pytest.raises(errors.InputError, match="summary 1 of b has no row in human_annotations"):
    measured(tmp_path, "frank", said.Said(scores=supports))


def test_claims_of_answers(tmp_path):
  lines(tmp_path / "grounded" / "rows.jsonl", [{"document": PLAIN}, {"document": PLAIN, "instruction": "Say."}])
  answers = lambda text: "I'm sorry, I can't." if text.startswith("Say.") else "- The sun is large. It is cold."
  knows = lambda text: "Yes" if supports(text, "yes") == 0 else "I will not judge." if "cold" in text else "no"
  figures, found = measured(tmp_path, "grounded", said.Said(answers), judge=judge(knows))
  assert figures["supported"] == 0.5 and figures["responded"] == 0.5 and figures["judge_refused"] == 0.5
  assert found.rows[0]["by_claim"] == [["The sun is large.", 1.0], ["It is cold.", None]]
  lines(tmp_path / "factscore" / "topics.jsonl", [{"topic": "Sun"}])
  passages = [{"title": "Sun", "text": text} for text in ("The sun is large.", "Corn grows.")]
  lines(tmp_path / "factscore" / "corpus.jsonl", [*passages, {"title": "Moon", "text": "The sun is large and cold."}])
  asked = judge(knows)
  figures, _ = measured(tmp_path, "factscore", said.Said(lambda text: "The sun is large. It is cold."), judge=asked)
  assert figures["supported"] == 0.5 and figures["fact_score"] == pytest.approx(0.5 * math.exp(1 - 10 / 2))
  assert "Title: Sun\nText: The sun is large.\n\nTitle: Sun\nText: Corn grows." in asked.responder.asked[0]
  assert not any("Moon" in text for text in asked.responder.asked)
  with pytest.raises(errors.InputError, match="factscore is judged: say by whom"):
    measured(tmp_path, "factscore", said.Said())
