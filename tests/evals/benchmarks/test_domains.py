"""Benchmarks of domains, languages, images, decisions and agents on made-up files: items, verdicts, what is refused."""

import base64
import json
import os
import struct
import zlib

import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.evals import acting
from itune_jax.evals import official
from itune_jax.evals import suite
from itune_jax.evals.benchmarks import registry
from itune_jax.evals.benchmarks.decisions import predicted_costs
from itune_jax.grading import languages
from itune_jax.grading import letters
from itune_jax.grading import regret
from itune_jax.grading import short_words
from itune_jax.sampling import requests as requests_lib
from tests.evals.benchmarks import domain_files
from tests.evals.benchmarks import test_utility

Said, measured = test_utility.Said, test_utility.measured
DATA = os.environ.get("ITUNE_DATA", "")
STORED = {"pubmedqa": 500, "legalbench": 124, "fpb": 500, "fiqa_sa": 235, "tatqa": 600, "financebench": 150}
STORED |= {"orthought": 433, "mgsm": 1250, "xcopa": 1500, "pope": 500}
needs_data = pytest.mark.skipif(not os.path.isdir(DATA), reason="ITUNE_DATA names no folder")


class Asked(requests_lib.Responder):
  """Answers by a function of the whole request."""

  def __init__(self, says):
    self.says = says

  def answer(self, requests, progress=lambda n: None):
    return [requests_lib.Response(one.id, (requests_lib.Sample(self.says(one), "stop"),) * one.n) for one in requests]


def png(width=2):
  """A picture of one colour, as bytes."""
  chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
  rows = b"".join(b"\0" + b"\x40\x80\xc0" * width for _ in range(width))
  head = struct.pack(">IIBBBBB", width, width, 8, 2, 0, 0, 0)
  return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def write(path, value):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(value if isinstance(value, str) else json.dumps(value))


def test_a_letter_is_read_or_there_is_none():
  options = ["red fox", "fox", "a dog"]
  for text, letter in (
    ("B", "B"),
    ("(C)", "C"),
    ("**A**. red fox", "A"),
    ("I think the answer is (B).", "B"),
    ("Answer: C, not A", "C"),
    ("It must be (A)", "A"),
    ("Surely the red fox did it.", "A"),
    ("a fox", "B"),
    ("A fox or (B) or (C)", "[invalid]"),
    ("It depends.", "[invalid]"),
    ("D", "[invalid]"),
    ("", "[invalid]"),
  ):
    assert letters.chosen(text, options) == letter, text


def test_medicine(tmp_path):
  folder, *_ = domain_files.pubmedqa(tmp_path)
  figures, found = measured(folder, "pubmedqa", Said(likes=lambda text: " yes"))
  assert [row["id"] for row in found.rows] == ["2", "0"] and figures["acc"] == 0.5
  assert figures["macro_f1"] == pytest.approx((2 / 3) / 3), "classes that nobody names count"
  figures, _ = measured(folder, "pubmedqa", Said(lambda text: "Hm. Maybe!"), variant="free_generate")
  assert figures["acc"] == 0.5 and figures["unparsed"] == 0
  folder, *_ = domain_files.medmcqa(tmp_path)
  figures, _ = measured(folder, "medmcqa", Said(likes=lambda text: " B"))
  assert figures["acc"] == pytest.approx(1 / 3)
  figures, _ = measured(folder, "medmcqa", Said(lambda text: "no idea"), variant="generate")
  assert figures == {"acc": 0.0, "unparsed": 1.0, "cut_off": 0.0, "empty": 0.0}
  row = {"question": "?", "cop": 0, **dict.fromkeys(("opa", "opb", "opc", "opd"), "x")}
  (folder / "medmcqa" / "dev.json").write_text(json.dumps(row))
  with pytest.raises(errors.InputError, match=r"dev.json:1: 'cop' is 0; in this file options count from 1"):
    measured(folder, "medmcqa", Said())


def test_law(tmp_path):
  for task, prompt, rows in (
    ("hearsay", "Q: {{text}}\nA:", "index\tanswer\ttext\n0\tYes\ta\n1\tNo\tb\n2\tNo\tc\n"),
    ("ssla_plaintiff", "{{text}}:", "index\tanswer\ttext\n0\tAda,Ben\td\n"),
    ("rule_qa", "{{text}}?", "index\tanswer\ttext\n0\tIt is.\te\n"),
  ):
    write(tmp_path / "legalbench" / task / "base_prompt.txt", prompt)
    write(tmp_path / "legalbench" / task / "test.tsv", rows)
  figures, found = measured(tmp_path, "legalbench", Said(lambda text: "no." if "Q:" in text else "ben, Cem"))
  assert figures["balanced_accuracy"] == 0.5 and figures["f1"] == pytest.approx(2 / (2 + 3 + 1))
  assert [row["id"] for row in found.rows] == ["hearsay/0", "hearsay/1", "hearsay/2", "ssla_plaintiff/0"]
  write(tmp_path / "legalbench" / "hearsay" / "base_prompt.txt", "{{who}}")
  with pytest.raises(errors.InputError, match=r"test.tsv: row 1: has no 'who'"):
    measured(tmp_path, "legalbench", Said())


TABLE = [["", "2019"], ["sales", "$ 12.5"]]


@pytest.mark.heavy
def test_finqa(tmp_path):
  qa = {"question": "Change?", "program": "subtract(12.5, 10), divide(#0, 10)", "exe_ans": 0.25}
  write(tmp_path / "finqa" / "test.json", [{"id": "a", "pre_text": ["x"], "post_text": [], "table": TABLE, "qa": qa}])
  figures, _ = measured(tmp_path, "finqa", Said(lambda text: "Program: divide(2.5, 10)"))
  assert (figures["execution"], figures["program"], figures["unparsed"]) == (1, 0, 0)
  figures, _ = measured(tmp_path, "finqa", Said(lambda text: "subtract(12.5, 10), divide(#0, 10)"))
  assert (figures["execution"], figures["program"]) == (1, 1)


def test_tatqa(tmp_path):
  question = {"uid": "q", "question": "How much?", "answer": 12.5, "answer_type": "arithmetic", "scale": "million"}
  paragraphs = [{"order": 1, "text": "Sales grew."}]
  document = {"table": {"uid": "t", "table": TABLE}, "paragraphs": paragraphs, "questions": [question]}
  write(tmp_path / "tatqa" / "tatqa_dataset_dev.json", [document])
  for said, em, unparsed in (
    ('{"answer": ["12.5"], "scale": "million"}', 1, 0),
    ("12500000", 1, 1),
    ('{"answer": [12.5, "x"]}', 0, 1),
    ("", 0, 1),
  ):
    figures, _ = measured(tmp_path, "tatqa", Said(lambda text, said=said: said))
    assert (figures["em"], figures["unparsed"]) == (em, unparsed), said


def test_gaps_are_of_the_same_items(tmp_path):
  folder, *_ = domain_files.belebele(tmp_path, codes=("deu_Latn", "eng_Latn", "swh_Latn"))
  benchmark = registry.find("belebele").benchmark((str(folder),))
  found = suite.measure(benchmark, Said(likes=lambda text: " A"))
  gaps = {one.tag: one for one in found.results if one.metric == "acc_gap"}
  assert set(gaps) == {"language=deu_Latn", "language=swh_Latn"} and gaps["language=deu_Latn"].n == 2
  rows = [dict(row, values={"acc": float(row["id"].startswith("eng"))}) for row in found.rows]
  assert {one.value for one in suite.gaps(benchmark, rows)} == {1.0}
  limited = registry.find("belebele").benchmark((str(folder),), official.Settings(limit=3)).items()
  assert len({item.cluster for item in limited}) == 1, "the same question in each language"


@pytest.mark.heavy
def test_languages():
  pytest.importorskip("lingua")
  codes = languages.known(("de", "xx", "en"))
  assert codes == {"de", "en"}
  text = "Der Fuchs schläft heute unter dem alten Baum im Garten."
  assert languages.is_wrong(text, "de", codes) is False and languages.is_wrong(text, "en", codes) is True
  assert languages.is_wrong("42", "de", codes) is None and languages.is_wrong(text, "xx", codes) is None


def test_images(tmp_path):
  rows = [
    {"question_id": k, "image": f"{k}.png", "text": "Is it red?", "label": ("yes", "no")[k % 2]} for k in range(4)
  ]
  write(tmp_path / "pope" / "coco_pope_random.json", "".join(json.dumps(row) + "\n" for row in rows))
  with pytest.raises(errors.InputError, match=r"coco_pope_random.json:1: its image is not there: .*0.png"):
    measured(tmp_path, "pope", Said())
  (tmp_path / "pope" / "images").mkdir()
  for k in range(4):
    (tmp_path / "pope" / "images" / f"{k}.png").write_bytes(png())
  figures, found = measured(tmp_path, "pope", Asked(lambda one: "Yes, it is." if one.id != "coco/random/1" else "red"))
  assert found.rows[0]["prompt"] == "Is it red?"
  assert (figures["acc"], figures["precision"], figures["recall"]) == (0.5, 0.5, 1.0)
  assert (figures["f1"], figures["yes_ratio"], figures["unparsed"]) == (pytest.approx(2 / 3), 1.0, 0.25)
  image = base64.b64encode(png()).decode()
  head = "index\tquestion\thint\tA\tB\tC\tanswer\tcategory\timage\n"
  write(tmp_path / "mmbench" / "mmbench_dev_en.tsv", f"{head}7\tWhat is it?\tnan\tcat\tdog\tcow\tB\tbeast\t{image}\n")
  dog = lambda one: next(
    line[0] for line in one.conversation.messages[0]["content"][1]["text"].split("\n") if "dog" in line
  )
  figures, found = measured(tmp_path, "mmbench", Asked(dog))
  assert figures["circular"] == 1 and found.rows[0]["outputs"] == ["B", "C", "A"]
  figures, _ = measured(tmp_path, "mmbench", Asked(lambda one: "B"))
  assert (figures["circular"], figures["vanilla"], figures["each"]) == (0, 1, pytest.approx(1 / 3))
  row = {"id": "x", "question": "What is <image 1>?", "question_type": "multiple-choice"}
  row |= {"options": "['cat', 'dog']", "answer": "B", "image_1": image}
  write(tmp_path / "mmmu" / "Art" / "validation.jsonl", json.dumps(row))
  figures, _ = measured(tmp_path, "mmmu", Asked(lambda one: "nothing"))
  assert (figures["acc"], figures["unparsed"]) == (0, 1), "no letter by chance"
  write(tmp_path / "mmmu" / "Art" / "validation.jsonl", json.dumps(row | {"image_1": "aGVsbG8="}))
  with pytest.raises(errors.InputError, match=r"validation.jsonl:1: image_1: its image begins like no PNG"):
    measured(tmp_path, "mmmu", Said())
  write(tmp_path / "chartqa" / "test_human.json", [{"imgname": "0.png", "query": "How many?", "label": "10"}])
  (tmp_path / "chartqa" / "png").mkdir()
  (tmp_path / "chartqa" / "png" / "0.png").write_bytes(png())
  figures, _ = measured(tmp_path, "chartqa", Asked(lambda one: " 10.4."))
  assert (figures["relaxed"], figures["exact"]) == (1, 0)


@pytest.mark.parametrize(
  ("said", "gold", "is_right"),
  [("10.5", "10", True), ("10.6", "10", False), ("50%", "0.5", True), ("Red", "red", True), ("x", "0", False)],
)
def test_relaxed_accuracy(said, gold, is_right):
  assert short_words.relaxed(said, gold) == is_right


@pytest.mark.parametrize("name", ["knapsack", "shortest_path"])
def test_regret(name):
  benchmark = registry.find(name)
  task = benchmark.make.keywords["task"]
  problem, _, asked = task.instances("degree_4")
  for costs_M in asked.costs[:5]:
    assert problem.value(costs_M) == pytest.approx(float(costs_M @ problem.by_highs(costs_M)), abs=1e-9)
  noise = np.random.default_rng(0).normal(size=(20, problem.size))
  assert all(problem.regret(*pair) >= 0 for pair in zip(noise, asked.costs, strict=False))
  answers = [json.dumps(row) for row in asked.costs.tolist()]
  made = benchmark.benchmark((), official.Settings(limit=6))
  figures = lambda says: {one.metric: one.value for one in suite.measure(made, Asked(says)).results if not one.tag}
  exact = figures(lambda one: answers[int(one.id)])
  assert exact["regret"] == 0 and exact["unparsed"] == 0
  assert 0 < exact["regret_two_stage"] < 0.5 and 0 < exact["regret_spo_plus"] < 0.5
  assert figures(lambda one: "1, 2")["unparsed"] == 1
  row = next(task.rows())
  assert len(row["messages"][1]["content"].split(", ")) == problem.size
  assert row["messages"][0]["content"].startswith("Features of today: ")
  assert sum(1 for _ in task.rows()) == predicted_costs.TRAIN


PROGRAM = """Here it is.
```python
from scipy.optimize import milp, LinearConstraint, Bounds
def solve():
  rows = {rows}
  found = milp({costs}, integrality=[1, 1], bounds=Bounds(0, 1e6), constraints=LinearConstraint(rows, ub={bounds}))
  return {sign} * found.fun
```"""
# Problems of NLP4LP, solved by hand-written programs: costs, rows, bounds, sign.
SOLVED = {
  "prob_001": ([-3, -4], [[2, 3], [3, 5]], [40, 70], -1),
  "prob_003": ([-12, -5], [[10, 7], [5, -1], [-1, 0]], [1000, 0, -10], -1),
}


@needs_data
@pytest.mark.heavy
def test_stored_optima_are_found_by_highs_in_the_sandbox():
  """Right programs find stored optima; a program of another value, and an answer without code, do not."""
  made = registry.find("orthought").benchmark((DATA,))
  items = {item.id: item for item in made.items()}
  chosen, said = [], []
  for name, (costs, rows, bounds, sign) in SOLVED.items():
    chosen.append(items[f"NLP4LP/{name}"])
    said.append(PROGRAM.format(costs=costs, rows=rows, bounds=bounds, sign=sign))
  chosen += [items["NLP4LP/prob_004"], items["NLP4LP/prob_005"]]
  said += ["def solve():\n  return 1.0", "I do not know."]
  answers = [
    requests_lib.Response(i.id, (requests_lib.Sample(one, "stop"),)) for i, one in zip(chosen, said, strict=True)
  ]
  rows = suite.graded(made, chosen, answers)
  assert [row["judged"] for row in rows] == ["passed", "passed", "wrong", "no code"], [row["why"] for row in rows]


def test_spo_plus_is_below_its_start():
  """The surrogate loss falls, and bounds the regret from above (proposition 2 of the paper)."""
  problem, given = regret.shortest_path(60, 5, height=3, width=4, degree=6, noise=0.5, seed=3)
  best = problem.decide_each(given.costs)

  def surrogate(predicted):
    worst = problem.decide_each(2 * predicted - given.costs)
    ours = (2 * predicted * best).sum(1) - (given.costs * best).sum(1)
    return ours - ((2 * predicted - given.costs) * worst).sum(1)

  first, last = (fit(given.features) for fit in (regret.two_stage(given), regret.spo_plus(problem, given)))
  assert surrogate(last).mean() < surrogate(first).mean()
  told = np.array([problem.regret(*pair) for pair in zip(last, given.costs, strict=True)])
  assert (told <= surrogate(last) + 1e-9).all()


def test_agents_are_judged_by_the_world_that_they_leave():
  made = registry.find("tool_use").benchmark(())
  tasks = {item.id: item for item in made.items()}
  assert len(tasks) == 60

  def solves(one):
    """The shortest solution, step by step, from what the project itself wrote down; one kind is done wrongly."""
    item = tasks[one.id.rpartition("/")[0] if one.id.count("/") == 2 else one.id]
    step = int(one.id.rpartition("/")[2]) if one.id.count("/") == 2 else 1
    calls = solution(item)
    if item.tags["kind"] == "cancel" and step == 1:
      return '<tool_call>{"name": "cancel", "arguments": {}}</tool_call>'
    if step > len(calls):
      return "Done."
    return json.dumps({"name": calls[step - 1][0], "arguments": calls[step - 1][1]})

  found = suite.measure(made, Asked(solves))
  by_kind = {one.tag.removeprefix("kind="): one.value for one in found.results if one.metric == "success" and one.tag}
  assert by_kind == {**dict.fromkeys(("write", "move", "book", "refill", "none"), 1.0), "cancel": by_kind["cancel"]}
  assert {one.tag: one.value for one in found.results if one.metric == "invalid_calls"}["kind=cancel"] > 0
  idle = suite.measure(made, Asked(lambda one: "Done."))
  assert {one.value for one in idle.results if one.metric == "success" and one.tag != "kind=none" and one.tag} == {0.0}
  silent = suite.measure(made, Asked(lambda one: ""))
  assert silent.figures["tool_use/success"] == 0.0 < idle.figures["tool_use/success"], "who says nothing did not end"


def solution(item):
  """Calls that lead from an item's world to the wanted one, found anew from the difference of both."""
  before, after = item.shown["world"], item.answer
  lost = [one for one in before["calendar"] if one not in after["calendar"]]
  gone = [("cancel_event", {"date": one["date"], "time": one["time"]}) for one in lost]
  new = [("add_event", dict(one)) for one in after["calendar"] if one not in before["calendar"]]
  mails = [("send_mail", dict(one)) for one in after["sent"]]
  added = {name: count - before["stock"][name] for name, count in after["stock"].items()}
  more = [("order_stock", {"item": name, "count": count}) for name, count in added.items() if count]
  return [*gone, *new, *mails, *more]


def test_calls_of_an_answer():
  said = lambda text: acting.calls_of(requests_lib.Sample(text, "stop"))
  call = {"name": "a", "arguments": {}}
  assert said(json.dumps(call)) == said(f"```json\n{json.dumps(call)}\n```") == [call]
  assert said(f"<tool_call>{json.dumps(call)}</tool_call> <tool_call>x</tool_call>") == [call, None]
  assert said("All done.") == [] and said("{broken") == [None]
  endpoint = requests_lib.Sample("", "tool_calls", tool_calls=({"function": {"name": "a", "arguments": "{}"}},))
  assert acting.calls_of(endpoint) == [call]
  assert acting.calls_of(endpoint._replace(tool_calls=("x",))) == [None]


@needs_data
@pytest.mark.heavy
@pytest.mark.parametrize("name", STORED)
def test_stored_rows(name):
  """All stored rows become items, and the right answer is right by every figure that has a most."""
  variant = {"legalbench": "train", "pope": "blind", "pubmedqa": "required_generate"}.get(name, "")
  made = registry.find(name).benchmark((DATA,), official.Settings(variant=variant))
  items = list(made.items())
  assert len(items) == STORED[name]
  if name in ("fpb", "fiqa_sa", "pope", "pubmedqa", "legalbench"):
    rows = suite.graded(
      made, items, [requests_lib.Response(i.id, (requests_lib.Sample(i.answer, "stop"),)) for i in items]
    )
    right = "acc" if name != "legalbench" else "balanced_accuracy"
    assert all(row["values"][right] in (1.0, None) or len(set(row["values"][right])) == 1 for row in rows)


@needs_data
@pytest.mark.heavy
def test_pubmedqa_annotators():
  """The stored annotations give the human figures of the paper (table 5): 78.0/72.2 and 90.4/84.2."""
  sk = pytest.importorskip("sklearn.metrics")
  with open(os.path.join(DATA, "pubmedqa", "ori_pqal.json")) as f:
    rows = json.load(f)
  with open(os.path.join(DATA, "pubmedqa", "test_ground_truth.json")) as f:
    golds = json.load(f)
  for key, accuracy, macro in (("reasoning_required_pred", 78.0, 72.2), ("reasoning_free_pred", 90.4, 84.2)):
    said = {id: rows[id][key] for id in golds}
    made = registry.find("pubmedqa").benchmark((DATA,), official.Settings(variant="required_generate"))
    answers = [requests_lib.Response(item.id, (requests_lib.Sample(said[item.id], "stop"),)) for item in made.items()]
    graded = suite.graded(made, list(made.items()), answers)
    figures = {one.metric: one.value for one in suite.figures(made, graded) if not one.tag}
    assert (round(100 * figures["acc"], 1), round(100 * figures["macro_f1"], 1)) == (accuracy, macro)
    assert figures["macro_f1"] == pytest.approx(sk.f1_score(list(golds.values()), list(said.values()), average="macro"))
