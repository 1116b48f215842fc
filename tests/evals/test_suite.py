"""A benchmark is one value: asked in its way, graded, and made into figures by tag; a judge is a responder."""

import dataclasses
import math

import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.evals import choice
from itune_jax.evals import protocol
from itune_jax.evals import suite
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.sampling import requests
from itune_jax.sampling.score import rolling
from tests.parts import benchmark
from tests.parts import judge


class Oracle(requests.Responder):
  """Knows some answers, and likes short continuations."""

  def __init__(self, known):
    self.known, self.asked = known, []

  def answer(self, given, progress=lambda n: None):
    self.asked.append(len(given))
    progress(len(given))
    return [requests.Response(r.id, tuple(self._sample(r, i) for i in range(r.n))) for r in given]

  def _sample(self, request, i):
    return requests.Sample(self.known.get(request.id, "?") if i else "?", "stop")

  def score(self, pairs, progress=lambda n: None):
    return [requests.Score(-float(len(pair.continuation)), False, 1) for pair in pairs]

  def rolling(self, texts, progress=lambda n: None):
    return [requests.Score(-len(text.encode()) * math.log(2) * 3, False, len(text)) for text in texts]


def test_generated_answers_are_graded_by_tag():
  written = []
  found = suite.measure(benchmark.GENERATE, Oracle({"Peru": " Lima "}), write=written.extend)
  by_tag = {r.tag: (r.value, r.n, r.of) for r in found.results if r.metric == "any"}
  assert by_tag["continent=America"] == (1.0, 1, 1) and by_tag["continent=Africa"] == (0.0, 1, 1)
  assert by_tag[""] == (pytest.approx(1 / 3), 3, 3)
  assert found.figures["generate/any"] == pytest.approx(1 / 3) and found.figures["generate/items"] == 3
  assert found.figures["generate/continent=America/any"] == 1 and "generate/any_low" in found.figures
  assert (
    written == found.rows and found.rows[1]["outputs"] == ["?", " Lima "] and found.rows[1]["values"] == {"any": 1.0}
  )


def test_a_tag_that_no_item_has_is_named(capsys):
  mistyped = dataclasses.replace(benchmark.GENERATE, tags=("contnent",))
  found = suite.measure(mistyped, Oracle({}))
  assert "generate: no item has the tag contnent; items have continent" in capsys.readouterr().err
  assert not any(one.tag for one in found.results)
  suite.run([benchmark.GENERATE], Oracle({}))
  assert "no item has" not in capsys.readouterr().err


def test_choices_scores_and_whole_texts():
  chosen = suite.measure(benchmark.CHOOSE, Oracle({}))
  assert [row["values"]["acc"] for row in chosen.rows] == [0, 1, 0]  # the shortest is the likeliest
  scored = suite.measure(benchmark.SCORE, Oracle({}))
  assert scored.figures["score/logprob"] == pytest.approx(-np.mean([5, 4, 9]))
  assert suite.measure(benchmark.ROLLING, Oracle({})).figures["rolling/bits"] == pytest.approx(3)


def test_items_are_streamed_in_blocks_up_to_a_limit(monkeypatch):
  drawn = []

  def items():
    for i in range(10**9):
      drawn.append(i)
      yield protocol.Item(id=str(i), question=f"q{i}")

  many = dataclasses.replace(benchmark.GENERATE, items=items, tags=())
  monkeypatch.setattr(suite, "BLOCK", 8)
  oracle = Oracle({})
  assert len(suite.measure(many, oracle, limit=20).rows) == 20
  assert oracle.asked == [8, 8, 4] and len(drawn) == 20


def test_what_is_wrong_with_a_benchmark_is_one_line():
  double = dataclasses.replace(benchmark.GENERATE, items=lambda: [*benchmark.capitals(), *benchmark.capitals()])
  with pytest.raises(errors.InputError, match="generate: two items have the id 'France'"):
    suite.measure(double, Oracle({}))
  with pytest.raises(errors.InputError, match="benchmark generate has no items"):
    suite.measure(dataclasses.replace(benchmark.GENERATE, items=list), Oracle({}))
  lacking = dataclasses.replace(benchmark.GENERATE, metrics={"other": metrics_lib.Mean()})
  with pytest.raises(errors.InputError, match="the grade of item France lacks other"):
    suite.measure(lacking, Oracle({}))
  alone = lambda: [protocol.Item(id="x", question="q", choices=("a",), answer="a")]
  with pytest.raises(errors.InputError, match="item x has 1 choices"):
    suite.measure(dataclasses.replace(benchmark.CHOOSE, items=alone), Oracle({}))
  with pytest.raises(errors.InputError, match="'c' must be one of check.choices"):
    choice.right_of(protocol.Item(id="x", question="q", choices=("a", "b"), answer="c"))


def test_a_judge_is_asked_for_a_whole_block_and_leaves_out_what_it_is_not_sure_of():
  said = {"France": "A", "France/swapped": "B", "Peru": "A.", "Peru/swapped": "A", "Chad": "B", "Chad/swapped": "A!"}
  verdicts = Oracle(said)
  verdicts._sample = lambda request, i: requests.Sample(said[request.id], "stop")
  graded = dataclasses.replace(
    benchmark.GENERATE, grade=judge.Judge(verdicts), metrics={"wins": metrics_lib.Mean()}, tags=()
  )
  found = suite.measure(graded, Oracle({}))
  assert verdicts.asked == [6], "all of a block at once"
  result = found.results[0]
  assert (result.value, result.n, result.of) == (0.5, 2, 3)
  assert found.rows[1]["values"] == {"wins": None} and found.rows[1]["verdicts"] == ["A.", "A"]


@pytest.mark.parametrize("length", [2, 3, 7, 100])
@pytest.mark.parametrize("count", [1, 2, 6, 23])
def test_windows_predict_every_token_once_behind_as_much_as_fits(length, count):
  ids = list(range(count))
  found = rolling.windows(ids, -1, length)
  assert [i for _, continuation in found for i in continuation] == ids
  for context, continuation in found:
    assert context and len(context) + len(continuation) <= length
    whole = [-1, *ids]
    at = whole.index(continuation[0])
    assert context == whole[at - len(context) : at]
  assert all(len(c) + len(d) == length for c, d in found[1:])
