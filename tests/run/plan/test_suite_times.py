"""How long a suite would take: what it asks is counted by its own way of asking, and times are that over rates."""

import json

import pytest

from itune_jax.core import errors
from itune_jax.evals import official
from itune_jax.evals import suite as suite_lib
from itune_jax.run.plan import suite_counts
from itune_jax.run.plan import suite_times
from itune_jax.sampling import requests as requests_lib

MADE = {
  "prefill": {"positions_per_step": 1000, "step_s": 0.5},
  "choices": {"positions_per_step": 100, "step_s": 1.0},
  "score": {"positions_per_step": 500, "step_s": 1.0},
  "decode": {"positions_per_step": 8 * 64, "step_s": 6.4},
}


@pytest.fixture
def data(tmp_path):
  (tmp_path / "gsm8k").mkdir()
  rows = [{"question": "q" * 40 * k, "answer": "It is 4.\n#### 4"} for k in range(1, 4)]
  (tmp_path / "gsm8k" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  return str(tmp_path)


def counted(data, names, **how):
  return suite_counts.counted(suite_lib.Suite(names=names, common=official.Settings(**how), data=data), 4096)


def test_what_a_suite_asks_is_what_its_requests_hold(data):
  names, how = ("gsm8k", "mmlu"), dict(shots=0, max_new_tokens=20)
  found = counted(data, ("gsm8k",), **how)["gsm8k"]
  (benchmark,) = suite_lib.Suite(names=("gsm8k",), common=official.Settings(**how), data=data).benchmarks()
  prompts = [-(-len(item.prompt("plain").encode()) // 4) for item in benchmark.items()]
  assert found == suite_counts.Counts(3, prompts=sum(prompts), new=60, longest=20)
  fewer = counted(data, names, limit=2)
  assert fewer["gsm8k"].items == 2 and fewer["gsm8k"].longest == 512 and fewer["gsm8k"].prompts > found.prompts
  missing = fewer["mmlu"]
  assert not missing.from_files and missing.items == 2 and missing.contexts == 2 * 512 and missing.behind == 2 * 4 * 7
  assert missing.new == missing.prompts == missing.alone == 0
  assert any("mmlu" in one and "512 positions" in one for one in suite_times.assumes(fewer))
  assert not any("not there" in one for one in suite_times.assumes({"gsm8k": found}))
  with pytest.raises(errors.InputError, match="there is no benchmark 'gsm9k'"):
    counted(data, ("gsm9k",))


def test_contexts_that_are_shared_run_once_and_what_stands_alone_as_a_whole():
  counter, pair = suite_counts.Counter(4096, 64), requests_lib.Pair
  counter.score([pair("c" * 80, "a" * 12), pair("d" * 40, "b" * 8), pair("c" * 80, "b" * 20)])
  counter.rolling(["x" * 100])
  assert counter.found == suite_counts.Counts(0, contexts=20, behind=2 + 4, alone=10 + 2 + 25)


def test_times_are_counts_over_rates_and_no_text_is_quicker_than_its_tokens():
  rates = suite_times.rates_of(MADE, 8)
  assert rates == suite_times.Rates(2000.0, 100.0, 500.0, 80.0, 0.1)
  many = suite_counts.Counts(10, prompts=4000, new=1600, longest=160)
  assert suite_times.seconds(many, rates) == {"prompts_s": 2.0, "scores_s": 0.0, "tokens_s": 20.0, "seconds": 22.0}
  one = suite_counts.Counts(1, new=160, longest=160, contexts=2000, behind=50, alone=250)
  assert suite_times.seconds(one, rates) == {"prompts_s": 1.0, "scores_s": 1.0, "tokens_s": 16.0, "seconds": 18.0}
  # Together the one text rides along: 1,760 tokens at 80 a second.
  assert suite_times.together({"many": many, "one": one}, rates) == pytest.approx(3 + 1 + 22)
