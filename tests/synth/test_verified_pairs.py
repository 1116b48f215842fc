"""Pairs by a check: what is chosen passes it and what is rejected does not, whatever the model says."""

import json

import hypothesis
from hypothesis import strategies as st
import pytest

from itune_jax.core import errors
from itune_jax.grading import checkers
from itune_jax.sampling import requests as requests_lib
from itune_jax.synth import verified_pairs


def walked(made, n, texts):
  """The candidates of an item whose model says these texts, and how many it was asked for."""
  steps = made.make(n, ())
  try:
    (request,) = next(steps).requests
  except StopIteration as ended:
    return ended.value, 0
  samples = tuple(requests_lib.Sample(text, "stop") for text in texts)
  try:
    steps.send([requests_lib.Response(request.id, samples)])
  except StopIteration as ended:
    return ended.value, request.n
  raise AssertionError("it asks twice")


ROWS = (
  {"question": "Two and ten?", "answer": "Together 12.\n#### 12"},
  {"messages": [{"role": "user", "content": "Say yes."}, {"role": "assistant", "content": "yes"}]},
  {"prompt": "Say yes.", "completion": "yes", "check": {"name": "exact", "answer": "yes"}},
  {"prompt": "Say yes.", "completion": "no", "check": {"name": "exact", "answer": "yes"}},
)


@pytest.fixture(name="file", scope="module")
def _file(tmp_path_factory):
  path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
  path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
  return str(path)


@hypothesis.given(
  texts=st.lists(st.sampled_from(["#### 12", "It is 13.", "yes", "Yes.", "no", "", " "]), min_size=3, max_size=3),
  n=st.integers(0, len(ROWS) - 1),
  chosen=st.sampled_from(["row", "own"]),
)
def test_chosen_is_right_and_rejected_is_wrong(file, texts, n, chosen):
  made = verified_pairs.VerifiedPairs(prompts_file=file, samples=3, chosen=chosen)
  (candidate,), asked = walked(made, n, texts)
  test = {"name": "final_number", "answer": "12"} if n == 0 else ROWS[n].get("check")
  can = test is not None and (chosen == "own" or n != 3)
  assert asked == (3 if can else 0)
  right = [t for t in texts if can and checkers.judge(t.strip(), test)]
  wrong = [t.strip() for t in texts if t.strip() and t not in right]
  wanted = can and wrong and (chosen == "row" or right)
  assert bool(candidate.reason) != bool(wanted), candidate
  if wanted:
    row = candidate.row
    assert row["rejected"][0]["content"] == wrong[0] and not checkers.judge(wrong[0], test)
    assert checkers.judge(row["chosen"][0]["content"], test)


def test_own_right_answers_need_two_samples(file):
  with pytest.raises(errors.InputError, match="2 or more"):
    verified_pairs.VerifiedPairs(prompts_file=file, samples=1, chosen="own")
