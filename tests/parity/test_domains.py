"""Scores of domains against the authors' own scripts, where ITUNE_PEERS names a folder with clones of them.

git clone https://github.com/HazyResearch/legalbench ; git clone https://github.com/NExTplusplus/TAT-QA
git clone https://github.com/AoiDragon/POPE ; git clone https://github.com/czyssrs/FinQA ; git clone https://github.com/MMMU-Benchmark/MMMU
ITUNE_PEERS=DIR python -m pytest -m parity -s tests/parity/test_domains.py
"""

import importlib
import json
import os
import pathlib
import random
import string
import sys

import numpy as np
import pytest

from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import suite
from itune_jax.evals.benchmarks import registry
from itune_jax.evals.benchmarks.finance import sentiment
from itune_jax.evals.benchmarks.law import legalbench as legalbench_lib
from itune_jax.grading import finqa
from itune_jax.grading import legalbench
from itune_jax.grading import mmmu
from itune_jax.grading import tatqa
from itune_jax.sampling import requests as requests_lib

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
PEERS = pathlib.Path(os.environ.get("ITUNE_PEERS", "/nowhere"))
DATA = os.environ.get("ITUNE_DATA", "")
needs_data = pytest.mark.skipif(not os.path.isdir(DATA), reason="ITUNE_DATA names no folder")


def peer(folder, name, monkeypatch):
  """A module of a clone; the test is skipped where there is none."""
  path = PEERS / folder
  if not (path / f"{name}.py").exists():
    pytest.skip(f"ITUNE_PEERS has no {folder}/{name}.py")
  monkeypatch.syspath_prepend(str(path))
  monkeypatch.delitem(sys.modules, name, raising=False)
  return importlib.import_module(name)


class Table(requests_lib.Responder):
  """Says what a table says for an id."""

  def __init__(self, said):
    self.said = said

  def answer(self, requests, progress=lambda n: None):
    return [requests_lib.Response(one.id, (requests_lib.Sample(self.said[one.id], "stop"),)) for one in requests]


def perturbed(text, others, rng):
  """An answer changed as models change them: case, signs, words around it, another's, cut, doubled, nothing."""
  cut = text[: rng.randrange(len(text) + 1)]
  letters = "".join(rng.choice(string.printable) for _ in range(rng.randrange(12)))
  return rng.choice(
    (
      text,
      text.upper(),
      f" {text}.",
      f"The answer is {text}",
      rng.choice(others),
      f"{text}, {rng.choice(others)}",
      f"{rng.choice(others)},{text},{text}",
      cut,
      letters,
      text + letters,
      "",
      f"${text}",
      text + "s",
      text.replace(",", ""),
      f"{rng.randrange(10**6):,}",
    )
  )


@needs_data
def test_legalbench(monkeypatch):
  """evaluation.py on the 20 stored tasks, and on made-up rows of the kinds that these lack."""
  theirs = peer("legalbench", "evaluation", monkeypatch)
  rng, tasks = random.Random(0), {}
  for item in legalbench_lib.items(folders.Folder(os.path.join(DATA, "legalbench")), "train"):
    tasks.setdefault(item.tags["task"], []).append(item.answer)
  assert len(tasks) == 20
  tasks["citation_prediction_open"] = ["Ridgway v. Ridgway", "In re Winship"]
  tasks["ssla_company_defendants"] = ["Juniper, Inc.,KLA", "Not named"]
  for task, answers in tasks.items():
    answers = [rng.choice(answers) for _ in range(600)]
    said = [perturbed(answer, answers, rng) for answer in answers]
    how = legalbench.kind(task)
    values = [legalbench.value(how, *pair) for pair in zip(said, answers, strict=True)]
    metrics = registry.find("legalbench").make(folders.Folder(""), official.Settings(variant="train")).metrics
    metric = metrics[legalbench_lib.FIGURE[how]]
    ours = metric.statistic(values, np.arange(600)).value  # without its interval, which costs seconds
    expected = theirs.evaluate(task, said, answers)
    print(f"{task}: {how}, 600 answers, {ours:.6f}, official {expected:.6f}")
    assert ours == pytest.approx(expected, abs=1e-12)
  answers = [rng.choice(("express agreement,mere continuation", "de facto merger")) for _ in range(600)]
  said = [rng.choice((one, "mere continuation and de facto merger", "none")) for one in answers]
  values = [legalbench.exceptions(*pair) for pair in zip(said, answers, strict=True)]
  ours = sum(a for a, _ in values) / sum(b for _, b in values)
  assert ours == pytest.approx(theirs.evaluate_successor_liability(said, answers), abs=1e-12)


def spans(question, rng, others):
  """A prediction of a question of TAT-QA, and its scale."""
  gold = question["answer"] if isinstance(question["answer"], list) else [question["answer"]]
  change = lambda one: rng.choice(
    (
      one,
      str(one),
      f"${one}",
      f"{one}%",
      f"({one})",
      f"{one} million",
      f"about {one}",
      rng.choice(others),
      f"the {one}, and",
      round(float(one) / 100, 4) if isinstance(one, (int, float)) else str(one).upper(),
    )
  )
  said = [change(one) for one in gold]
  said = [str(one) for one in said] if len({type(one) for one in said}) > 1 or len(said) > 1 else said
  return rng.choice((said, said, said[:1], [*map(str, said), "x"], [])), rng.choice((question["scale"], *tatqa.SCALES))


@needs_data
def test_tatqa(monkeypatch):
  """tatqa_metric.py on perturbed answers to the stored questions, each by itself."""
  monkeypatch.delitem(sys.modules, "tatqa_utils", raising=False)
  theirs = peer("TAT-QA", "tatqa_metric", monkeypatch)
  rng = random.Random(1)
  with open(os.path.join(DATA, "tatqa", "tatqa_dataset_dev_first100.json")) as f:
    questions = [one for document in json.load(f) for one in document["questions"]]
  others = [str(one["answer"]) for one in questions]
  differ, em = 0, 0.0
  for question in [rng.choice(questions) for _ in range(4000)]:
    said, scale = spans(question, rng, others)
    meter = theirs.TaTQAEmAndF1()
    meter(ground_truth=question, prediction=list(said), pred_scale=scale)
    expected = meter.get_overall_metric()[:3]
    ours = tatqa.verdict(question["answer"], question["answer_type"], question["scale"], said, scale)
    differ += (ours.em, ours.f1, float(ours.scale)) != tuple(map(float, expected))
    em += ours.em
  print(f"TAT-QA: 4,000 perturbed answers, exact match {em / 4000:.3f}, {differ} verdicts differ")
  assert not differ and 0.05 < em / 4000 < 0.9


def changed(program, others, rng):
  """A program with its arguments exchanged, another operation, a step more or less, another's, or damaged."""
  kept = list(program)
  where = [i for i in range(len(kept) - 1) if i % 4 == 0]
  at = rng.choice(where) if where else 0
  what = rng.randrange(8)
  if what == 0 and len(kept) > at + 2:
    kept[at + 1], kept[at + 2] = kept[at + 2], kept[at + 1]
  elif what == 1:
    kept[at] = rng.choice(finqa.OPERATIONS) + "("
  elif what == 2:
    kept = [*kept[:-1], rng.choice(finqa.OPERATIONS) + "(", f"#{rng.randrange(3)}", "const_100", ")", "EOF"]
  elif what == 3:
    kept = kept[:at] + kept[at + 4 :]
  elif what == 4:
    kept = list(rng.choice(others))
  elif what == 5 and len(kept) > at + 1:
    kept[at + 1] = rng.choice(("const_m1", "5%", "$5", "1,000", "#0", "none", "const_x", "sales", ""))
  elif what == 6 and kept:
    del kept[rng.randrange(len(kept))]
  return kept


def test_finqa(monkeypatch):
  """evaluate.py on its own stored predictions, and perturbed ones, on a made-up table."""
  theirs = peer("FinQA/code/evaluate", "evaluate", monkeypatch)
  rng = random.Random(2)
  with open(PEERS / "FinQA" / "code" / "evaluate" / "example_predictions.json") as f:
    programs = [one["predicted"] for one in json.load(f)]
  table = [["", "2019", "2018"], ["sales", "$ 1,452.4", "5% (a)"], ["cost", "-12", "(3)"], ["other", "7", "8"]]
  for rows in (["sales"], ["other"], ["cost"]):
    programs.append([f"table_{rng.choice(('max', 'min', 'sum', 'average'))}(", *rows, "none", ")", "EOF"])
  golds = [one for one in programs if one and one[-1] == "EOF" and len(one) % 4 == 1 and len(one) > 1]
  golds = [one for one in golds if len(one) <= 9]  # of two steps at most: sympy takes its time
  cases = [(gold, changed(gold, golds, rng)) for gold in (rng.choice(golds) for _ in range(520))]
  differ, right, ran = 0, 0, 0
  for gold, said in cases:
    invalid, expected = theirs.eval_program(list(said), table)
    ours = finqa.result(said, table)
    ran += not invalid
    differ += (None if invalid or expected == "n/a" else expected) != ours and not (
      ours != ours and expected != expected
    )
    try:
      same = bool(theirs.equal_program(list(gold), list(said)))
    except Exception:  # the gold program itself is none to the script
      continue
    right += same
    differ += same != finqa.same(gold, said)
  print(f"FinQA: {len(cases)} programs, {ran} run, {right} equal the gold one, {differ} verdicts differ")
  assert not differ and ran > 200 and right > 50
  texts = ["".join(f"{token} " if token.endswith(",") else token for token in one) for one in ("add(1, 2)", "exp(3)x")]
  assert all(finqa.tokens(text) == theirs.program_tokenization(text) for text in texts)


@needs_data
@pytest.mark.parametrize("name", ["fpb", "fiqa_sa"])
def test_sentiment(name):
  """PIXIU's rules, re-stated in two lines, and scikit-learn's figures on all stored rows with perturbed answers."""
  sk = pytest.importorskip("sklearn.metrics")
  rng, benchmark = random.Random(3), registry.find(name)
  made = benchmark.benchmark((DATA,))
  items, labels = list(made.items()), benchmark.make.keywords["which"].labels
  for _ in range(2):
    said = {item.id: perturbed(item.answer, [*labels, "POSITIVE or negative"], rng) for item in items}
    found = suite.measure(made, Table(said))
    figures = {one.metric: one.value for one in found.results if not one.tag}
    golds = [item.answer for item in items]
    told = [next((one for one in labels if one in said[item.id].lower()), sentiment.MISSING) for item in items]
    assert figures["acc"] == pytest.approx(sk.accuracy_score(golds, told))
    assert figures["weighted_f1"] == pytest.approx(sk.f1_score(golds, told, average="weighted"))
    assert figures["macro_f1"] == pytest.approx(sk.f1_score(golds, told, average="macro", labels=labels))
    assert figures["mcc"] == pytest.approx(sk.matthews_corrcoef(golds, told))
    assert figures["missing"] == pytest.approx(np.mean([one == sentiment.MISSING for one in told]))
    published = sk.f1_score(told, golds, average="weighted", labels=list(set(golds)))
    assert figures["weighted_f1_published"] == pytest.approx(published)
  print(f"{name}: {2 * len(items)} answers, all figures equal")


@needs_data
def test_pope(tmp_path, capsys):
  """evaluate.py, which is a script, on perturbed answers to the stored questions."""
  script = PEERS / "POPE" / "evaluate.py"
  if not script.exists():
    pytest.skip("ITUNE_PEERS has no POPE")
  rng, made = random.Random(5), registry.find("pope").benchmark((DATA,), official.Settings(variant="blind"))
  items = list(made.items())
  words = ["Yes", "No", "no", "not", "yes,", "No,", ".", "it is", "there is", "I cannot see", "NO", "a dog"]
  for _ in range(6):
    said = {item.id: " ".join(rng.choice(words) for _ in range(rng.randrange(1, 6))) for item in items}
    for name, key in (
      ("answers", lambda item: {"answer": said[item.id]}),
      ("labels", lambda item: {"label": item.answer}),
    ):
      (tmp_path / name).write_text("".join(json.dumps(key(item)) + "\n" for item in items))
    source = script.read_text().replace("ans_file = ''", f"ans_file = {str(tmp_path / 'answers')!r}")
    exec(source.replace("label_file = ''", f"label_file = {str(tmp_path / 'labels')!r}"), {})
    told = dict(line.split(": ") for line in capsys.readouterr().out.splitlines() if ": " in line)
    rows = suite.graded(
      made, items, Table(said).answer([requests_lib.Request(conversation="", id=i.id) for i in items])
    )
    ours = {
      name: one.statistic([row["values"][name] for row in rows], np.arange(len(rows))).value
      for name, one in made.metrics.items()
    }
    pairs = {
      "acc": "Accuracy",
      "precision": "Precision",
      "recall": "Recall",
      "f1": "F1 score",
      "yes_ratio": "Yes ratio",
    }
    assert {name: ours[name] for name in pairs} == pytest.approx({name: float(told[b]) for name, b in pairs.items()})
  print(f"POPE: {6 * len(items)} answers, five figures equal")


def test_mmmu(monkeypatch):
  """eval_utils.py on perturbed answers; where it draws a letter by chance ours is a failure of parsing."""
  theirs = peer("MMMU/mmmu/utils", "eval_utils", monkeypatch)
  rng, differ, failed = random.Random(4), 0, 0
  monkeypatch.setattr(theirs.random, "choice", lambda given: "by chance")
  options = ["the red fox", "12.5", "a very long option of words", "B"]
  letters = list("ABCD")
  parts = [
    "A",
    "(B)",
    "C.",
    "answer is",
    "D",
    "the red fox",
    "A very long option of words",
    "12.5",
    "so",
    "we think",
    "!",
  ]
  for _ in range(1500):
    text = " ".join(rng.choice(parts) for _ in range(rng.randrange(9)))
    expected = theirs.parse_multi_choice_response(text, letters, dict(zip(letters, options, strict=True)))
    ours = mmmu.letter(text, options)
    failed += ours is None
    differ += (ours or "by chance") != expected
  golds = ["12.5", "1,000", "red", "x", ["3", "three"], "-4.50"]
  words = [
    "so",
    "the answer is",
    "12.5",
    "1000",
    "1,000",
    "red",
    "three",
    "x",
    "=",
    "3.",
    "-4.5",
    "\n",
    "2e3",
    "is",
    ".",
  ]
  for _ in range(1500):
    text, gold = " ".join(rng.choice(words) for _ in range(rng.randrange(8))), rng.choice(golds)
    expected = theirs.eval_open(gold, theirs.parse_open_response(text))
    differ += mmmu.is_open_right(text, gold) != expected
  print(f"MMMU: 3,000 answers, {failed} name no letter, {differ} verdicts differ")
  assert not differ and failed
