"""Judged benchmarks on files of the official forms, written here: what is asked, of whom, and the official figures."""

import json
import math
import os

import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.evals import judged
from itune_jax.evals import official
from itune_jax.evals import suite
from itune_jax.evals.benchmarks.utility import alpaca_eval
from itune_jax.evals.benchmarks.utility import arena
from itune_jax.evals.benchmarks.utility import llmbar
from itune_jax.evals.benchmarks.utility import mt_bench
from itune_jax.sampling import requests

CATEGORIES = ("writing", "math", "coding", "stem", "reasoning")


class Scripted(requests.Responder):
  """Says what a function makes of a request, and remembers all of them."""

  def __init__(self, say):
    self.say, self.asked = say, []

  def answer(self, given, progress=lambda n: None):
    requests.unique(given)
    self.asked += given
    return [requests.Response(one.id, (requests.Sample(str(self.say(one)), "stop"),)) for one in given]


def text(request):
  return request.conversation if isinstance(request.conversation, str) else request.conversation.messages[-1]["content"]


def lines(path, rows):
  os.makedirs(path.parent, exist_ok=True)
  path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def mt(tmp_path):
  folder = tmp_path / "mt_bench"
  asked = [
    {"question_id": i, "category": name, "turns": [f"first {i}?", f"second {i}?"]} for i, name in enumerate(CATEGORIES)
  ]
  lines(folder / "question.jsonl", asked)
  said = lambda i, who: {"question_id": i, "choices": [{"index": 0, "turns": [f"{who} one {i}", f"{who} two {i}"]}]}
  lines(folder / "reference_answer_gpt-4.jsonl", [said(i, "reference") for i in (1, 2, 4)])
  lines(folder / "model_answer/base.jsonl", [said(i, "baseline") for i in range(5)])
  return tmp_path


def test_mt_bench_asks_two_turns_and_rates_both(mt):
  said = ["Rating: [[8]]", "none", "Fine [3]", "[[7.5]]", "[[10]]", "[[1]]", "[[6]]", "[[5]]", "[[2]]", "[[4]]"]
  ratings = iter(said)
  judge = Scripted(lambda request: next(ratings))
  settings = official.Settings(judge=judged.Judge(responder=judge))
  model = Scripted(lambda request: f"answer to {text(request)}")
  found = suite.measure(mt_bench.BENCHMARK.benchmark([str(mt)], settings), model)
  assert [len(model.asked), len(judge.asked)] == [10, 10]
  assert [one.id for one in model.asked] == [*map(str, range(5)), *(f"{i}/2" for i in range(5))]
  assert [one.temperature for one in model.asked[:5]] == [0.7, 0, 0, 0.1, 0] and model.asked[0].limit == 1024
  second = [message["content"] for message in model.asked[5].conversation.messages]
  assert second == ["first 0?", "answer to first 0?", "second 0?"]
  by_reference = [("reference" in text(one).lower()) for one in judge.asked]
  assert by_reference == [False, False, True, True, True, True, False, False, True, True]
  assert "reference two 1" in text(judge.asked[3]) and "answer to second 1?" in text(judge.asked[3])
  scores = [8, 3, 7.5, 10, 1, 6, 5, 2, 4]
  figures = {(r.metric, r.tag): r for r in found.results}
  assert figures["score", ""].value == pytest.approx(np.mean(scores)), "FastChat's mean over all that were read"
  assert figures["score_of_all", ""].value == pytest.approx(np.mean([*scores, 1]))
  assert (figures["score_turn_2", ""].n, figures["score_turn_2", ""].of) == (4, 5)
  assert figures["unread", ""].value == pytest.approx(0.1) and judged.faults(found) == {"unparsed": 1}
  assert figures["score", "category=math"].value == pytest.approx((3 + 7.5) / 2)
  assert found.rows[0]["verdicts"] == ["Rating: [[8]]", "none"] and len(found.rows[0]["messages"]) == 4


def test_mt_bench_compares_with_a_baseline(mt):
  """The first pair is won in both orders, the second in one, and the rest are ties."""
  script = {"0/0": "[[A]] [[B]]", "0/1": "[[A]] [[A]]", "1/0": "[[B]] [[A]]"}

  def say(request):
    item, turn, order = request.id.split("/")[1:]
    return script.get(f"{item}/{turn}", "[[C]] [[C]]").split()[order == "swapped"]

  judge = Scripted(say)
  settings = official.Settings(
    judge=judged.Judge(responder=judge), variant="pair", baseline=str(mt / "mt_bench/model_answer/base.jsonl")
  )
  found = suite.measure(
    mt_bench.BENCHMARK.benchmark([str(mt)], settings), Scripted(lambda request: f"ours to {text(request)}")
  )
  figures = {r.metric: r.value for r in found.results if not r.tag}
  assert len(judge.asked) == 20
  assert figures["win_rate_adjusted"] == pytest.approx((1 + 0.5 + 0 + 7 * 0.5) / 10)
  straight, swapped = text(judge.asked[0]), text(judge.asked[1])
  assert straight.index("ours to") < straight.index("baseline one") and swapped.index("baseline one") < swapped.index(
    "ours"
  )
  assert "baseline two 0" in text(judge.asked[2]) and "ours to second 0?" in text(judge.asked[2])


def test_an_mt_bench_answer_that_is_missing_is_not_judged(mt):
  class Partly(Scripted):
    def answer(self, given, progress=lambda n: None):
      found = super().answer(given, progress)
      gone = requests.Sample("", "missing")
      return [one._replace(samples=(gone,)) if one.id == "2" else one for one in found]

  judge = Scripted(lambda request: "[[5]]")
  model = Partly(lambda request: "yes")
  settings = official.Settings(judge=judged.Judge(responder=judge))
  found = suite.measure(mt_bench.BENCHMARK.benchmark([str(mt)], settings), model)
  assert "2/2" not in {one.id for one in model.asked} and len(judge.asked) == 8
  assert found.rows[2]["values"]["score"] is None and found.rows[2]["verdict"] == "missing"
  assert found.results[0].n == 4 and found.results[0].of == 5


def test_mt_bench_refuses(mt):
  build = lambda **more: mt_bench.BENCHMARK.benchmark([str(mt)], official.Settings(**more))
  with pytest.raises(errors.InputError, match="mt_bench is judged: say by whom"):
    build()
  judge = judged.Judge(responder=Scripted(str))
  with pytest.raises(errors.InputError, match="pairs need a baseline's answers"):
    build(judge=judge, variant="pair")
  with pytest.raises(errors.InputError, match="read in their text"):
    build(judge=judged.Judge(by="tokens"))
  lines(mt / "mt_bench/reference_answer_gpt-4.jsonl", [])
  with pytest.raises(errors.InputError, match="question.jsonl:2: math is judged by a reference answer"):
    suite.measure(build(judge=judge), Scripted(str))


@pytest.fixture
def alpaca(tmp_path):
  rows = [
    {"instruction": f"do {i}", "output": "b" * (20 + 7 * i % 90), "generator": "base", "dataset": f"d{i % 2}"}
    for i in range(12)
  ]
  (tmp_path / alpaca_eval.FILE).write_text(json.dumps(rows), encoding="utf-8")
  return tmp_path


def test_alpaca_eval_is_judged_and_controlled_for_length(alpaca):
  def say(request):
    """Likes the longer answer."""
    first, second = text(request).split('"output": """')[1:]
    return "m" if len(first.split('"""')[0]) > len(second.split('"""')[0]) else "M"

  judge = Scripted(say)
  settings = official.Settings(judge=judged.Judge(responder=judge))
  model = Scripted(lambda request: "a" * (10 * int(text(request).split()[1])))
  found = suite.measure(alpaca_eval.BENCHMARK.benchmark([str(alpaca)], settings), model)
  figures = {(r.metric, r.tag): r for r in found.results}
  longer = [len("a" * 10 * i) > 20 + 7 * i % 90 for i in range(12)]
  assert figures["win_rate", ""].value == pytest.approx(np.mean(longer))
  assert figures["length_correlation", ""].value > 0.5 and figures["position_consistency", ""].value == 1
  assert 0 < figures["length_controlled_minimal", ""].value < 1 and figures["win_rate", "dataset=d0"].n == 6
  assert figures["length_controlled_minimal", ""].n == 12
  with pytest.raises(errors.InputError, match="it has no output for instruction 1: 'do 1'"):
    (alpaca / "other.json").write_text(json.dumps([{"instruction": "do 0", "output": "x"}]))
    settings = official.Settings(judge=judged.Judge(responder=judge), baseline=str(alpaca / "other.json"))
    suite.measure(alpaca_eval.BENCHMARK.benchmark([str(alpaca)], settings), model)


@pytest.mark.parametrize("version", ["v2.0", "v0.1"])
def test_arena_counts_what_is_significant_three_times(tmp_path, version):
  new = version == "v2.0"
  category = ["hard_prompt", "creative_writing", "hard_prompt"] if new else ["arena-hard-v0.1"] * 3
  asked = [
    {"uid": f"u{i}", "category": category[i], "prompt": f"do {i}"}
    if new
    else {"question_id": f"u{i}", "category": category[i], "turns": [{"content": f"do {i}"}]}
    for i in range(3)
  ]
  answers = [
    {"uid": f"u{i}", "messages": [{"content": f"do {i}"}, {"content": {"answer": f"base {i}"}}]}
    if new
    else {"question_id": f"u{i}", "choices": [{"turns": [{"content": f"base {i}"}]}]}
    for i in range(3)
  ]
  lines(tmp_path / "question.jsonl", asked)
  for name in {arena.BASELINES.get(one, arena.BASELINE) for one in category}:
    lines(tmp_path / f"model_answer/{name}.jsonl", answers)
  script = {"u0": ("[[A>>B]]", "[[B>A]]"), "u1": ("[[A=B]]", "[[A>>B]] no, [[A>B]]"), "u2": ("[[A>B]]", "undecided")}
  say = lambda request: script[request.id.split("/")[1]][request.id.endswith("swapped")]
  judge = Scripted(say)
  settings = official.Settings(judge=judged.Judge(responder=judge))
  found = suite.measure(arena.BENCHMARK.benchmark([str(tmp_path)], settings), Scripted(lambda request: "ours"))
  figures = {r.metric: r for r in found.results if not r.tag}
  assert figures["arena_score"].value == pytest.approx((1 + 1 + 1 + 1 + 0.5 + 0) / 6)
  assert (figures["arena_score"].n, figures["arena_score"].of) == (2, 3), "a pair with an unread game is left out"
  systems = [one.conversation.messages[0]["content"] for one in judge.asked]
  own = ["generating your own answer" in system for system in systems]
  assert own == ([True, True, False, False, True, True] if new else [True] * 6)


def bar(folder):
  rng = np.random.default_rng(0)
  for subset in llmbar.SUBSETS:
    rows = [
      {"input": f"{subset} {i}", "output_1": "x" * int(rng.integers(1, 9)), "output_2": "y", "label": int(1 + i % 2)}
      for i in range(4)
    ]
    (folder / f"{subset}.json").write_text(json.dumps(rows), encoding="utf-8")
  return folder


def test_llmbar_tells_a_good_judge_from_one_that_likes_the_first_place(tmp_path):
  folder = [str(bar(tmp_path))]
  right = {
    item.question: item.shown["outputs"][item.answer == 0] for item in llmbar.BENCHMARK.benchmark(folder).items()
  }

  def good(request):
    body = text(request)
    question = body.split("# Instruction:\n")[1].split("\n")[0]
    first = body.split("# Output (a):\n")[1].split("\n")[0]
    return f"Output ({'a' if first == right[question] else 'b'})"

  for say, expected in (
    (good, {"accuracy": 1, "accuracy_of_both": 1, "position_consistency": 1, "first_position_rate": 0.5, "kappa": 1}),
    (lambda request: "Output (a)", {"accuracy": 0.5, "accuracy_of_both": 0, "first_position_rate": 1, "kappa": 0}),
    (lambda request: "Both are good.", {"accuracy": 0, "accuracy_of_both": 0, "unread": 1, "kappa": 0}),
  ):
    found = suite.measure(llmbar.BENCHMARK.benchmark(folder), Scripted(say))
    figures = {r.metric: r.value for r in found.results if not r.tag}
    assert {name: figures[name] for name in expected} == pytest.approx(expected)
  by_kind = {r.tag: r.of for r in found.results if r.metric == "accuracy"}
  assert by_kind["kind=adversarial"] == 16 and by_kind["subset=natural"] == 4


def test_llmbar_by_the_scores_of_both_answers(tmp_path):
  folder = [str(bar(tmp_path))]

  class Scores(requests.Responder):
    """Finds the first answer a little better, whatever it is."""

    def answer(self, given, progress=lambda n: None):
      raise AssertionError("it is asked for scores alone")

    def score(self, pairs, progress=lambda n: None):
      return [requests.Score(math.log(0.6 if pair.continuation == "m" else 0.4), False, 1) for pair in pairs]

  found = suite.measure(llmbar.BENCHMARK.benchmark(folder, official.Settings(variant="scores")), Scores())
  figures = {r.metric: r.value for r in found.results if not r.tag}
  assert figures["first_position_rate"] == 1 and figures["accuracy"] == 0.5 and figures["unread"] == 0


@pytest.mark.parametrize(("one", "count"), [(mt_bench, 80), (alpaca_eval, 805), (llmbar, 419)])
def test_the_official_files_are_read(one, count):
  """On the real files, where they are."""
  root = os.environ.get("ITUNE_DATA", "")
  if not os.path.isdir(os.path.join(root, one.BENCHMARK.name)):
    pytest.skip(f"ITUNE_DATA has no {one.BENCHMARK.name}")
  settings = official.Settings(judge=judged.Judge(responder=Scripted(str)))
  found = list(one.BENCHMARK.benchmark([root], settings).items())
  assert len(found) == one.BENCHMARK.count == count and len({item.id for item in found}) == count
