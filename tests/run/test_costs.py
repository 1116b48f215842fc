"""Costs are those of the answers, shared among what was asked together, and shown for each run."""

import pytest

from itune_jax.core import errors
from itune_jax.run import costs
from itune_jax.run.commands import compare as command
from itune_jax.run.comparison import comparing
from itune_jax.run.comparison import outcomes
from itune_jax.run.report import compare_page
from itune_jax.run.report import pareto
from tests.run.comparison import made


def rows(*pairs):
  return [{"usage": {"prompt": p, "answer": a}} for p, a in pairs]


def test_seconds_are_shared_by_tokens_and_kept(tmp_path):
  timed = costs.Timed(None)
  timed.answers_s, timed.scores_s = 30.0, 5.0
  given = {"a": rows((10, 5), (10, 5)), "b": rows((50, 10)), "c": rows((7, 1))}
  found = costs.shared(given, {"a": True, "b": True, "c": False}, timed)
  assert (found["a"].prompt, found["a"].answer, found["a"].tokens) == (20, 10, 15)
  assert [found[name].seconds for name in "abc"] == pytest.approx([10.0, 20.0, 5.0])
  assert sum(one.seconds for one in found.values()) == pytest.approx(35)
  assert costs.shared(given, {}, None)["a"].seconds is None
  partly = costs.shared({**given, "d": [{}]}, {"a": True, "b": True, "c": False}, timed)
  assert set(partly) == set("abc") and partly["a"].seconds is None, "d's part is not known, and so no other's"
  costs.write(str(tmp_path), found)
  costs.write(str(tmp_path), {"a": found["b"]})
  assert costs.read(str(tmp_path)) == {**found, "a": found["b"]}
  (tmp_path / costs.FILE).write_text('{"a": {"n": 1}}')
  with pytest.raises(errors.InputError, match="holds no costs"):
    costs.read(str(tmp_path))


def test_the_front_is_what_no_other_beats():
  point = lambda run, cost, value: pareto.Point(run, cost, value)
  given = [point("a", 1, 0.2), point("b", 2, 0.5), point("c", 3, 0.4), point("d", 4, 0.9), point("e", 4, 0.8)]
  assert [one.run for one in pareto.front(given)] == ["a", "b", "d"]
  assert [one.run for one in pareto.front(given, higher=False)] == ["a"]
  equal = [point("a", 1, 0.5), point("b", 1, 0.5)]
  assert len(pareto.front(equal)) == 2


def test_the_page_shows_costs_and_the_front(tmp_path):
  for name, seed, tokens in (("base", 1, 40), ("tuned", 2, 90)):
    made.folder(tmp_path / name, made.rows(seed, share=0.3 * seed))
    costs.write(str(tmp_path / name), {"apples": costs.Cost(items=40, prompt=40 * 30, answer=40 * tokens, seconds=8.0)})
  runs = command.runs_of([str(tmp_path / "base"), f"<b>={tmp_path / 'tuned'}"])
  page = compare_page.page(comparing.compare(runs, [], outcomes.Asked(metrics=("exact",))), 10)
  table = page.split('<table id="costs">')[1].split("</table>")[0]
  assert "90.0" in table and "4,800" in table and "8.0" in table and "&lt;b&gt;" in table and "<b><b>" not in table
  assert page.count('class="forest pareto"') == 1 and "120.0 tokens" in page and "70.0 tokens" in page
