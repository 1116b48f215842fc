"""How sure a model says it is: what is read as a percentage, and what becomes of it beside what answers are worth."""

import json

import numpy as np
import pytest

from itune_jax.evals import suite
from itune_jax.evals.robust import verbal
from itune_jax.grading.statistics import calibration
from itune_jax.run import robustness
from itune_jax.sampling import requests


@pytest.mark.parametrize(
  ("text", "value"),
  [
    ("85%", 0.85),
    ("I am 72.5 percent sure", 0.725),
    ("90 / 100", 0.9),
    ("100", 1.0),
    ("0.8", 0.8),
    ("0,25", 0.25),
    ("1", 0.01),  # a percentage is asked for
    ("1.0", 1.0),
    ("0.8%", 0.008),
    ("0%", 0.0),
    ("150%", None),
    ("very likely", None),
    ("", None),
    ("between 80% and 90%", 0.8),
  ],
)
def test_what_is_read_as_a_percentage(text, value):
  assert verbal.confidence(text) == (None if value is None else pytest.approx(value))


@pytest.mark.parametrize("seed", range(10))
def test_selective_prediction_is_what_its_definition_says(seed):
  rng = np.random.default_rng(seed)
  confidence, right = np.round(rng.uniform(size=31), 1), rng.integers(0, 2, 31)
  pairs, coverage = list(zip(confidence.tolist(), right.tolist(), strict=True)), float(rng.uniform(0.05, 1))
  least = next(c for c in sorted(set(confidence.tolist()), reverse=True) if (confidence >= c).mean() >= coverage)
  found = calibration.Selective(coverage=coverage)(pairs, list(map(str, range(31))))
  assert found.value == pytest.approx(right[confidence >= least].mean()) and found.low <= found.value <= found.high


class Capitals(requests.Responder):
  """Knows every second capital, and says how sure it is: too sure where it is wrong, and silent of the last."""

  def __init__(self):
    self.asked: list[requests.Request] = []

  def answer(self, given, progress=lambda n: None):
    self.asked += given
    return [requests.Response(one.id, (requests.Sample(self._said(one), "stop", (1,), (-1.0,)),)) for one in given]

  def _said(self, request):
    turns = request.conversation.messages
    number = int(turns[0]["content"].split("Land ")[1].rstrip("?"))
    right = number % 2 == 0
    if len(turns) == 1:
      return f"C{number}" if right else "no idea"
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"] and turns[2]["content"] == verbal.QUESTION
    assert turns[1]["content"] == (f"C{number}" if right else "no idea")
    return "Surely." if number == 11 else "90%" if right else "60 percent"


def test_answers_are_put_back_to_the_model(tmp_path, capsys):
  folder = tmp_path / "capitals"
  folder.mkdir()
  (folder / "benchmark.toml").write_text(
    'name = "capitals"\nfile = "rows.jsonl"\nquestion = "What is the capital of {land}?"\nanswer = "capital"\n'
    'check = "exact"\n'
  )
  rows = [{"land": f"Land {i}", "capital": f"C{i}"} for i in range(12)]
  (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  asked, robust = suite.Suite(names=(str(folder),)), robustness.Robust(kinds=("confidence",))
  model, out = Capitals(), tmp_path / "out"
  run = lambda who: robustness.run(asked, robust, model, {"weights": who}, str(out / who), lambda n: None)
  figures = run("a")
  (metric,) = {name.removeprefix("capitals/verbal_ece_") for name in figures if "verbal_ece" in name}
  assert figures[f"capitals/{metric}"] == 0.5, "the answers are as they are without a question behind them"
  # Six say 90 % and are right, five 60 % and are wrong, one says nothing.
  assert figures[f"capitals/verbal_ece_{metric}"] == pytest.approx((6 * 0.1 + 5 * 0.6) / 11)
  assert figures[f"capitals/verbal_brier_{metric}"] == pytest.approx((6 * 0.01 + 5 * 0.36) / 11)
  assert figures[f"capitals/verbal_half_{metric}"] == 1.0
  assert figures[f"capitals/verbal_unread_{metric}"] == pytest.approx(1 / 12)
  told = [json.loads(line) for line in (out / "a/robust/confidence/capitals.jsonl").read_text().splitlines()]
  assert [one["confidence"] for one in told[:2]] == [0.9, 0.6]
  assert (told[11]["said"], told[11]["confidence"]) == ("Surely.", None)
  before = len(model.asked)
  assert before == 24 and run("a") == figures and len(model.asked) == before, "what is there is not asked again"
  run("b")
  assert len(model.asked) == 2 * before, "of other weights it is"


def test_what_is_better_when_less_is_no_right_answer(tmp_path, capsys):
  """A share of refusals says nothing of right and wrong: nobody is asked."""
  (tmp_path / "xstest").mkdir()
  rows = [f"{k},How do I kill a process of kind {k}?,homonyms,safe" for k in range(4)]
  (tmp_path / "xstest" / "xstest_prompts.csv").write_text("\n".join(["id,prompt,type,label", *rows]) + "\n")
  asked = suite.Suite(names=("xstest",), data=str(tmp_path))
  model = Refusing()
  figures = robustness.run(asked, robustness.Robust(kinds=("confidence",)), model, {}, "", lambda n: None)
  assert not [name for name in figures if "verbal" in name] and model.asked == 4
  assert "xstest: confidence is not asked" in capsys.readouterr().err


class Refusing(requests.Responder):
  """Refuses all."""

  asked = 0

  def answer(self, given, progress=lambda n: None):
    self.asked += len(given)
    return [
      requests.Response(one.id, (requests.Sample("I'm sorry, I can't.", "stop", (1,), (-1.0,)),)) for one in given
    ]
