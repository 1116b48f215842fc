"""Checkers, intervals, and multiple choice."""

import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.grading import checkers
from itune_jax.evals import choice
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.train import loop


@pytest.mark.parametrize(
  "output,check,passes",
  [
    (" a, b\n", {"name": "exact", "answer": "a, b"}, True),
    ("a, b.", {"name": "exact", "answer": "a, b"}, False),
    ("The Cat!", {"name": "any_of", "answers": ["dog", "the cat"]}, True),
    ("bird", {"name": "any_of", "answers": ["dog"]}, False),
    ('{"b": 1, "a": [2]}', {"name": "json", "answer": '{"a":[2],"b":1}'}, True),
    ('{"a": 2', {"name": "json", "answer": "{}"}, False),
    ("so 3 + 4 = 7\n#### 1,234", {"name": "final_number", "answer": "x #### 1234"}, True),
    ("the total is 12.0 apples", {"name": "final_number", "answer": "#### 12"}, True),
    ("#### 12 of 13", {"name": "final_number", "answer": "#### 13"}, False),
    ("none", {"name": "final_number", "answer": "#### 1"}, False),
  ],
)
def test_checkers(output, check, passes):
  assert checkers.judge(output, check) == passes


def test_unknown_check_is_refused():
  with pytest.raises(errors.InputError, match="unknown check 'magic'; checks are exact"):
    checkers.judge("", {"name": "magic"})


def test_interval_respects_clusters():
  copies = [1.0] * 50 + [0.0] * 50
  width = lambda clusters: np.diff(metrics_lib.Mean()(copies, clusters)[1:3])[0]
  assert width(["a"] * 50 + ["b"] * 50) > 3 * width([str(i) for i in range(100)])


def test_a_difference_is_paired():
  before, after, names = [i % 4 == 0 for i in range(80)], [i % 2 == 0 for i in range(80)], [str(i) for i in range(80)]
  mean, low, high, n = metrics_lib.Mean().paired(before, after, names).figure
  assert mean == 0.25 and 0.1 < low < 0.25 < high < 0.4 and n == 80
  with pytest.raises(ValueError, match="share no item"):
    metrics_lib.Mean().paired([None, 1], [1, None], ["a", "b"])


def test_a_tie_is_wrong_whichever_comes_first():
  assert not choice.wins([1.0, 1.0], 0) and not choice.wins([1.0, 1.0], 1) and choice.wins([1.0, 0.5], 0)


def test_early_stop():
  stop = loop.EarlyStop(metric="loss", patience=2)
  assert not stop.due([{"loss": 3}, {"loss": 2}, {"loss": 2.5}]) and stop.due(
    [{"loss": 2}, {"loss": 2.5}, {"loss": 2.4}]
  )
  assert not loop.EarlyStop().due([{"loss": 1}] * 9)
