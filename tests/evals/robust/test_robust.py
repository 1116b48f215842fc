"""Variations of benchmarks: what they change and what they may not, the search over formats, and the command's part."""

import dataclasses
import json
import math
import re

import numpy as np
import pytest

from itune_jax.core import conversation
from itune_jax.core import errors
from itune_jax.evals import ask
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.evals import suite
from itune_jax.evals.benchmarks import registry
from itune_jax.evals.benchmarks.utility import mmlu
from itune_jax.evals.robust import prompt_formats
from itune_jax.evals.robust import perturbations
from itune_jax.evals.robust import thompson
from itune_jax.evals.robust import variations
from itune_jax.run import robustness
from tests.evals.benchmarks import fixtures
from tests.evals.benchmarks import said

PROMPT = "What is it:\nso or not?\nA. this\nB. that: one\nmore of it\nC. else\nAnswer:"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return fixtures.mmlu(tmp_path_factory.mktemp("robust"), mmlu.CATEGORIES)


@pytest.fixture
def benchmark(folder):
  return registry.find("mmlu").benchmark((str(folder),), official.Settings(limit=20, shots=2))


def test_prompts_are_read_and_written_again():
  found = prompt_formats.parts(PROMPT)
  assert prompt_formats.plain(found) == PROMPT and prompt_formats.labels(found) == ["A", "B", "C"]
  assert [one.text for one in found if one.kind == "option"] == ["this", "that: one\nmore of it", "else"]
  how = prompt_formats.Format(" - ", " || ", "upper", "[{}]", "i")
  assert prompt_formats.written(found, how) == (
    "What is it:\nso or not? || [i] this || [ii] that: one\nmore of it || [iii] else || ANSWER -"
  )
  bbq = "They met.\n\nQ: Who?\n(a) he\n(b) she\nA:"
  assert prompt_formats.plain(prompt_formats.parts(bbq)) == bbq and prompt_formats.labels(
    prompt_formats.parts(bbq)
  ) == ["a", "b"]
  assert prompt_formats.labels(prompt_formats.parts("1. first\n3. third\nB. out")) == ["1"]


def test_formats_are_of_the_grammar():
  found = prompt_formats.sampled(200, seed=3)
  assert len({one.name for one in found}) == 200 and found == prompt_formats.sampled(
    200, seed=3
  ) != prompt_formats.sampled(200, 4)
  assert all("\n" in one.space for one in found if "\n" in one.separator)
  names = [len({vars(one)[name] for one in found}) for name in ("separator", "space", "case", "wrapper", "number")]
  assert names == [len(prompt_formats.SEPARATORS), len(prompt_formats.SPACES), 4, 6, 6]


def test_a_format_keeps_what_is_right(benchmark):
  """A responder that knows the right text, wherever and however it stands, is right in every format."""
  items = list(benchmark.items())
  for how in prompt_formats.sampled(40, seed=0):
    for item in items[:5]:
      found = variations.reformatted(how)(item)
      own, put = prompt_formats.parts(item.question), found.question
      assert [choice.strip() for choice in found.choices] == [prompt_formats.NUMBERS[how.number](i) for i in range(4)]
      assert all(one.text in put for one in own if one.kind == "option") and found.answer == item.answer
      assert len(found.shots) == 2 and found.shots[0].answer.strip() in [choice.strip() for choice in found.choices]
      assert all(found.prompt("plain").count(one.text) for one in own)


def test_rotations_move_the_answer_with_its_text(benchmark):
  for item in benchmark.items():
    texts = [one.text for one in prompt_formats.parts(item.question) if one.kind == "option"]
    right = texts["ABCD".index(item.answer)]
    for by in (1, 2, 3):
      found = variations.rotated(by)(item)
      turned = [one.text for one in prompt_formats.parts(found.question) if one.kind == "option"]
      assert turned["ABCD".index(found.answer)] == right and sorted(turned) == sorted(texts) and turned != texts


@pytest.mark.parametrize("name", perturbations.KINDS)
def test_perturbations_leave_what_may_be_asked(name):
  text = "What is the color of 3 cups, x1 and iPhones? It is not small because you're going to find a $100 bill."
  rng = lambda: np.random.default_rng(5)
  long = " ".join([text] * 20)
  found = perturbations.KINDS[name](long, rng())
  assert found == perturbations.KINDS[name](long, rng()) and found != long
  assert re.findall(r"\d+", found) == re.findall(r"\d+", long), "numbers stay"
  if name not in ("lower", "upper"):
    assert found.count("iPhones") == 20 and found.count("$100") == 20 and found.count("x1") == 20


def test_perturbed_items_keep_options_and_labels(benchmark):
  for name in perturbations.KINDS:
    for item in benchmark.items():
      found = variations.perturbed(name, 0)(item) or item
      own, put = prompt_formats.parts(item.question), prompt_formats.parts(found.question)
      assert [one for one in own if one.kind == "option"] == [one for one in put if one.kind == "option"]
      assert found.question.endswith("\nAnswer:") and found.answer == item.answer and found.choices == item.choices
  chat = protocol.Item(id="a", question=conversation.of("what is the reason because of which something is small"))
  found = variations.perturbed("dialect", 0)(chat)
  assert found.question.messages[-1]["content"] == "what is the reason 'cause of which somethin' is wee"


def test_what_a_variation_cannot_change_is_said(benchmark):
  made, why = variations.variants(benchmark, "system", 2, 0)
  assert not made and why == "it is asked in plain text, which has no system's turn"
  assert variations.variants(benchmark, "temperature", 2, 0) == ([], "nothing is drawn: its answers are scored")
  assert not variations.variants(benchmark, "jailbreaks", 2, 0)[0]
  chat = dataclasses.replace(
    benchmark,
    items=lambda: [protocol.Item(id="a", question="Hi", harmful=True), protocol.Item(id="b", question="Ho")],
    ask=ask.Generate(temperature=0.0),
  )
  made, _ = variations.variants(chat, "jailbreaks", 3, 0)
  rows = [row for variant in made for row in variant.benchmark.items()]
  assert [item.shown.get("unchanged", False) for item in rows] == [False, True] * 3
  made, _ = variations.variants(chat, "system", 2, 0)
  asked = [next(iter(one.benchmark.items())).question.messages for one in made]
  assert [messages[0]["content"] for messages in asked] == list(variations.SYSTEMS[:2]) and len(asked[0]) == 2
  assert [one.benchmark.ask.temperature for one in variations.variants(chat, "seed", 3, 0)[0]] == [0.7] * 3


def test_thompson_finds_the_best_and_the_worst():
  """Forty arms of which one is far better and one far worse: found with a fifth of what asking all would cost."""
  rng = np.random.default_rng(0)
  chances = np.r_[rng.uniform(0.45, 0.55, 38), 0.9, 0.1]
  worths = rng.uniform(size=(40, 200)) < chances[:, None]
  asked = []

  def ask_of(arm, first, count):
    asked.append((arm, first, count))
    return worths[arm, first : first + count].astype(float)

  found = thompson.search(40, 200, ask_of, budget=1600, batch=10, seed=1)
  assert (found.best, found.worst) == (38, 39) and 1600 <= found.asked < 1620
  assert len({(arm, first + k) for arm, first, count in asked for k in range(count)}) == found.asked
  assert found.value == pytest.approx(worths[38].mean() - worths[39].mean(), abs=0.1)
  alone = thompson.search(1, 5, lambda arm, first, count: [1.0] * count, budget=100)
  assert alone.value == 0 and alone.asked == 5
  with pytest.raises(ValueError, match="worths from 0 to 1"):
    thompson.search(1, 5, lambda arm, first, count: [2.0] * count, budget=10)


def test_other_examples_are_drawn_from_all_that_there_are(folder):
  """Two of five: as many as before, never more, in the order of the pool; where the pool has no more, half of them."""
  make = lambda shots: registry.find("mmlu").benchmark((str(folder),), official.Settings(limit=20, shots=shots))
  few, pool = make(2), make(5)
  whole = {item.id: item.shots for item in pool.items()}
  drawn, why = variations.variants(few, "examples", 3, 0, pool)
  assert not why and [one.name for one in drawn] == ["draw 1", "draw 2", "draw 3"]
  for variant in drawn:
    for item, own in zip(variant.benchmark.items(), few.items(), strict=True):
      places = [whole[item.id].index(shot) for shot in item.shots]
      assert len(places) == 2 and places == sorted(set(places)) and item.question == own.question
      assert item.shots != own.shots or item.shown["unchanged"]
  assert len({next(iter(one.benchmark.items())).shots for one in drawn}) > 1
  half, _ = variations.variants(pool, "examples", 1, 0)
  assert {len(item.shots) for item in half[0].benchmark.items()} == {3}
  none = make(0)
  assert variations.variants(none, "examples", 3, 0, none) == (
    [],
    "there are not two examples that could stand in front",
  )
  suite_of = suite.Suite(names=("mmlu",), common=official.Settings(limit=20, shots=2), data=str(folder))
  found = robustness.run(
    suite_of, robustness.Robust(kinds=("examples",), variants=2), said.Said(scores=likes), {}, "", lambda n: None
  )
  assert "mmlu/acc/examples_worst" in found


def test_kernels_of_other_kinds_are_a_variation_of_the_model(folder, tmp_path, capsys):
  """The same items are asked of each; a model that always says the second option is right as often as B is."""
  asked = suite.Suite(names=("mmlu",), common=official.Settings(limit=24, shots=0), data=str(folder))
  robust = robustness.Robust(kinds=("quantised",))
  opened = []

  def other(kind):
    opened.append(kind)
    return said.Said(scores=(lambda text, choice: -1.0) if kind == "nf4" else likes)

  kernels = robustness.Quantised(("int8", "nf4"), other)
  given = (said.Said(scores=likes), {"who": 1}, str(tmp_path), lambda n: None)
  figures = robustness.run(asked, robust, *given, quantised=kernels)
  told = json.loads((tmp_path / "robust" / "robust.json").read_text())["lines"]
  (line,) = [one for one in told if one["metric"] == "acc"]
  first = figures["mmlu/acc"]
  assert line["figures"]["int8"] == first and line["variants"] == 2 and opened == ["int8", "nf4"]
  assert figures["mmlu/acc/quantised_spread"] == pytest.approx(abs(line["figures"]["nf4"] - first))
  assert (tmp_path / "robust" / "nf4" / "mmlu.jsonl").exists()
  assert robustness.run(asked, robust, *given, quantised=kernels) == figures, "what is there is read again"
  robustness.run(asked, robust, *given)
  assert "the model is not quantised: an endpoint answers" in capsys.readouterr().err


def likes(text, choice):
  """Always the second option, whatever it is; louder where the prompt shouts."""
  label = prompt_formats.labels(prompt_formats.parts(text))
  return 0.0 if (choice.strip() == label[1] if label else choice.strip() in ("2", "b", "B", "ii", "II", "Ⅱ")) else -1.0


def test_the_command(folder, tmp_path, capsys, monkeypatch):
  """Base and variations in one go: figures, files, and the same again from what is there, without asking."""
  common = official.Settings(limit=24, shots=0)
  asked = suite.Suite(names=("mmlu",), common=common, data=str(folder))
  robust = robustness.Robust(kinds=("format", "options", "perturb", "system"), variants=3)
  responder, out = said.Said(scores=likes), str(tmp_path / "out")
  figures = robustness.run(asked, robust, responder, {"who": "said"}, out, lambda n: None)
  told = json.loads((tmp_path / "out" / "robust" / "robust.json").read_text())
  by_kind = {line["kind"]: line for line in told["lines"] if line["metric"] == "acc"}
  assert set(by_kind) == {"format", "options", "perturb"} and by_kind["options"]["variants"] == 3
  assert figures["mmlu/circular_acc"] == 0, "who always says B is wrong in some rotation"
  assert by_kind["format"]["spread"] == 0 and by_kind["options"]["worst"] <= by_kind["options"]["base"]
  p_softmax = 1 / (1 + 3 * math.exp(-1))
  assert figures["mmlu/ece_acc"] == pytest.approx(abs(p_softmax - figures["mmlu/acc"]))
  assert figures["mmlu/acc/options_worst"] == by_kind["options"]["worst"]
  assert "mmlu: system is not varied: it is asked in plain text" in capsys.readouterr().err
  rows = (tmp_path / "out" / "robust" / "mmlu@options.rotated_by_1_").parent
  assert len(list(rows.glob("mmlu@options.*.jsonl"))) == 3 and len(list(rows.glob("mmlu@perturb.*.key"))) == 3
  responder.asked.clear()
  again = robustness.run(asked, robust, responder, {"who": "said"}, out, lambda n: None)
  assert again == figures and not responder.asked
  with pytest.raises(errors.InputError, match="holds mmlu of other who"):
    robustness.run(asked, robust, responder, {"who": "else"}, out, lambda n: None)


def test_formats_are_searched_under_a_budget(folder):
  asked = suite.Suite(names=("mmlu",), common=official.Settings(limit=40, shots=0), data=str(folder))
  robust = robustness.Robust(kinds=("format",), budget=400, formats=12)
  shouts = (
    lambda text, choice: 0.0 if ("ANSWER" in text) == (choice.strip() in ("A", "a", "1", "i", "I", "Ⅰ")) else -1.0
  )
  figures = robustness.run(asked, robust, said.Said(scores=shouts), {}, "", lambda n: None)
  assert 0 <= figures["mmlu/acc/searched_spread"] <= 1 and math.isfinite(figures["mmlu/acc/searched_spread"])


def test_what_is_varied_is_checked():
  assert robustness.named("all") == variations.KINDS and robustness.named("format, seed") == ("format", "seed")
  with pytest.raises(errors.InputError, match="no variation is called mood"):
    robustness.Robust(kinds=("mood",))
